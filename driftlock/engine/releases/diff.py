"""What a release says that the one before did not: lines that are new, gone, or much more or less frequent.

Lines are compared by their masked form, without the attribute by which the two releases are told apart. Each form is tested
alone (Fisher's exact test of its two shares), corrected for the number of forms (Tarone). The test takes lines for independent;
lines that come in bursts are not, so beside significance a change of share by `RATIO_MIN` is asked for.

Everything here is a function of the lines: equal lines give equal answers.
"""

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cbad_cy.codelength import BIT, Coder, template
from cbad_cy.tokenize import Masks, mask_with_slots
from driftlock.engine.explanation.naming import Window
from driftlock.engine.explanation.suspicion import LineCost, Scanner
from driftlock.engine.limits import Limits
from driftlock.engine.releases.lines import LINE_BYTES_MAX, Lines
from driftlock.engine.releases.proportions import least_p, tests_counted, two_sided_p
from driftlock.engine.window import Event

ALPHA = 0.01
"""That one line or more is falsely called significant is at most so probable, if lines are independent."""
RATIO_MIN = 2.0
"""A line that both have is told when its share is so many times as large in one as in the other."""
KNOWN_BYTES_MAX = 1024 * 1024
"""New lines are compared with the most frequent forms of the old release, of so many bytes together."""
CODER_BYTES_MAX = 8 * 1024 * 1024
"""What a coder may remember of a release."""


class ChangeKind(StrEnum):
    """What became of a line."""

    NEW = "new"
    GONE = "gone"
    MORE = "more"
    LESS = "less"


@dataclass(frozen=True, slots=True)
class LineChange:
    """A line that differs. Shares are of all lines of a release; `p_value` is corrected for the number of tests.

    `text` is the first such line of the newer release (of the older one where it is gone). Of a new line `spans` are the bytes
    of the text, as UTF-8, that the older release does not explain, `nearest` is its most similar form ("" = none is), and
    `bits` what the line costs a coder that has learned it.
    """

    kind: ChangeKind
    text: str
    count_from: int
    count_to: int
    share_from: float
    share_to: float
    p_value: float
    significant: bool
    spans: tuple[tuple[int, int], ...] = ()
    nearest: str = ""
    bits: float | None = None


@dataclass(frozen=True, slots=True)
class Side:
    """One release. `first_ns` and `last_ns` are times of its lines, 0 where it has none; `kinds` are distinct masked forms."""

    lines: int
    kinds: int
    first_ns: int
    last_ns: int


@dataclass(frozen=True, slots=True)
class ReleaseDiff:
    """The difference of two releases. `changes` are at most as many of each kind as were asked for, `totals` counts all.

    `bits_per_line`: what a line of the newer release costs on average given all of the older one; `bits_per_line_within`: what
    one of the older release's second half costs given its first half, for comparison. `unseen_share` of the newer release's
    lines have forms that the older one never had; `unseen_share_expected` would be usual were they the same: as many as came
    once only (Good, "The population frequencies of species and the estimation of population parameters", Biometrika 40, 1953).
    """

    old: Side
    new: Side
    changes: tuple[LineChange, ...]
    totals: Mapping[ChangeKind, int]
    tests: int
    unseen_share: float
    unseen_share_expected: float
    bits_per_line: float | None
    bits_per_line_within: float | None


