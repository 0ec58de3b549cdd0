"""Questions that only the journal can answer: what a release changed, what a whole trace was, what a series said.

What is read is bounded, and so is what is made of it; everything but the database's part happens in threads of its own, which
detection does not share.
"""

import asyncio
import contextlib
from bisect import bisect_left
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol, TypeVar
from uuid import UUID

from driftlock.engine.event import TRACES_SERVICE, Signal
from driftlock.engine.limits import MINUTE_NS, Limits
from driftlock.engine.masks import compiled
from driftlock.engine.numbers.charts import Chart, ChartPoints, KnownSeries, Latest, Newest, known_series, listed
from driftlock.engine.releases.attribute import Attribute
from driftlock.engine.releases.diff import ReleaseDiff, compare
from driftlock.engine.releases.lines import Gathering, Release, Releases
from driftlock.engine.traces.tree import Gathered, TraceTree
from driftlock.errors import Internal, InvalidArgument, NotFound
from driftlock.storage.anomalies import AnomalyFilter, AnomalyRow
from driftlock.storage.excerpts import ExcerptRow, Look, Reach, Scan
from driftlock.storage.readback_gate import ReadbackGate
from driftlock.storage.streams import StreamRow

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NS_MAX = 2**63 - 1
Result = TypeVar("Result")


class ExcerptReader(Protocol):
    """Reads what the journal holds (`driftlock.storage.excerpts.Excerpts`)."""

    async def scan(self, tenant_id: UUID, stream_id: UUID, reach: Reach, look: Look, *, bytes_max: int | None = None) -> Scan:
        """Show the rows of a stream to `look`."""
        ...

    async def trace_streams(self, tenant_id: UUID) -> Sequence[tuple[UUID, str]]:
        """The streams of traces, with their environments."""
        ...

    async def state(self, tenant_id: UUID, stream_id: UUID) -> bytes | None:
        """The newest stored state of a stream."""
        ...


class AnomalyLister(Protocol):
    """Lists findings (`driftlock.storage.anomalies.Anomalies`)."""

    async def list(
        self, tenant_id: UUID, filters: AnomalyFilter, *, limit: int, after: tuple[datetime, int, UUID] | None
    ) -> Sequence[AnomalyRow]:
        """One page, descending."""
        ...


@dataclass(frozen=True, slots=True)
class ReadbackLimits:
    """Bounds of what is made of what was read.

    A release has at most `release_lines_max` lines, the newest, and `changes_max` changes of each kind. A tree has
    `trace_spans_max` spans, and marks what `trace_findings_max` findings say; rows further than `trace_reach_ns` from where a
    trace was found are not looked at. Charts are drawn of `chart_series_max` series, of `chart_points_max` points together,
    each in `chart_spans_max` spans. Lists of series look for newest points in `list_bytes_max` of the journal, and hold
    `list_series_max` series beside those that are known.
    """

    release_lines_max: int = 50_000
    changes_max: int = 50
    trace_spans_max: int = 2_000
    trace_findings_max: int = 20
    trace_reach_ns: int = 15 * MINUTE_NS
    chart_series_max: int = 10
    chart_points_max: int = 100_000
    chart_spans_max: int = 500
    list_bytes_max: int = 4 * 1024 * 1024
    list_series_max: int = 20_000
    running_max: int = 2
    calls_max: int = 32
    tenant_calls_max: int = 4
    call_ms_max: int = 20_000


@dataclass(frozen=True, slots=True)
class FoundTrace:
    """A trace, the stream it was found in, and the findings that name it, the newest first."""

    tree: TraceTree
    stream_id: UUID
    environment: str
    findings: tuple[AnomalyRow, ...]
    scan: Scan


@dataclass(frozen=True, slots=True)
class FoundCharts:
    """Charts of the series of one name; `omitted` more series have that name."""

    charts: tuple[Chart, ...]
    omitted: int
    scan: Scan


@dataclass(frozen=True, slots=True)
class SeriesListing:
    """The series of a stream by name, instance and number, each with its newest point where one was read."""

    found: Sequence[tuple[KnownSeries, Latest | None]]

    def page(self, limit: int, after: tuple[str, int] | None) -> Sequence[tuple[KnownSeries, Latest | None]]:
        """At most `limit` of them, behind the one of that number.

        `after` begins with what that one's name begins with: where it has been forgotten meanwhile, the page begins there.
        """
        if after is None:
            return self.found[:limit]
        prefix, number = after
        place = next((at + 1 for at, (series, _) in enumerate(self.found) if series.of.number == number), None)
        if place is None:
            place = bisect_left(self.found, prefix, key=lambda it: it[0].of.name)
        return self.found[place : place + limit]


