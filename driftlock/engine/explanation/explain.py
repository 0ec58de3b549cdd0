"""What a person gets of a finding: the lines it is about, what in them is strange, what did not come, and one sentence.

The lines that are named are chosen so that the window without them is normal again, and that is checked before it is said.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cbad_cy.tokenize import Masks
from driftlock.engine.explanation import sentence, suspects
from driftlock.engine.explanation.ablation import Without, prove, restoring
from driftlock.engine.explanation.naming import Window
from driftlock.engine.explanation.suspects import Suspect, as_text
from driftlock.engine.explanation.suspicion import LineCost as LineCost  # with what `explain` is asked
from driftlock.engine.explanation.suspicion import Scanner
from driftlock.engine.explanation.suspicion import Suspicion as Suspicion
from driftlock.engine.limits import Limits
from driftlock.engine.verdict import InstanceShare, MissingLine, NovelLine, Question
from driftlock.engine.window import Event

NAMED_SHARE = 5
"""Lines are added to the named ones up to a fifth of the window."""

UNPROVED_LINES = 3
RELATED_WORDS = 0.5


@dataclass(frozen=True, slots=True)
class Explanation:
    """The fields of `Finding` that explain it; `sentence` is its `explanation`. Lines come by what they explain, most first."""

    sentence: str
    lines: tuple[NovelLine, ...] = ()
    missing: tuple[MissingLine, ...] = ()
    instances: tuple[InstanceShare, ...] = ()
    p_without: float = 1.0
    p_without_others: float = 1.0
    verified: bool = False


def explain(
    events: Sequence[Event],
    first_event: int,
    baseline: Mapping[bytes, int],
    costs: Sequence[LineCost],
    suspicion: Suspicion,
    without: Without,
    *,
    alpha: float,
    limits: Limits,
    seed: int,
    memory_ns: int = 0,
    stream: str = "",
    masks: Masks | None = None,
) -> Explanation:
    """Explain the flagged window `events`, of which the first is number `first_event` of its stream.

    `baseline` holds the forms that are known (form -> how often among the accepted recent lines; 0 = remembered), `costs`
    one entry an event. `without(places)` is the p-value that the winning question gives the window without the events at
    these places (0 = its first), and `alpha` what it must exceed to be normal. A form that is not in `baseline`, and whose
    tokens had to be coded, did not come in the last `memory_ns` ns; 0 = nobody knows. `stream` is named in the sentence;
    `masks` are those that the lines were masked with beside the built-in rules. Equal arguments, equal result.
    """
    window = Window(events, first_event, baseline, costs, limits, Scanner(masks))
    return _Story(window, suspicion, without, alpha, seed, memory_ns, stream).told()


@dataclass(frozen=True)
class _Story:
    """One finding to be told: the window, what it is suspected of, and the judge."""

    window: Window
    suspicion: Suspicion
    without: Without
    alpha: float
    seed: int
    memory_ns: int
    stream: str

    def told(self) -> Explanation:
        """The explanation that fits the question."""
        question = self.suspicion.question
        if question == Question.LESS:
            return self._less()
        if question == Question.ORDER:
            return self._order()
        if question in (Question.MORE, Question.REPETITION):
            return self._more()
        if question in (Question.INSTANCE, Question.INTERACTION):
            return self._subject()
        return self._novelty()

    def _explained(
        self, text: str, lines: Sequence[NovelLine], named: Sequence[int], missing: Sequence[MissingLine] = ()
    ) -> Explanation:
        proof = prove(named, len(self.window.events), self.without, self.alpha, self.seed)
        return Explanation(
            sentence=text,
            lines=tuple(lines),
            missing=tuple(missing),
            instances=suspects.instances(self.window.events, named),
            p_without=proof.p_without,
            p_without_others=proof.p_without_others,
            verified=proof.verified,
        )

    # ---- new lines and unusual values ------------------------------------------------------------------------------

    def _novelty(self) -> Explanation:
        window = self.window
        found = suspects.dear(window.groups, window.excess, window.baseline)
        if not found:
            return self._mix()
        chosen = self._chosen(found)
        lines = [self._line(suspect) for suspect in chosen]
        missing = suspects.displaced(window.groups, len(window.events), window.baseline)
        named = [place for suspect in chosen for place in suspect.places]
        where = f"{len(window.events)} lines{f' from {self.stream}' if self.stream else ''}"
        return self._explained(f"{self._new(chosen, lines, missing, where)}.", lines, named, missing)

    def _chosen(self, found: Sequence[Suspect]) -> list[Suspect]:
        """The suspects to name: as few as restore normality, and what else is new, up to a fifth of the window.

        Where that does not restore it, all that is new: then so much is new that hardly anything can be proved.
        """
        room = len(self.window.events) // NAMED_SHARE
        found = found[: self.window.limits.finding_lines_max]
        count = restoring([suspect.places for suspect in found], room, self.without, self.alpha)
        if not count:
            return [suspect for suspect in found if suspect.new] or list(found[:UNPROVED_LINES])
        chosen = list(found[:count])
        used = sum(len(suspect.places) for suspect in chosen)
        for suspect in found[count:]:
            used += len(suspect.places)
            if suspect.new and used <= room:
                chosen.append(suspect)
        return chosen

    def _line(self, suspect: Suspect) -> NovelLine:
        spans = self.window.spans(suspect.dearest)
        return self.window.line(suspect.dearest, len(suspect.places), self.window.share(suspect.places), spans)

    def _new(self, chosen: Sequence[Suspect], lines: Sequence[NovelLine], missing: Sequence[MissingLine], where: str) -> str:
        """`12 of <where> are new: ...`, without the point at the end."""
        window = self.window
        fresh = [suspect for suspect in chosen if suspect.new]
        told = fresh or chosen
        top = chosen.index(told[0])
        quote = window.headline(told[0].dearest, () if fresh else lines[top].spans)
        usual = self._usual(told[0].form, lines[top].nearest, missing)
        count = sum(len(suspect.places) for suspect in told)
        if not fresh:
            return f"{count} of {where} {'holds' if count == 1 else 'hold'} unusual values: {quote}{usual}"
        kinds = f", of {len(fresh)} kinds, above all" if len(fresh) > 1 else ":"
        span = sentence.lasting(self.memory_ns) if window.costs[told[0].dearest].tokens else ""
        never = f", never seen in the last {span}" if span else ""
        return f"{count} of {where} {'is' if count == 1 else 'are'} new{kinds} {quote}{never}{usual}"

    def _usual(self, form: bytes, nearest: str, missing: Sequence[MissingLine]) -> str:
        """What comes otherwise: a line of half the same words, or what the new lines displaced, or what comes most."""
        if nearest and form in self.window.baseline:
            return f"; usually {sentence.masked_headline(nearest)}"
        words = set(as_text(form).split())
        if nearest and len(words.intersection(nearest.split())) >= RELATED_WORDS * len(words):
            return f"; usually {sentence.masked_headline(nearest)}"
        if missing:
            return f"; usually {sentence.masked_headline(missing[0].text)}"
        counts = self.window.baseline
        common = max(counts, key=lambda known: (counts[known], known), default=b"")
        return f"; usually {sentence.masked_headline(as_text(common))}" if common else ""

    def _mix(self) -> Explanation:
        """No line stands out: the form that grew most against the baseline."""
        window, counts = self.window, self.window.baseline
        lines, size = sum(counts.values()) or 1, len(window.events)
        usual = {form: counts.get(form, 0) * size / lines for form in window.groups}
        grown = max(window.groups, key=lambda form: (len(window.groups[form]) - usual[form], -window.groups[form][0]))
        places = window.groups[grown]
        named = suspects.surplus(places, len(places), usual[grown])
        quote = window.headline(places[0])
        said = "The mix changed" if any(form not in counts for form in window.groups) else "No line is new, the mix changed"
        often = f"{sentence.usually(usual[grown])} of {size}" if usual[grown] else "usually none"
        text = f"{said}: {len(places)} of {size} lines are like {quote}, {often}."
        share = window.share(places)
        return self._explained(text, [window.line(places[0], len(places), share)], named)

    # ---- how often, and in what order ------------------------------------------------------------------------------

    def _more(self) -> Explanation:
        """A line that came too often: what came beyond its usual share is taken away for the proof."""
        asked, groups = self.suspicion, self.window.groups
        form = asked.template
        if not form and asked.question == Question.REPETITION:
            form = max(groups, key=lambda known: (len(groups[known]), -groups[known][0]))
        places = groups.get(form, []) if form else []
        quote = self.window.headline(places[-1]) if places else self._quoted(form, "A line")
        often = f"{sentence.times(asked.observed)} in the last {asked.horizon} lines, {sentence.usually(asked.expected)}"
        text = f"{quote} {often}."
        if asked.question == Question.REPETITION:
            text = f"One line again and again: {quote} {often}."
        lines = [self.window.line(places[-1], len(places), 1.0)] if places else []
        return self._explained(text, lines, suspects.surplus(places, asked.observed, asked.expected))

    def _quoted(self, form: bytes, otherwise: str) -> str:
        return sentence.masked_headline(as_text(form)) if form else otherwise

    def _less(self) -> Explanation:
        """A usual line that did not come: there is nothing to take away, so nothing is proved by it."""
        asked = self.suspicion
        missing = MissingLine(as_text(asked.template), asked.expected, asked.observed, asked.horizon)
        quote = self._quoted(asked.template, "A usual line")
        often = f"{sentence.times(asked.observed)} in the last {asked.horizon} lines, {sentence.usually(asked.expected)}"
        return self._explained(f"{quote} {often}.", (), (), (missing,) if asked.template else ())

    def _order(self) -> Explanation:
        """Usual lines in unusual order: the forms that were least expected where they stood."""
        window = self.window
        found = suspects.dear(window.groups, window.excess, window.baseline)[: window.limits.finding_lines_max]
        room = len(window.events) // NAMED_SHARE
        count = restoring([suspect.places for suspect in found], room, self.without, self.alpha)
        chosen = found[: count or UNPROVED_LINES]
        lines = [window.line(it.dearest, len(it.places), window.share(it.places)) for it in chosen]
        text = "The usual lines came in an unusual order"
        example = next((suspect.dearest for suspect in chosen if suspect.dearest), 0)
        if example:
            text += f": {window.headline(example)} right after {window.headline(example - 1)}"
        return self._explained(f"{text}.", lines, [place for suspect in chosen for place in suspect.places])

    # ---- one instance or interaction -------------------------------------------------------------------------------

    def _subject(self) -> Explanation:
        """Lines of one instance or interaction, new or too many; or what is missing there."""
        asked, window = self.suspicion, self.window
        whose = "instances" if asked.question == Question.INSTANCE else "interactions"
        lead = f"{asked.subject} is unlike the other {whose}"
        own = [place for place, event in enumerate(window.events) if asked.subject in (event.instance, event.trace_id.hex())]
        groups = suspects.by_form(window.events, own)
        found = suspects.dear(groups, window.excess, window.baseline)
        if found:
            chosen = self._chosen(found)
            lines = [self._line(suspect) for suspect in chosen]
            named = [place for suspect in chosen for place in suspect.places]
            return self._explained(f"{lead}: {self._new(chosen, lines, (), f'its {len(own)} lines')}.", lines, named)
        if not asked.template:
            return self._explained(f"{lead}.", (), ())
        places = groups.get(asked.template, [])
        quote = window.headline(places[-1]) if places else sentence.masked_headline(as_text(asked.template))
        often = f"{sentence.times(asked.observed)} in its last {asked.horizon} lines, {sentence.usually(asked.expected)}"
        missing = MissingLine(as_text(asked.template), asked.expected, asked.observed, asked.horizon)
        more = asked.observed > asked.expected
        return self._explained(
            f"{lead}: {quote} {often}.",
            [window.line(places[-1], len(places), 1.0)] if places and more else (),
            suspects.surplus(places, asked.observed, asked.expected) if more else (),
            () if more else (missing,),
        )
