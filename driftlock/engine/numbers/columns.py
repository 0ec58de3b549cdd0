"""Columns of a batch of metric points: numbers of series, times, minutes. No Python code runs for a single point."""

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate
from typing import NamedTuple

from cbad_cy.points import ROLES
from driftlock.engine.event import RecordBatch
from driftlock.engine.limits import MINUTE_NS
from driftlock.engine.window import Placed

NAN = float("nan")


def series_number(instance: str, name: str) -> int:
    """The number by which the kernels know a series of an instance: 64 bits, never 0."""
    return int.from_bytes(blake2b(f"{instance}\0{name}".encode(), digest_size=8).digest(), "little") or 1


def series_numbers(batch: RecordBatch, known: MutableMapping[tuple[str, str], int]) -> "array[int]":
    """The number of each record's series. `known` remembers (instance, name) -> number, to hash each only once."""
    size = len(batch)
    names, instances = ("", *batch.series), ("", *batch.instances)
    of_instance, of_name = batch.instance_index, batch.series_index or array("I", bytes(4 * size))
    distinct = set(of_instance) if of_instance else {0}
    if len(distinct) == 1:
        instance = instances[distinct.pop()]
        by_name = {name: _number((instance, names[name]), known) for name in set(of_name)}
        return array("Q", map(by_name.__getitem__, of_name))
    pairs = list(zip(of_instance, of_name, strict=True))
    by_pair = {pair: _number((instances[pair[0]], names[pair[1]]), known) for pair in set(pairs)}
    return array("Q", map(by_pair.__getitem__, pairs))


def _number(of: tuple[str, str], known: MutableMapping[tuple[str, str], int]) -> int:
    number = known.get(of)
    if number is None:
        number = known[of] = series_number(*of)
    return number


def series_named(batch: RecordBatch, record: int) -> tuple[str, str]:
    """Instance and name of the series of one record, "" where there is none."""
    instance = batch.instance_index[record] if batch.instance_index else 0
    name = batch.series_index[record] if batch.series_index else 0
    return batch.instances[instance - 1] if instance else "", batch.series[name - 1] if name else ""


def derived_name(name: str, role: int) -> str:
    """The name of what a series says in that role of `cbad_cy.points`."""
    return f"{name} {ROLES[role]}" if ROLES[role] else name


def own_times(batch: RecordBatch, placed: Placed, last_ns: int) -> "array[int]":
    """The times at which points are judged: their own, unless they have none or one after `last_ns`, the last believable one.

    How far a series lags behind the others of its stream does not matter to it: each has its own order.
    """
    if not placed.late:
        return placed.times_ns
    times = zip(batch.times_ns, placed.times_ns, placed.late, strict=True)
    return array("Q", [own if late and own <= last_ns else at for own, at, late in times])


@dataclass(frozen=True, slots=True)
class Crossing:
    """With the record at `index` the minute that ended at `closed_ns` was over; it moved the watermark from .. to.

    `closed_ns` is 0 where the watermark entered another minute, but none was over.
    """

    index: int
    closed_ns: int
    from_ns: int
    to_ns: int


def watermarks(times_ns: "array[int]", before_ns: int) -> Sequence[int]:
    """The watermark of the stream after each of these records, or just one where all have the same minute."""
    newest = max(times_ns)
    if before_ns and newest // MINUTE_NS <= before_ns // MINUTE_NS:
        return (max(newest, before_ns),)
    return list(accumulate(times_ns, max, initial=before_ns))[1:]


def crossings(marks: Sequence[int], opened: Sequence[int], before_ns: int, open_before: int) -> list[Crossing]:
    """Where the watermark or the open minute moves to another minute.

    `marks` are `watermarks`, `opened` the open minute after each of them (see `Disorder`); `before_ns`, which is 0 for the
    first records ever, and `open_before` are those before the records.
    """
    minutes = [mark // MINUTE_NS for mark in marks]
    before = before_ns // MINUTE_NS
    if len(marks) == 1 and (minutes[0], opened[0]) == (before, open_before):
        return []
    steps = zip((before, *minutes), minutes, (open_before, *opened), opened, strict=False)
    found = []
    for index in [index for index, (old, new, was, now) in enumerate(steps) if old != new or was != now]:
        from_ns = marks[index - 1] if index else before_ns
        if from_ns:
            was = opened[index - 1] if index else open_before
            found.append(Crossing(index, (was + 1) * MINUTE_NS if opened[index] != was else 0, from_ns, marks[index]))
    return found


class PointColumns(NamedTuple):
    """What `cbad_cy.points.Points.take` reads of records, in its order."""

    series: "array[int]"
    times_ns: "array[int]"
    starts_ns: "array[int]"
    kinds: bytes
    values: "array[float]"
    counts: "array[float]"
    sums: "array[float]"
    shape_sizes: "array[int]"
    shape_at: "array[float]"
    shape: "array[float]"

    @classmethod
    def of(cls, batch: RecordBatch, series: "array[int]", times_ns: "array[int]") -> "PointColumns":
        """Those of a whole batch; records without a number are no numbers."""
        return cls(
            series=series,
            times_ns=times_ns,
            starts_ns=batch.starts_ns,
            kinds=batch.point_kinds,
            values=batch.values or array("d", [NAN]) * len(batch),
            counts=batch.counts,
            sums=batch.sums,
            shape_sizes=batch.shape_sizes,
            shape_at=batch.shape_at,
            shape=batch.shape,
        )

    def between(self, first: int, last: int, start: int) -> "PointColumns":
        """Those of records first..last-1; the records before them have `start` entries of `shape`."""
        if (first, last) == (0, len(self.series)):
            return self
        stop = start + sum(self.shape_sizes[first:last])
        return PointColumns(
            self.series[first:last],
            self.times_ns[first:last],
            self.starts_ns[first:last],
            self.kinds[first:last],
            self.values[first:last],
            self.counts[first:last],
            self.sums[first:last],
            self.shape_sizes[first:last],
            self.shape_at[start:stop],
            self.shape[start:stop],
        )


def layers(series: "array[int]", most: int) -> Iterator["array[int] | None"]:
    """Places of points such that each group has at most `most` of a series, in their order; None = all at once."""
    if len(series) <= most or max(Counter(series).values()) <= most:
        yield None
        return
    seen: defaultdict[int, int] = defaultdict(int)
    groups: list[array[int]] = []
    for place, number in enumerate(series):
        group = seen[number] // most
        seen[number] += 1
        if group == len(groups):
            groups.append(array("I"))
        groups[group].append(place)
    yield from groups