@dataclass(frozen=True)
class _Masked:
    """Lines with their forms."""

    lines: Lines
    text: bytes
    lengths: "array[int]"
    slots: "array[int]"
    slot_counts: "array[int]"
    forms: Sequence[bytes]
    counts: Mapping[bytes, int]

    def first(self, wanted: Sequence[bytes]) -> dict[bytes, int]:
        """The place of the first line of each of these forms."""
        missing, found = set(wanted), {}
        for place, form in enumerate(self.forms):
            if form in missing:
                found[form] = place
                missing.discard(form)
        return found

    def line(self, place: int) -> bytes:
        """The line there."""
        start = sum(self.lines.lengths[:place])
        return self.lines.text[start : start + self.lines.lengths[place]]

    def part(self, first: int, last: int) -> tuple[bytes, "array[int]", "array[int]", "array[int]"]:
        """Lines first..last-1 as a coder takes them."""
        start, slot = sum(self.lengths[:first]), sum(self.slot_counts[:first])
        stop, slot_stop = start + sum(self.lengths[first:last]), slot + sum(self.slot_counts[first:last])
        counts = self.slot_counts[first:last]
        return self.text[start:stop], self.lengths[first:last], self.slots[slot:slot_stop], counts


def compare(old: Lines, new: Lines, masks: Masks | None, *, changes_max: int, limits: Limits) -> ReleaseDiff:
    """The difference of two releases; at most `changes_max` changes of each kind, the most significant first."""
    before, after = _masked(old, masks), _masked(new, masks)
    forms = sorted(before.counts.keys() | after.counts.keys())
    both = [before.counts.get(form, 0) + after.counts.get(form, 0) for form in forms]
    possible = len(old) > 0 and len(new) > 0
    by_count = {count: least_p(count, len(old), len(new)) for count in set(both)} if possible else {}
    tests = tests_counted([by_count[count] for count in both], ALPHA) if possible else 1
    judged = [_judged(form, before, after, tests) for form in forms] if possible else []
    found = [(kind, p, form) for kind, p, form in judged if kind is not None]
    kept = _kept(found, before, after, changes_max)
    coder = _learned(before)
    unseen = sum(count for form, count in after.counts.items() if form not in before.counts)
    return ReleaseDiff(
        old=_side(before),
        new=_side(after),
        changes=_changes(kept, before, after, coder, masks, limits),
        totals={kind: sum(it is kind for it, _, _ in found) for kind in ChangeKind},
        tests=tests,
        unseen_share=unseen / len(new) if possible else 0.0,
        unseen_share_expected=sum(count == 1 for count in before.counts.values()) / len(old) if possible else 0.0,
        bits_per_line=_bits(coder, after, 0, len(new)) if possible else None,
        bits_per_line_within=_within(before),
    )


def _masked(lines: Lines, masks: Masks | None) -> _Masked:
    text, lengths, slots, slot_counts = mask_with_slots(lines.text, lines.lengths, line_bytes_max=LINE_BYTES_MAX, masks=masks)
    forms, start = [], 0
    for length in lengths:
        forms.append(text[start : start + length])
        start += length
    return _Masked(lines, text, lengths, slots, slot_counts, forms, Counter(forms))


def _side(of: _Masked) -> Side:
    times = of.lines.times_ns
    return Side(len(of.lines), len(of.counts), min(times, default=0), max(times, default=0))


def _judged(form: bytes, before: _Masked, after: _Masked, tests: int) -> tuple[ChangeKind | None, float, bytes]:
    """What became of a form, with its corrected p-value; None: nothing that is worth telling."""
    old, new, olds, news = before.counts.get(form, 0), after.counts.get(form, 0), len(before.lines), len(after.lines)
    p_value = float(f"{min(1.0, tests * two_sided_p(old, olds, new, news)):.6g}")
    if not old or not new:
        return ChangeKind.GONE if old else ChangeKind.NEW, p_value, form
    ratio = new * olds / (old * news)
    if p_value > ALPHA or 1 / RATIO_MIN < ratio < RATIO_MIN:
        return None, p_value, form
    return ChangeKind.MORE if ratio > 1 else ChangeKind.LESS, p_value, form


