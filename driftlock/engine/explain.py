"""What a person gets: which lines of a flagged window are new, which of their bytes, and one plain sentence."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cbad_cy.codec import Codec, Prepared
from cbad_cy.novelty import Coverage, nearest
from cbad_cy.tokenize import TokenKind, tokens
from driftlock.engine.limits import Limits
from driftlock.engine.verdict import NovelLine
from driftlock.engine.window import Event

GRAM_BYTES = 6
QUOTE_CHARACTERS_MAX = 160
WORDS = (TokenKind.WORD, TokenKind.SHAPE, TokenKind.PATH)


@dataclass(frozen=True, slots=True)
class Explanation:
    """`sentence` for the eye, `lines` with the novel bytes, most novel first."""

    sentence: str
    lines: tuple[NovelLine, ...]


def explain(
    events: Sequence[Event],
    first_event: int,
    baseline: Mapping[bytes, int],
    codec: Codec,
    prepared: Prepared,
    limits: Limits,
) -> Explanation:
    """Name the masked forms of the window that the baseline (form -> count) does not hold, or else those that grew most.

    A form is new when some of its bytes lie in no run of `GRAM_BYTES` bytes that the baseline holds, or when the whole
    form never occurs there. Novel bytes are mapped back to the line as it was sent: a masked value is novel as a whole.
    """
    coverage = Coverage(b"\n".join(baseline), GRAM_BYTES)
    groups: dict[bytes, list[int]] = {}
    for index, event in enumerate(events):
        groups.setdefault(event.masked, []).append(index)
    costs = dict(zip(groups, _costs(list(groups), codec, prepared), strict=True))
    spans = {form: coverage.novel_spans(form) for form in groups if form not in baseline}
    forms = list(baseline)
    order = sorted(spans, key=lambda form: (-sum(b - a for a, b in spans[form]), -costs[form], groups[form][0]))
    lines = tuple(
        _novel_line(events, first_event, groups[form], spans[form], costs[form], forms, limits)
        for form in order[: limits.finding_lines_max]
    )
    if lines:
        fresh = sum(len(groups[form]) for form in order)
        return Explanation(_new_lines_sentence(fresh, len(events), lines[0]), lines)
    return _mix_changed(events, first_event, groups, costs, baseline)


def _costs(forms: list[bytes], codec: Codec, prepared: Prepared) -> Sequence[int]:
    starts, stops, at = array("I"), array("I"), 0
    for form in forms:
        starts.append(at)
        at += len(form)
        stops.append(at)
    return codec.sizes_given(b"".join(forms), starts, stops, prepared)


def _novel_line(
    events: Sequence[Event],
    first_event: int,
    members: Sequence[int],
    masked_spans: Sequence[tuple[int, int]],
    cost: int,
    baseline: Sequence[bytes],
    limits: Limits,
) -> NovelLine:
    event = events[members[0]]
    text = event.text.decode("utf-8", "replace")
    closest = nearest(event.masked, b"".join(baseline), array("I", map(len, baseline)))
    return NovelLine(
        event=first_event + members[0],
        time_ns=event.time_ns,
        text=text,
        spans=tuple(source_spans(event.text, text, masked_spans)[: limits.line_spans_max]),
        cost_bytes=cost,
        nearest=baseline[closest].decode("utf-8", "replace") if closest >= 0 else "",
        count=len(members),
        instance=event.instance,
        trace_id=event.trace_id.hex() if any(event.trace_id) else "",
    )


def source_spans(line: bytes, text: str, masked_spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Novel ranges of a masked form -> ranges of the line's bytes, in whole words, neighbours joined.

    A word is novel when at least half of its masked bytes are: people read words, not grams. A masked value has no bytes
    of its own to be new; it is shown as novel between novel words, or when no word is. `text` is the line as shown; a
    line that was not UTF-8 has no byte-true ranges there and is novel as a whole.
    """
    if len(text.encode()) != len(line):
        return [(0, len(text.encode()))] if masked_spans else []
    found: list[tuple[int, int]] = []
    values: list[tuple[int, int]] = []
    joined = False
    for kind, masked_start, masked_stop, start, stop in tokens(line):
        novel = 2 * _overlap(masked_spans, masked_start, masked_stop) >= masked_stop - masked_start
        if kind in WORDS and novel:
            found.append((found.pop()[0] if joined else start, stop))
            joined = True
        elif kind != TokenKind.PUNCT:
            joined = joined and novel
            values += [(start, stop)] * (kind not in WORDS and novel)
    return found or values


def _overlap(spans: Sequence[tuple[int, int]], start: int, stop: int) -> int:
    return sum(max(0, min(high, stop) - max(low, start)) for low, high in spans)


def headline(line: bytes) -> str:
    """The line from its first word on: what stands before it (a timestamp, a number) says nothing about what is new."""
    start = next((start for kind, _, _, start, _ in tokens(line) if kind in WORDS), 0)
    return _quoted(line[start:].decode("utf-8", "replace").split())


def _masked_headline(form: str) -> str:
    """The same for a masked form, in which the values are masks."""
    words = form.split()
    first = next((number for number, word in enumerate(words) if word[0] not in "<#"), 0)
    return _quoted(words[first:])


def _quoted(words: Sequence[str]) -> str:
    text = " ".join(words)
    return f"`{text[:QUOTE_CHARACTERS_MAX]}…`" if len(text) > QUOTE_CHARACTERS_MAX else f"`{text}`"


def _new_lines_sentence(fresh: int, total: int, top: NovelLine) -> str:
    verb = "is" if fresh == 1 else "are"
    known = f"the nearest known line is {_masked_headline(top.nearest)}"
    usual = known if top.nearest else "nothing in the baseline resembles it"
    return f"{fresh} of {total} lines {verb} new: {headline(top.text.encode())}; {usual}."


def _mix_changed(
    events: Sequence[Event],
    first_event: int,
    groups: dict[bytes, list[int]],
    costs: dict[bytes, int],
    baseline: Mapping[bytes, int],
) -> Explanation:
    lines = sum(baseline.values())
    expected = {form: baseline.get(form, 0) * len(events) / lines for form in groups}
    grown = max(groups, key=lambda form: (len(groups[form]) - expected[form], -groups[form][0]))
    event = events[groups[grown][0]]
    text = event.text.decode("utf-8", "replace")
    sentence = (
        f"No line is new, the mix changed: {len(groups[grown])} of {len(events)} lines are like {headline(event.text)}, "
        f"usually {expected[grown]:.1f} of {len(events)}."
    )
    line = NovelLine(
        event=first_event + groups[grown][0],
        time_ns=event.time_ns,
        text=text,
        spans=(),
        cost_bytes=costs[grown],
        nearest=grown.decode("utf-8", "replace"),
        count=len(groups[grown]),
        instance=event.instance,
        trace_id=event.trace_id.hex() if any(event.trace_id) else "",
    )
    return Explanation(sentence, (line,))