class Readback:
    """Answers for one tenant at a time.

    Raises `RateLimited` and `Unavailable` where too many ask, or it takes too long; what is not there is `NotFound`. Times to
    read between are those of receiving, in ns.
    """

    def __init__(
        self, excerpts: ExcerptReader, anomalies: AnomalyLister, executor: Executor, limits: ReadbackLimits | None = None
    ) -> None:
        """What is made of rows is made in `executor`."""
        self._excerpts, self._anomalies, self._executor = excerpts, anomalies, executor
        self._limits = limits or ReadbackLimits()
        self._engine_limits = Limits()
        self._gate = ReadbackGate(
            running_max=self._limits.running_max,
            calls_max=self._limits.calls_max,
            tenant_calls_max=self._limits.tenant_calls_max,
            call_ms_max=self._limits.call_ms_max,
        )

    # ---- releases ------------------------------------------------------------------------------------------------------

    async def releases(
        self, tenant_id: UUID, stream: StreamRow, attribute: str, since_ns: int | None, until_ns: int | None
    ) -> tuple[Sequence[Release], Releases, Scan]:
        """The values of an attribute that the newest records of a stream have; the one seen last comes first."""
        found = Releases(Attribute(attribute))

        def look(rows: Sequence[ExcerptRow]) -> bool:
            for row in rows:
                found.take(row.batch, row.received_ns)
            return True

        async with self._gate.enter(tenant_id):
            scan = await self._excerpts.scan(tenant_id, stream.stream_id, Reach(since_ns, until_ns), look)
        return found.found(), found, scan

    async def diff(
        self,
        tenant_id: UUID,
        stream: StreamRow,
        attribute: str,
        old: str,
        new: str,
        since_ns: int | None,
        until_ns: int | None,
    ) -> tuple[ReleaseDiff, Scan]:
        """What the lines of `new` say that those of `old` did not; see `driftlock.engine.releases.diff`."""
        if stream.key.signal is Signal.METRICS or stream.key.service == TRACES_SERVICE:
            raise InvalidArgument(
                "releases are compared by their lines, which this stream has none of; choose one of logs or spans"
            )
        limits = self._limits
        gathering = Gathering(Attribute(attribute), old.encode(), new.encode(), limits.release_lines_max)

        def look(rows: Sequence[ExcerptRow]) -> bool:
            return all(gathering.take(row.batch, row.received_ns) for row in rows)

        def made() -> ReleaseDiff:
            masks = compiled(stream.profile.masks)
            return compare(*gathering.lines(), masks, changes_max=limits.changes_max, limits=self._engine_limits)

        async with self._gate.enter(tenant_id):
            scan = await self._excerpts.scan(tenant_id, stream.stream_id, Reach(since_ns, until_ns), look)
            return await self._in_thread(made), scan

    # ---- traces --------------------------------------------------------------------------------------------------------

    async def trace(self, tenant_id: UUID, trace_id: str, around_ns: int | None) -> FoundTrace:
        """The tree of a trace. It is looked for from `around_ns` on, else back from when a finding named it, else from now."""
        limits = self._limits
        named = AnomalyFilter(trace_id=trace_id)
        async with self._gate.enter(tenant_id):
            findings = await self._anomalies.list(tenant_id, named, limit=limits.trace_findings_max, after=None)
            reach = self._reach(around_ns, findings)
            of_findings = {row.stream_id for row in findings}
            streams = await self._excerpts.trace_streams(tenant_id)
            held: list[Scan] = []
            for stream_id, environment in sorted(streams, key=lambda it: it[0] not in of_findings):
                spans = Gathered(bytes.fromhex(trace_id), limits.trace_spans_max)
                scan = await self._excerpts.scan(tenant_id, stream_id, reach, self._search(spans))
                held.append(scan)
                if len(spans):
                    subtrees = [row.finding.subtree for row in findings if row.finding.subtree]
                    tree = await self._in_thread(partial(spans.tree, subtrees))
                    return FoundTrace(tree, stream_id, environment, tuple(findings), scan)
        raise NotFound(_not_found(held))

    def _reach(self, around_ns: int | None, findings: Sequence[AnomalyRow]) -> Reach:
        if around_ns is not None:
            return Reach(since_ns=max(0, around_ns - self._engine_limits.future_ns), newest_first=False)
        if findings:
            last = max(row.detected_at for row in findings)
            return Reach(before_ns=(last - _EPOCH) // timedelta(microseconds=1) * 1000 + MINUTE_NS)
        return Reach()

    def _search(self, spans: Gathered) -> Look:
        """Takes the spans of a trace, until rows are too far from where the newest of them was found."""
        seen_ns: list[int] = []

        def look(rows: Sequence[ExcerptRow]) -> bool:
            for row in rows:
                if spans.take(row.batch):
                    seen_ns[:] = [row.received_ns]
                elif seen_ns and abs(row.received_ns - seen_ns[0]) > self._limits.trace_reach_ns:
                    return False
            return True

        return look

    # ---- series --------------------------------------------------------------------------------------------------------

    async def series(self, tenant_id: UUID, stream: StreamRow) -> SeriesListing:
        """The series of a metrics stream, with their newest points.

        The points are looked for in the newest records alone, so a series that is seldom sent may be without.
        """
        _check_metrics(stream)
        newest = Newest(self._limits.list_series_max)

        def look(rows: Sequence[ExcerptRow]) -> bool:
            for row in rows:
                newest.take(row.batch, row.received_ns)
            return True

        def made(state: bytes | None) -> SeriesListing:
            known: dict[int, KnownSeries] = {}
            if state is not None:
                # Damaged or newer: the applier tells of it, and what was read last is still there.
                with contextlib.suppress(Internal):
                    known = known_series(state, stream.key, self._engine_limits)
            return SeriesListing(listed(known, newest))

        async with self._gate.enter(tenant_id):
            await self._excerpts.scan(tenant_id, stream.stream_id, Reach(), look, bytes_max=self._limits.list_bytes_max)
            state = await self._excerpts.state(tenant_id, stream.stream_id)
            return await self._in_thread(partial(made, state))

    async def charts(
        self,
        tenant_id: UUID,
        stream: StreamRow,
        name: str,
        instance: str | None,
        since_ns: int | None,
        until_ns: int | None,
    ) -> FoundCharts:
        """What the series of a name said between two event times, beside what was expected.

        Points before `since_ns` are learned from: those of as long a time as is shown, and of an hour at least.
        """
        _check_metrics(stream)
        limits = self._limits
        points = ChartPoints(name, instance, series_max=limits.chart_series_max, points_max=limits.chart_points_max)
        reach = Reach(newest_first=since_ns is None)
        if since_ns is not None:
            shown_ns = max(0, (NS_MAX if until_ns is None else until_ns) - since_ns)
            earlier_ns = max(60 * MINUTE_NS, min(shown_ns, 24 * 60 * MINUTE_NS))
            reach = Reach(since_ns=max(0, since_ns - earlier_ns - self._engine_limits.future_ns), newest_first=False)

        def look(rows: Sequence[ExcerptRow]) -> bool:
            return all(points.take(row.batch, row.received_ns) for row in rows)

        def made() -> tuple[Chart, ...]:
            return points.charts(
                stream.profile,
                newest_first=reach.newest_first,
                since_ns=since_ns or 0,
                until_ns=2**64 if until_ns is None else until_ns,
                spans_max=limits.chart_spans_max,
            )

        async with self._gate.enter(tenant_id):
            scan = await self._excerpts.scan(tenant_id, stream.stream_id, reach, look)
            if not points.series:
                raise NotFound(_no_series(name, scan))
            return FoundCharts(await self._in_thread(made), len(points.omitted), scan)

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def _check_metrics(stream: StreamRow) -> None:
    if stream.key.signal is not Signal.METRICS:
        raise NotFound("this stream has no series; streams of metrics have")


def _no_series(name: str, scan: Scan) -> str:
    if scan.held_since_ns is None:
        return "the journal holds no records of this stream any more, so there is nothing to draw"
    return f"no record that was read is of a series called {name[:100]!r}; GET .../series lists the series of this stream"


def _not_found(held: Sequence[Scan]) -> str:
    since = [scan.held_since_ns for scan in held if scan.held_since_ns is not None]
    if not since:
        return "the journal holds no spans (any more): traces can be looked at as long as their spans are in it"
    moment = (_EPOCH + timedelta(microseconds=min(since) // 1000)).isoformat(timespec="seconds").replace("+00:00", "Z")
    text = f"no span of this trace was found; the journal holds spans that were received since {moment}"
    if any(scan.cut for scan in held):
        text += ", of which not all were looked at: say around which time with ?around="
    return text
