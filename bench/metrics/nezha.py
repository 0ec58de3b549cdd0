"""Faults injected into pods, found in their metrics: the numbers and the tenant's fold as the product runs them.

`python -m bench.metrics.nezha`. Each pod sends the metrics of its service, a point a minute and metric; a fault lasts about
three minutes. A fault is found when an incident that names its pod is told at most three minutes after its injection. What
waits for other streams is told by clock records, as in a process that runs: some seconds after a minute is over. An incident
that is told outside of all faults (from injection to five minutes after it) is false. Pasts are empty when the day begins,
minutes before the first fault.

`hindsight`: faults whose three minutes are odder than 98 in 100 stretches without a fault, by the ranks of each metric of the
pod over the whole time in which faults were injected. It knows the future and when to look, which no detector does: what it
does not see is seen by chance, at the price of false incidents. Two pods' metrics are not in the set at all.
"""

import argparse
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from bench.data import loaders
from bench.quality.figures import Figure, show
from cbad_cy.codec import Codec
from driftlock.engine.correlation.correlator import Correlator, Flag, Progress
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.fold import Summary
from driftlock.engine.limits import MINUTE_NS, SECOND_NS, Limits
from driftlock.engine.numbers.detector import NumberDetector
from driftlock.engine.numbers.finding import series_finding_id
from driftlock.engine.ports import IncidentRow
from driftlock.engine.profile import DEFAULT_PROFILE, PROFILES

Booleans = NDArray[np.bool_]
Floats = NDArray[np.float64]
DAYS = {"OnlineBoutique 2022-08-22": "2022-08-22", "TrainTicket 2023-01-30": "2023-01-30"}
FOUND_MINUTES, FAULT_MINUTES = 3, 5
TENANT = UUID(int=1)
RARE = 0.02
AROUND_MINUTES = 60
PROTOCOL = "nezha"
CLOCK_NS = 10 * SECOND_NS
"""After so much of a minute the clock says that the one before is over: its grace, and the period of clock records."""


@dataclass(frozen=True, slots=True)
class Told:
    """What one stream's fold emitted for one row of the journal, sent at `time_ns`."""

    time_ns: int
    stream_id: UUID
    progress: Progress
    flags: tuple[Flag, ...]
    summaries: tuple[Summary, ...]


@dataclass(frozen=True, slots=True)
class Opened:
    """An incident, when it was told and whom it names."""

    time_ns: int
    pods: frozenset[str]


@dataclass(frozen=True, slots=True)
class Day:
    """The metrics of a day: (time in s, {metric: value}, pod) by time, and its faults."""

    name: str
    rows: Sequence[tuple[int, Mapping[str, float], str]]
    faults: Sequence[Mapping[str, object]]

    @property
    def pods(self) -> list[str]:
        """All that send metrics."""
        return sorted({pod for _, _, pod in self.rows})

    def inside(self, time_s: float) -> bool:
        """Whether some fault is, or was just, there."""
        return any(0 <= time_s - fault_s <= 60 * FAULT_MINUTES for fault_s in self.times_s)

    @property
    def times_s(self) -> list[float]:
        """When faults were injected."""
        return [float(str(fault["t"])) for fault in self.faults]

    @property
    def free_hours(self) -> float:
        """Hours of the day outside of all faults."""
        first, last = self.rows[0][0], self.rows[-1][0]
        return sum(not self.inside(time_s) for time_s in range(first, last, 60)) / 60


def day(data: ModuleType, name: str) -> Day:
    """One of `DAYS`."""
    return Day(name, list(data.nezha_metrics(DAYS[name])), data.nezha_faults(DAYS[name]))


def told(of: Day) -> Iterator[Told]:
    """What the folds of all streams say, each pod being the only one of its service."""
    limits, codec = Limits(), Codec("zstd", 1)
    keys = {pod: StreamKey(Signal.METRICS, pod.rsplit("-", 2)[0]) for pod in of.pods}
    folds = {pod: NumberDetector(key, PROFILES[DEFAULT_PROFILE], 0, limits) for pod, key in keys.items()}
    ids = {pod: UUID(int=10 + number) for number, pod in enumerate(of.pods)}
    for time_s, values, pod in of.rows:
        time_ns, fold = time_s * SECOND_NS, folds[pod]
        found = fold.fold(_batch(values, pod, time_ns), time_ns, codec)
        flags = tuple(
            Flag(
                stream_id=ids[pod],
                stream=fold.key.text,
                seq=0,
                window=it.window,
                start_ns=it.start_ns,
                end_ns=it.end_ns,
                ncd=it.ncd,
                p_value=it.p_value,
                finding_id=series_finding_id(ids[pod], it),
                title=it.explanation,
                surprise=it.surprise,
                question=it.question.value,
                service=fold.key.text.partition(":")[2],
            )
            for it in found
        )
        progress = Progress(fold.clock.watermark_ns, fold.windows, time_ns, stream=fold.key.text)
        yield Told(time_ns, ids[pod], progress, flags, tuple(fold.take_summaries()))


def _batch(values: Mapping[str, float], pod: str, time_ns: int) -> RecordBatch:
    count = len(values)
    names = tuple(sorted(values))
    return RecordBatch(
        text=b"",
        lengths=array("I", bytes(4 * count)),
        times_ns=array("Q", [time_ns] * count),
        instances=(pod,),
        instance_index=array("I", [1] * count),
        series=names,
        series_index=array("I", range(1, count + 1)),
        values=array("d", map(values.__getitem__, names)),
    )


