"""The parts of findings that people can teach a stream: exactly what was odd, and nothing around it.

    lines            their masked form, and of a usual form the values that were unusual in it
    missing lines    their masked form
    numbers          which series of which instance, in which direction, as far as was seen and a quarter farther
    calls            caller, callee, operation, what was measured, in which direction, twice as far from usual as was seen
    parts of traces  each new or missing node
    a silence        of a whole stream

A lesson keeps the texts, not the masked forms, so that forms stay comparable when the masks of a stream change.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from cbad_cy.tokenize import Masks, TokenKind, mask_line, tokens
from driftlock.engine.evidence import CallEvidence, SeriesEvidence
from driftlock.engine.limits import Limits
from driftlock.engine.verdict import Finding, NovelLine, Question

NUMBER_SLACK = 0.25
"""A number may be farther from what was expected than the one that was taught, by this share of its distance."""

CALL_SLACK = 1.0
"""So may what is measured of calls, which varies more."""

ODD_SHARE = 0.5
"""Of the calls of a finding those count that have at least this share of the bits of the first one."""

LINES_MAX = Limits().finding_lines_max
"""A finding that names so many lines may have left out others."""

NUMBER_DIGITS_MAX = 40
"""Longer runs of digits are told apart by their length."""

_NUMBERS = frozenset({TokenKind.NUMBER, TokenKind.VALUE, TokenKind.SHAPE})
_VALUES = _NUMBERS | {TokenKind.UUID, TokenKind.IP, TokenKind.HEX, TokenKind.OPAQUE, TokenKind.MASK}
"""What a masked form does not say, times and dates aside."""

_DIGITS = re.compile(r"[0-9]+")
_REPEATS = re.compile(r" x[0-9]+$")
_POINTS = frozenset({Question.VALUE, Question.RATE})
_SHAPES = frozenset({Question.PATTERN, Question.FLATLINE})


@dataclass(frozen=True, slots=True)
class TaughtLine:
    """A line, the byte ranges of it that were novel, and whether its form was usual (`known`)."""

    text: str
    spans: tuple[tuple[int, int], ...] = ()
    known: bool = False


@dataclass(frozen=True, slots=True)
class TaughtSeries:
    """A series, its value where `expected` was predicted, and the range of its odd points."""

    series: str
    instance: str
    value: float
    expected: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class TaughtCall:
    """Calls, what was measured of them, and how odd they were."""

    caller: str
    callee: str
    operation: str
    measure: str
    value: float
    usual: float
    bits: float


@dataclass(frozen=True, slots=True)
class Content:
    """The own parts of a finding, as they came; `pause_ns` is the length of the silence of a whole stream."""

    lines: tuple[TaughtLine, ...] = ()
    missing: tuple[str, ...] = ()
    series: tuple[TaughtSeries, ...] = ()
    calls: tuple[TaughtCall, ...] = ()
    nodes: tuple[str, ...] = ()
    pause_ns: int = 0

    @property
    def size_bytes(self) -> int:
        """The bytes of its texts."""
        texts = [line.text for line in self.lines] + [*self.missing, *self.nodes]
        texts += [text for it in self.series for text in (it.series, it.instance)]
        texts += [text for it in self.calls for text in (it.caller, it.callee, it.operation, it.measure)]
        return sum(len(text.encode("utf-8", "replace")) for text in texts)


class Part(NamedTuple):
    """Something odd: what it is, and of numbers the range from `low` to `high`."""

    key: tuple[str, ...]
    low: float = 0.0
    high: float = 0.0


UNTAUGHT = Part(("untaught",))
"""What no lesson teaches."""


def content_of(finding: Finding, masks: Masks | None) -> Content:
    """The own parts of a finding of a stream with these masks.

    None where it names nothing, or is about many series of which none is odd by itself.
    """
    if finding.question is Question.TOGETHER:
        return Content()
    missing = tuple(it.text for it in finding.missing)
    if finding.question is Question.SILENCE and not missing:
        return Content(pause_ns=max(1, finding.end_ns - finding.start_ns))
    return Content(
        lines=tuple(_taught_line(it, masks) for it in finding.lines),
        # Usual lines that new ones have displaced are no reason for an alarm about the new ones.
        missing=() if finding.question is Question.NOVELTY else missing,
        series=tuple(_taught_series(it) for it in finding.series),
        calls=tuple(_taught_call(it) for it in finding.calls),
        nodes=tuple(dict.fromkeys(_node(line) for line in finding.subtree if line[:1] in {"+", "-"})),
    )


def learned(content: Content, question: Question, masks: Masks | None) -> Iterator[Part]:
    """What a lesson with that content teaches about findings of a question, in a stream with these masks."""
    yield from _parts(content, question, masks, taught=True)


def own(finding: Finding, masks: Masks | None) -> Iterator[Part]:
    """The parts of a finding, all of which have to be taught before it is silenced; where some may be untold, `UNTAUGHT`."""
    content = content_of(finding, masks)
    if content == Content() or not _tells_all(finding):
        yield UNTAUGHT
        return
    loud = ODD_SHARE * max((call.bits for call in content.calls), default=0.0)
    yield from _parts(
        replace(content, calls=tuple(call for call in content.calls if call.bits >= loud)),
        finding.question,
        masks,
        taught=False,
    )


def _tells_all(finding: Finding) -> bool:
    """Whether nothing else can be odd in what was judged: a window without the named lines is as usual."""
    if len(finding.lines) >= LINES_MAX:
        return False
    return finding.question is not Question.NOVELTY or finding.p_without > finding.p_value_threshold


def _parts(content: Content, question: Question, masks: Masks | None, *, taught: bool) -> Iterator[Part]:
    for line in content.lines:
        yield from _line_parts(line, masks, taught=taught)
    for text in content.missing:
        yield Part(("missing", mask_line(_bytes(text), masks=masks).decode("utf-8", "replace")))
    for series in content.series:
        yield _series_part(series, question, NUMBER_SLACK if taught else 0.0)
    for call in content.calls:
        yield _call_part(call, CALL_SLACK if taught else 0.0)
    for node in content.nodes:
        yield Part(("node", node))
    if content.pause_ns:
        yield Part(("pause",))


def _line_parts(line: TaughtLine, masks: Masks | None, *, taught: bool) -> Iterator[Part]:
    """Its form; and of a usual form the values in its novel spans.

    A new form was new with all that stood in it, so a lesson teaches its values, too; and it says by itself what is new in it.
    """
    raw = _bytes(line.text)
    form = mask_line(raw, masks=masks).decode("utf-8", "replace")
    yield Part(("line", form))
    if not line.known and not taught:
        return
    for kind, _, _, start, stop in tokens(raw, masks=masks):
        if kind in _VALUES and (not line.known or any(a < stop and start < b for a, b in line.spans)):
            yield Part(("value", form, TokenKind(kind).name, _value(kind, raw[start:stop])))


def _value(kind: int, raw: bytes) -> str:
    """A value as it is told from others: numbers by half octaves, for those are how the coder of lines knows them.

    >>> _value(TokenKind.NUMBER, b"1000") == _value(TokenKind.NUMBER, b"1023"), _value(TokenKind.NUMBER, b"1024")
    (True, '2^20')
    """
    text = raw.decode("utf-8", "replace")
    if kind not in _NUMBERS:
        return text
    return _DIGITS.sub(_half_octave, text)


def _half_octave(found: re.Match[str]) -> str:
    digits = found[0]
    if len(digits) > NUMBER_DIGITS_MAX:  # no number any more
        return f"10^{len(digits)}"
    return f"2^{(int(digits) ** 2).bit_length() - 1}"


def _series_part(it: TaughtSeries, question: Question, slack: float) -> Part:
    """A point has a direction; what many points did lies in a range; and a series that is missing has neither."""
    key = ("series", it.series, it.instance)
    if question in _POINTS:
        return _ranged(key, it.value, it.expected, slack)
    if question in _SHAPES:
        room = slack * ((it.high - it.low) or abs(it.high))
        return Part(key, it.low - room, it.high + room)
    return Part(key)


def _call_part(it: TaughtCall, slack: float) -> Part:
    return _ranged(("call", it.caller, it.callee, it.operation, it.measure), it.value, it.usual, slack)


def _ranged(key: tuple[str, ...], value: float, usual: float, slack: float) -> Part:
    """A number farther from `usual` than `value` by at most `slack` of that distance; without slack the number itself."""
    up = value >= usual
    key = (*key, "up" if up else "down")
    if not slack:
        return Part(key, value, value)
    bound = value + slack * (value - usual)
    return Part(key, -math.inf, bound) if up else Part(key, bound, math.inf)


def _taught_line(line: NovelLine, masks: Masks | None) -> TaughtLine:
    """Where the line that resembles it most is its own form, that is a usual one."""
    known = bool(line.nearest) and mask_line(_bytes(line.text), masks=masks).decode("utf-8", "replace") == line.nearest
    return TaughtLine(line.text, line.spans, known)


def _taught_series(it: SeriesEvidence) -> TaughtSeries:
    points = [value for at, value in zip(it.chart.times_ns, it.chart.values, strict=True) if at >= it.since_ns] or [it.value]
    return TaughtSeries(it.series, it.instance, it.value, it.expected, min(points), max(points))


def _taught_call(it: CallEvidence) -> TaughtCall:
    return TaughtCall(it.caller, it.callee, it.operation, it.measure, it.value, it.usual, it.bits)


def _node(line: str) -> str:
    """A node of a subtree with its sign, wherever it stands and however often it is repeated.

    >>> _node("+   shop GET /cart x3")
    '+ shop GET /cart'
    """
    return f"{line[0]} {_REPEATS.sub('', line[1:].strip())}"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")
