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
        if question == Question.REPETITION:
            return self._again()
        if question == Question.MORE:
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
        text = self._new(chosen, lines, missing, f"{len(window.events)} lines{f' from {self.stream}' if self.stream else ''}")
        return self._explained(f"{text}.", lines, named, missing) if text else self._mix()

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
        """`12 of <where> are new: ...`, without the point at the end; "" = nothing true can be said of single lines."""
        window = self.window
        fresh = [suspect for suspect in chosen if suspect.new]
        if not fresh:
            return self._odd([place for suspect in chosen for place in suspect.places], where)
        quote = window.headline(fresh[0].dearest)
        usual = self._usual(fresh[0].form, lines[chosen.index(fresh[0])].nearest, missing, quote)
        count = sum(len(suspect.places) for suspect in fresh)
        kinds = f", of {len(fresh)} kinds, above all" if len(fresh) > 1 else ":"
        span = sentence.lasting(self.memory_ns) if window.costs[fresh[0].dearest].tokens else ""
        never = f", never seen in the last {span}" if span else ""
        return f"{count} of {where} {'is' if count == 1 else 'are'} new{kinds} {quote}{never}{usual}"

    def _odd(self, places: Sequence[int], where: str) -> str:
        """Known lines that hold unusual values or, if none does, came behind lines that they usually do not follow."""
        window = self.window
        valued = [place for place in places if window.holds_unusual_value(place)]
        if valued:
            top = max(valued, key=lambda place: (window.excess[place], -place))
            quote = window.headline(top, window.spans(top).ranges)
            usual = self._usual(window.events[top].masked, as_text(window.events[top].masked), (), quote)
            return f"{len(valued)} of {where} {'holds' if len(valued) == 1 else 'hold'} unusual values: {quote}{usual}"
        moved = [place for place in places if window.is_out_of_place(place)]
        if not moved:
            return ""
        top = max(moved, key=lambda place: (window.excess[place], -place))
        where_not = "where it usually does not" if len(moved) == 1 else "where they usually do not"
        return f"{len(moved)} of {where} came {where_not}: {window.headline(top)} after {window.headline(top - 1)}"

    def _usual(self, form: bytes, nearest: str, missing: Sequence[MissingLine], quote: str) -> str:
        """What comes otherwise than `quote`: a line of half the same words, what was displaced, or what comes most."""
        text = sentence.masked_headline(self._otherwise(form, nearest, missing))
        return "" if text in (quote, sentence.NOTHING) else f"; usually {text}"

    def _otherwise(self, form: bytes, nearest: str, missing: Sequence[MissingLine]) -> str:
        counts, words = self.window.baseline, set(as_text(form).split())
        if nearest and (form in counts or len(words.intersection(nearest.split())) >= RELATED_WORDS * len(words)):
            return nearest
        return missing[0].text if missing else as_text(max(counts, key=lambda known: (counts[known], known), default=b""))

    def _mix(self) -> Explanation:
        """No line stands out: the form that grew most against the baseline, or only that the combination is unusual."""
        window, counts, size = self.window, self.window.baseline, len(self.window.events)
        usual = {form: window.usual_count(form) for form in window.groups}
        grown = max(window.groups, key=lambda form: (len(window.groups[form]) - usual[form], -window.groups[form][0]))
        places = window.groups[grown]
        quote = window.headline(places[0])
        fresh = any(form not in counts for form in window.groups)
        if suspects.grown(len(places), usual[grown]):
            said = "The mix changed" if fresh else "No line is new, the mix changed"
            often = f"{sentence.usually(usual[grown])} of {size}" if usual[grown] else "usually none"
            text = f"{said}: {len(places)} of {size} lines are like {quote}, {often}."
        else:
            said = "Lines" if fresh else "Usual lines"
            text = f"{said} in an unusual combination: {len(places)} of {size} are like {quote}."
        named = suspects.surplus(places, len(places), usual[grown])
        return self._explained(text, [window.line(places[0], len(places), window.share(places))], named)

    # ---- how often, and in what order ------------------------------------------------------------------------------

    def _more(self) -> Explanation:
        """A line that came too often: what came beyond its usual share is taken away for the proof."""
        asked = self.suspicion
        places = self.window.groups.get(asked.template, []) if asked.template else []
        quote = self.window.headline(places[-1]) if places else self._quoted(asked.template, "A line")
        observed, expected = (
            (len(places), self._within(asked.expected)) if self._recounted() else (asked.observed, asked.expected)
        )
        lines = [self.window.line(places[-1], len(places), 1.0)] if places else []
        return self._explained(f"{quote} {self._often()}.", lines, suspects.surplus(places, observed, expected))

    def _again(self) -> Explanation:
        """The same again and again: the line that came too often in this window, or how few different lines it has.

        What decided counts followers or diversity over its own horizon, not lines: the lines are counted here.
        """
        asked, window, size = self.suspicion, self.window, len(self.window.events)
        common = max(window.groups, key=lambda known: (len(window.groups[known]), -window.groups[known][0]))
        form = asked.template if asked.template in window.groups else common
        places, usual = window.groups[form], window.usual_count(form)
        if suspects.grown(len(places), usual) and len(places) > 1:
            quote = window.headline(places[-1])
            often = f"{sentence.times(len(places))} in the last {size} lines, {sentence.usually(usual)}"
            lines = [window.line(places[-1], len(places), 1.0)]
            text = f"One line again and again: {quote} {often}."
            return self._explained(text, lines, suspects.surplus(places, len(places), usual))
        kinds, kinds_usual = len(window.groups), suspects.distinct(window.baseline, size)
        told = f"{kinds} different line{'s' * (kinds != 1)} in the last {size}"
        if kinds_usual and kinds >= round(kinds_usual):
            return self._explained(f"The same lines again and again: {told}.", (), ())
        return self._explained(f"Only {told}{f', usually about {round(kinds_usual)}' if kinds_usual else ''}.", (), ())

    def _recounted(self) -> bool:
        """Whether the window holds all the lines that the decision was about, so that they can be counted here."""
        return bool(self.suspicion.template) and 0 < self.suspicion.horizon <= len(self.window.events)

    def _within(self, expected: float) -> float:
        """What is usual in the window's lines, of what is usual in the horizon."""
        return expected * len(self.window.events) / self.suspicion.horizon

    def _often(self) -> str:
        """How often the line came, and how often it does usually; the count of a longer past may be some lines old."""
        asked, size = self.suspicion, len(self.window.events)
        seen = len(self.window.groups.get(asked.template, ())) if asked.template else 0
        if self._recounted():
            return f"{sentence.times(seen)} in the last {size} lines, {sentence.usually(self._within(asked.expected))}"
        observed, about = max(asked.observed, float(seen)), "about " if asked.horizon > size else ""
        came = sentence.times(observed)
        if observed:
            came = came.replace("came ", f"came {about}", 1) if observed != 1 else f"came {about}once"
        return f"{came} in {about if observed else ''}the last {asked.horizon} lines, {sentence.usually(asked.expected)}"

    def _quoted(self, form: bytes, otherwise: str) -> str:
        return sentence.masked_headline(as_text(form)) if form else otherwise

    def _less(self) -> Explanation:
        """A usual line that did not come: there is nothing to take away, so nothing is proved by it."""
        asked = self.suspicion
        seen = float(len(self.window.groups.get(asked.template, ())))
        if self._recounted():
            missing = MissingLine(as_text(asked.template), self._within(asked.expected), seen, len(self.window.events))
        else:
            missing = MissingLine(as_text(asked.template), asked.expected, max(asked.observed, seen), asked.horizon)
        quote = self._quoted(asked.template, "A usual line")
        return self._explained(f"{quote} {self._often()}.", (), (), (missing,) if asked.template else ())

    def _order(self) -> Explanation:
        """Usual lines in unusual order: the forms that were least expected where they stood."""
        window = self.window
        found = suspects.dear(window.groups, window.excess, window.baseline)[: window.limits.finding_lines_max]
        room = len(window.events) // NAMED_SHARE
        count = restoring([suspect.places for suspect in found], room, self.without, self.alpha)
        chosen = found[: count or UNPROVED_LINES]
        lines = [window.line(it.dearest, len(it.places), window.share(it.places)) for it in chosen]
        text = "The usual lines came in an unusual order"
        usual = [it.dearest for it in chosen if not it.new and not window.holds_unusual_value(it.dearest)]
        example = next((place for place in usual if place), 0)
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
        places = groups.get(asked.template, [])
        if found and not self._about_template(found):
            chosen = self._chosen(found)
            lines = [self._line(suspect) for suspect in chosen]
            named = [place for suspect in chosen for place in suspect.places]
            text = self._new(chosen, lines, (), f"its {len(own)} lines")
            return self._explained(f"{lead}: {text}." if text else f"{lead}.", lines, named)
        counted = float(asked.observed).is_integer() and (asked.observed or not places)
        if not asked.template or not counted:
            return self._explained(f"{lead}.", (), ())
        quote = window.headline(places[-1]) if places else sentence.masked_headline(as_text(asked.template))
        often = f"{sentence.times(asked.observed)} in its newest lines, {sentence.usually(asked.expected)}"
        missing = MissingLine(as_text(asked.template), asked.expected, asked.observed, asked.horizon)
        more = asked.observed > asked.expected
        return self._explained(
            f"{lead}: {quote} {often}.",
            [window.line(places[-1], len(places), 1.0)] if places and more else (),
            suspects.surplus(places, asked.observed, asked.expected) if more else (),
            () if more else (missing,),
        )

    def _about_template(self, found: Sequence[Suspect]) -> bool:
        """Whether the decision counted the template, and not what new lines cost: `observed` is then bits, hardly ever whole.

        New lines beside a usual one that came too often do not change what the decision was about.
        """
        asked = self.suspicion
        if not asked.template or not float(asked.observed).is_integer():
            return False
        return asked.template in self.window.baseline or not any(suspect.new for suspect in found)