def _kept(
    found: Sequence[tuple[ChangeKind, float, bytes]], before: _Masked, after: _Masked, changes_max: int
) -> list[tuple[ChangeKind, float, bytes]]:
    """The most significant of each kind; of equally significant ones those with the most lines."""
    kept = []
    for kind in ChangeKind:
        of_kind = [it for it in found if it[0] is kind]
        of_kind.sort(key=lambda it: (it[1], -before.counts.get(it[2], 0) - after.counts.get(it[2], 0), it[2]))
        kept += of_kind[:changes_max]
    return kept


def _changes(
    kept: Sequence[tuple[ChangeKind, float, bytes]],
    before: _Masked,
    after: _Masked,
    coder: Coder,
    masks: Masks | None,
    limits: Limits,
) -> tuple[LineChange, ...]:
    gone = [form for kind, _, form in kept if kind is ChangeKind.GONE]
    new = [form for kind, _, form in kept if kind is ChangeKind.NEW]
    places = after.first([form for kind, _, form in kept if kind is not ChangeKind.GONE])
    places_gone = before.first(gone)
    explained = _explained([places[form] for form in new], before, after, coder, Scanner(masks), limits)
    changes = []
    for kind, p_value, form in kept:
        text, spans, nearest, bits = explained.get(form) or (
            _shown(before.line(places_gone[form]) if kind is ChangeKind.GONE else after.line(places[form])),
            (),
            "",
            None,
        )
        old, now = before.counts.get(form, 0), after.counts.get(form, 0)
        change = LineChange(
            kind=kind,
            text=text,
            count_from=old,
            count_to=now,
            share_from=old / len(before.lines),
            share_to=now / len(after.lines),
            p_value=p_value,
            significant=p_value <= ALPHA,
            spans=spans,
            nearest=nearest,
            bits=bits,
        )
        changes.append(change)
    return tuple(changes)


def _explained(
    places: Sequence[int], before: _Masked, after: _Masked, coder: Coder, scanner: Scanner, limits: Limits
) -> dict[bytes, tuple[str, tuple[tuple[int, int], ...], str, float | None]]:
    """Text, novel spans, nearest form and bits of the lines at these places of the newer release, by form."""
    events, costs = [], []
    for place in places:
        form, line = after.forms[place], after.line(place)
        slots = after.part(place, place + 1)[2]
        cost = coder.explain(form, slots, context=template(after.forms[place - 1]) if place else 0)
        costs.append(LineCost(cost.total, tuple(cost.tokens)))
        events.append(Event(line, form, after.lines.times_ns[place], False, False, "", b""))
    if not events:
        return {}
    window = Window(events, 0, _known(before), costs, limits, scanner)
    told = [window.line(number, 1, 0.0, window.spans(number)) for number in range(len(events))]
    return {
        event.masked: (line.text, line.spans, line.nearest, float(f"{line.bits:.6g}"))
        for event, line in zip(events, told, strict=True)
    }


def _known(before: _Masked) -> dict[bytes, int]:
    """The most frequent forms of a release that fit into `KNOWN_BYTES_MAX`."""
    known, room = {}, KNOWN_BYTES_MAX
    for form, count in sorted(before.counts.items(), key=lambda it: (-it[1], it[0])):
        if len(form) + 1 <= room:
            known[form] = count
            room -= len(form) + 1
    return known


def _learned(of: _Masked, until: int | None = None) -> Coder:
    coder = Coder(bytes_max=CODER_BYTES_MAX)
    coder.code(*of.part(0, len(of.lines) if until is None else until), context=0, learn=True)
    return coder


def _within(of: _Masked) -> float | None:
    """What a line of the second half costs given the first half."""
    half = len(of.lines) // 2
    return _bits(_learned(of, half), of, half, len(of.lines)) if half else None


def _bits(coder: Coder, of: _Masked, first: int, last: int) -> float:
    context = template(of.forms[first - 1]) if first else 0
    costs, _ = coder.code(*of.part(first, last), context=context, learn=False)
    return float(f"{sum(costs) / BIT / (last - first):.6g}")


def _shown(line: bytes) -> str:
    return line.decode("utf-8", "replace")