def incidents(of: Day, emitted: Sequence[Told], *, apart: bool, together: bool) -> list[Opened]:
    """What the tenant's fold makes of it: with the alarms of single series, with their sums, or with both."""
    fold = Correlator(TENANT, Limits())
    pods = {UUID(int=10 + number): pod for number, pod in enumerate(of.pods)}
    opened: dict[UUID, Opened] = {}

    def take(rows: Sequence[IncidentRow], time_ns: int) -> None:
        fold.take_findings()
        for row in rows:
            named = frozenset(pods[stream_id] for stream_id in row.incident.stream_ids)
            opened.setdefault(row.incident.incident_id, Opened(time_ns, named))

    clock_ns = emitted[0].time_ns // MINUTE_NS * MINUTE_NS + CLOCK_NS
    for it in emitted:
        while clock_ns <= it.time_ns:
            take(fold.clock(clock_ns), clock_ns)
            clock_ns += MINUTE_NS
        take(fold.derived(it.stream_id, it.progress, it.flags if apart else (), it.summaries if together else ()), it.time_ns)
    return list(opened.values())


def measured(of: Day, found: Sequence[Opened], rule: str) -> Iterator[Figure]:
    """Faults found with their delays, and false incidents an hour."""
    delays = []
    for time_s, fault in zip(of.times_s, of.faults, strict=True):
        after = [it.time_ns / SECOND_NS - time_s for it in found if fault["pod"] in it.pods]
        delays.append(min((delay for delay in after if 0 <= delay <= 60 * FOUND_MINUTES), default=None))
    hits = [delay for delay in delays if delay is not None]
    false = sum(not of.inside(it.time_ns / SECOND_NS) for it in found)
    about = (PROTOCOL, f"{len(of.faults)} faults injected into pods, {of.free_hours:.1f} hours without one", of.name, rule)
    yield Figure(*about, f"found within {FOUND_MINUTES} min", float(len(hits)), count=len(of.faults))
    yield Figure(*about, "delay, median s", float(np.median(hits)) if hits else float("nan"), count=len(hits))
    yield Figure(*about, "false incidents an hour", false / of.free_hours, count=false)


def visible(of: Day) -> Figure:
    """Faults that could be found at all, with hindsight, see the module."""
    first, last = int(of.times_s[0] // 60) - AROUND_MINUTES, int(of.times_s[-1] // 60) + AROUND_MINUTES
    names = sorted(of.rows[0][1])
    count = 0
    for pod in sorted({str(fault["pod"]) for fault in of.faults} & set(of.pods)):
        of_pod = [(time_s // 60, values) for time_s, values, name in of.rows if name == pod and first <= time_s // 60 <= last]
        minutes = np.array([minute for minute, _ in of_pod])
        points = np.array([[values.get(name, np.nan) for name in names] for _, values in of_pod])
        stretches = np.lib.stride_tricks.sliding_window_view(points, FOUND_MINUTES, axis=0).mean(axis=-1)
        free = np.array([not any(of.inside(60 * float(it + more)) for more in range(FOUND_MINUTES)) for it in minutes])
        odd = _oddness(stretches, free[: len(stretches)])
        for time_s, fault in zip(of.times_s, of.faults, strict=True):
            begin = int(np.searchsorted(minutes, time_s // 60 + 1))
            if fault["pod"] == pod and begin < len(odd):
                count += float(np.mean(odd[free[: len(odd)]] >= odd[begin])) <= RARE
    about = (PROTOCOL, f"{len(of.faults)} faults injected into pods, {of.free_hours:.1f} hours without one", of.name)
    return Figure(*about, "hindsight, no detector", f"found within {FOUND_MINUTES} min", float(count), count=len(of.faults))


def _oddness(stretches: Floats, free: Booleans) -> Floats:
    """For each stretch the sum over metrics of -log10 of its two-sided rank among those without a fault."""
    total = np.zeros(len(stretches))
    for column in stretches.T:
        usual = np.sort(column[free & np.isfinite(column)])
        if len(usual) > 1 / RARE and usual[0] < usual[-1]:
            below, above = np.searchsorted(usual, column, "right"), len(usual) - np.searchsorted(usual, column, "left")
            ranks = np.clip(2 * np.minimum(below, above), 0.5, len(usual)) / len(usual)
            total += np.where(np.isfinite(column), np.clip(-np.log10(ranks) - 0.5, 0, 2), 0)
    return total


def figures(data: ModuleType, *, quick: bool) -> Iterator[Figure]:
    """Both days; the quick form stops an hour after the last fault."""
    for name in DAYS:
        of = day(data, name)
        if quick:
            end_s = of.times_s[-1] + 60 * AROUND_MINUTES
            of = Day(of.name, [row for row in of.rows if row[0] <= end_s], of.faults)
        emitted = list(told(of))
        yield visible(of)
        for rule, apart, together in (("series apart", True, False), ("sums", False, True), ("both", True, True)):
            yield from measured(of, incidents(of, emitted, apart=apart, together=together), rule)


def table(quick: bool) -> list[dict[str, object]]:
    """Print it; the rows for a report."""
    found = list(figures(loaders(), quick=quick))
    show(found)
    return [figure.row() for figure in found]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m bench.metrics.nezha", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="stop an hour after the last fault")
    table(parser.parse_args().quick)


if __name__ == "__main__":
    main()
