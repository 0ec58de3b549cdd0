"""From masked lines back to the source: which bytes of a line, as it was sent, carry what was surprising about it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from cbad_cy.tokenize import TokenKind
from driftlock.engine.explanation.paths import Paths

Token: TypeAlias = tuple[int, int, int, int, int]
"""(kind, masked start, masked stop, source start, source stop), as `cbad_cy.tokenize.tokens` gives them."""
Range: TypeAlias = tuple[int, int, float]
"""(start, stop, bits) in bytes."""

WORDS = (TokenKind.WORD, TokenKind.SHAPE, TokenKind.PATH)
KEPT = (TokenKind.WORD, TokenKind.PUNCT)
TIMES = (TokenKind.TIME, TokenKind.DATE)
# What may stand between two words that are shown as one: no line break, so that a stack trace stays in lines.
_BETWEEN = b" \t!\"#$%&'()*+,-./:;<=>?@[\\]^`{|}~"


@dataclass(frozen=True, slots=True)
class Spans:
    """Novel byte ranges of a line's text as UTF-8, in order and disjoint; `bits` of each (empty: not known) and its path."""

    ranges: tuple[tuple[int, int], ...] = ()
    bits: tuple[float, ...] = ()
    paths: tuple[str, ...] = ()


def priced(
    line: bytes, found: Sequence[Token], values: Sequence[bytes], dear: Sequence[Range], slots: Mapping[int, float]
) -> list[Range]:
    """Source ranges of dear tokens (ranges of the masked line) and of dear slots (index in `values` -> bits).

    `found` are the line's tokens and `values` its slots, from `cbad_cy.tokenize`. Ranges are whole words and whole values,
    in order and disjoint, and their bits add up to those of what has bytes: the end of a line has none.
    """
    ranges = [*_of_tokens(found, dear), *_of_slots(line, found, values, slots)]
    merged: list[Range] = []
    for start, stop, bits in sorted(ranges):
        if merged and start < merged[-1][1]:
            before = merged.pop()
            merged.append((before[0], max(before[1], stop), before[2] + bits))
        else:
            merged.append((start, stop, bits))
    return merged


def _of_tokens(found: Sequence[Token], dear: Sequence[Range]) -> Iterator[Range]:
    at = 0
    for start, stop, bits in sorted(dear):
        while at < len(found) and found[at][2] <= start:
            at += 1
        last = at
        while last < len(found) and found[last][1] < stop:
            last += 1
        if last > at and stop > start:
            yield found[at][3], max(token[4] for token in found[at:last]), bits


def _of_slots(line: bytes, found: Sequence[Token], values: Sequence[bytes], dear: Mapping[int, float]) -> Iterator[Range]:
    """A slot's value is a piece of one token, and slots follow each other: look for each behind the one before it."""
    if not dear:
        return
    holders = [token for token in found if token[0] not in KEPT and token[0] not in TIMES]
    at = cursor = 0
    for index, value in enumerate(values[: max(dear) + 1]):
        place = next((place for place in range(at, len(holders)) if _holds(line, holders[place], value, cursor)), -1)
        if place < 0:
            continue
        at, (kind, _, _, start, stop) = place, holders[place]
        if kind != TokenKind.PATH:
            start = line.find(value, max(cursor, start), stop)
            stop = start + len(value)
            cursor = stop
        if index in dear:
            yield start, stop, dear[index]


def _holds(line: bytes, token: Token, value: bytes, cursor: int) -> bool:
    if token[0] == TokenKind.PATH:
        return value.startswith(b"/")
    return line.find(value, max(cursor, token[3]), token[4]) >= 0


def covered(found: Sequence[Token], novel: Sequence[tuple[int, int]]) -> list[Range]:
    """Source ranges of novel ranges of the masked line, where nothing says what each token costs; their bits are 0.

    A word is novel when at least half of its masked bytes are: people read words, not grams. A masked value has no bytes
    of its own to be new; it counts between novel words, or when no word is novel.
    """
    words: list[Range] = []
    values: list[Range] = []
    between: list[Range] = []
    joined, at = False, 0
    for kind, masked_start, masked_stop, start, stop in found:
        while at < len(novel) and novel[at][1] <= masked_start:
            at += 1
        if kind == TokenKind.PUNCT:
            continue
        new = 2 * _overlap(novel, at, masked_start, masked_stop) >= masked_stop - masked_start
        if kind in WORDS and new:
            words += [*between, (start, stop, 0.0)] if joined else [(start, stop, 0.0)]
            between, joined = [], True
            continue
        joined = joined and new
        if kind not in WORDS and new:
            values.append((start, stop, 0.0))
        if joined:
            between.append((start, stop, 0.0))
        else:
            between.clear()
    return words or values


def _overlap(spans: Sequence[tuple[int, int]], at: int, start: int, stop: int) -> int:
    """Bytes of start..stop-1 that lie in spans, of which those before number `at` end before `start`."""
    size = 0
    while at < len(spans) and spans[at][0] < stop:
        size += min(spans[at][1], stop) - max(spans[at][0], start)
        at += 1
    return size


def shown(line: bytes, ranges: Sequence[Range], spans_max: int, *, with_bits: bool) -> Spans:
    """Ranges as a person sees them: neighbours with nothing but marks between them are one, if they stand in one place.

    Of more than `spans_max` the dearest stay. Offsets become those of the text that is shown: where the line is not UTF-8,
    each byte that was replaced takes three.
    """
    if not ranges:
        return Spans()
    paths = Paths(line, until=ranges[-1][1])
    joined: list[tuple[int, int, float, str]] = []
    for start, stop, bits in ranges:
        path = paths.of(start)
        if joined and joined[-1][3] == path and not line[joined[-1][1] : start].translate(None, _BETWEEN):
            before = joined.pop()
            joined.append((before[0], stop, before[2] + bits, path))
        else:
            joined.append((start, stop, bits, path))
    kept = sorted(sorted(joined, key=lambda span: (-span[2], span[0]))[:spans_max])
    place = _as_utf8(line)
    return Spans(
        ranges=tuple((place(start), place(stop)) for start, stop, _, _ in kept),
        bits=tuple(bits for _, _, bits, _ in kept) if with_bits else (),
        paths=tuple(path for _, _, _, path in kept),
    )


def _as_utf8(line: bytes) -> Callable[[int], int]:
    """Offsets in a line -> offsets in the UTF-8 of its text. Spans begin and end beside ASCII, so a prefix decodes alone."""
    try:
        line.decode()
    except UnicodeDecodeError:
        return lambda offset: len(line[:offset].decode("utf-8", "replace").encode())
    return lambda offset: offset
