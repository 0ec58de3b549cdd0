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
    """The record at `index` is the first after the minute that ended at `closed_ns`; it moved the watermark from .. to."""

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


def crossings(marks: Sequence[int], before_ns: int) -> list[Crossing]:
    """Where minutes of the stream's event time end, of `watermarks`. `before_ns` is 0 for the first records ever."""
    if len(marks) == 1 and marks[0] // MINUTE_NS == before_ns // MINUTE_NS:
        return []
    minutes = [mark // MINUTE_NS for mark in marks]
    steps = enumerate(zip((before_ns // MINUTE_NS, *minutes), minutes, strict=False))
    found = []
    for index in [index for index, (old, new) in steps if old != new]:
        mark = marks[index - 1] if index else before_ns
        if mark:
            found.append(Crossing(index, (mark // MINUTE_NS + 1) * MINUTE_NS, mark, marks[index]))
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

    def between(self, first: int, last: int) -> "PointColumns":
        """Those of records first..last-1."""
        if (first, last) == (0, len(self.series)):
            return self
        start, stop = sum(self.shape_sizes[:first]), sum(self.shape_sizes[:last])
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
