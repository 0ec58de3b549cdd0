"""Records of all signals in one order of arrival, given to a tenant as a server's senders would give them."""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias
from uuid import UUID

from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.limits import SECOND_NS
from driftlock.engine.ports import IncidentRow
from server.offline.span_batches import batches_of, numbered
from server.offline.spans import SPAN_ID_BYTES, TRACE_ID_BYTES, SpanLine
from server.offline.tenant import OfflineTenant, Told

STEP_NS = 5 * SECOND_NS
"""Senders send what they have so often: the period of the OpenTelemetry SDK's batch processor."""


class LogLine(NamedTuple):
    """A line of a service's log; ids are b"" where the line names none."""

    service: str
    instance: str
    time_ns: int
    text: bytes
    trace: bytes
    span: bytes


class Row(NamedTuple):
    """The metrics of one instance at one time."""

    service: str
    instance: str
    time_ns: int
    values: Mapping[str, float]


Record: TypeAlias = "SpanLine | LogLine | Row"


class Arrived(NamedTuple):
    """A record and when it can be sent: a span when it has ended."""

    arrived_ns: int
    record: Record


class Naming(NamedTuple):
    """An incident as it was told at one time: the newest end of its findings, its culprit, and all services that it names.

    Services are keys of streams without the signal.
    """

    told_ns: int
    newest_ns: int
    culprit: str
    services: frozenset[str]


@dataclass(frozen=True, slots=True)
class Opened:
    """An incident; `alarmed_ns` is the end of the findings with which it was told first, `named` each time that it was told."""

    alarmed_ns: int
    told_ns: int
    named: list[Naming]

    def named_by(self, time_ns: int) -> frozenset[str]:
        """The services that it named until then."""
        return frozenset().union(*(it.services for it in self.named if it.told_ns <= time_ns))

    def culprit_by(self, time_ns: int) -> str:
        """The culprit that it told last until then."""
        return [it.culprit for it in self.named if it.told_ns <= time_ns][-1]

    def names_between(self, service: str, first_ns: int, last_ns: int) -> bool:
        """Whether it named the service by `last_ns` for something that was found from `first_ns` on."""
        return any(it.newest_ns >= first_ns and it.told_ns <= last_ns and service in it.services for it in self.named)


def arrivals(records: Iterable[Record]) -> list[Arrived]:
    """In the order in which they can be sent."""
    found = [Arrived(it.time_ns + (it.duration_ns if isinstance(it, SpanLine) else 0), it) for it in records]
    return sorted(found, key=lambda it: it.arrived_ns)


def steps(arrived: Sequence[Arrived]) -> Iterator[tuple[int, list[Record]]]:
    """The records of each `STEP_NS` in which there are any, and its end."""
    held: list[Record] = []
    number = 0
    for arrived_ns, record in arrived:
        if held and arrived_ns // STEP_NS != number:
            yield (number + 1) * STEP_NS, held
            held = []
        number = arrived_ns // STEP_NS
        held.append(record)
    if held:
        yield (number + 1) * STEP_NS, held


def batches(records: Sequence[Record]) -> dict[StreamKey, RecordBatch]:
    """One batch for each stream."""
    found: dict[StreamKey, RecordBatch] = {}
    logs: dict[str, list[LogLine]] = {}
    rows: dict[str, list[Row]] = {}
    for record in records:
        if isinstance(record, LogLine):
            logs.setdefault(record.service, []).append(record)
        elif isinstance(record, Row):
            rows.setdefault(record.service, []).append(record)
    for service, lines in logs.items():
        found[StreamKey(Signal.LOGS, service)] = log_batch(lines)
    for service, some in rows.items():
        found[StreamKey(Signal.METRICS, service)] = metric_batch(some)
    return found | batches_of([record for record in records if isinstance(record, SpanLine)])


def log_batch(lines: Sequence[LogLine]) -> RecordBatch:
    """Lines of one service."""
    instances, index = numbered(line.instance for line in lines)
    return RecordBatch(
        text=b"".join(line.text for line in lines),
        lengths=array("I", (len(line.text) for line in lines)),
        times_ns=array("Q", (line.time_ns for line in lines)),
        instances=instances,
        instance_index=index,
        trace_ids=b"".join(line.trace.rjust(TRACE_ID_BYTES, b"\0") for line in lines),
        span_ids=b"".join(line.span.rjust(SPAN_ID_BYTES, b"\0") for line in lines),
    )


def metric_batch(rows: Sequence[Row]) -> RecordBatch:
    """Metrics of one service, every one a gauge."""
    points = [(row, name, row.values[name]) for row in rows for name in sorted(row.values)]
    instances, instance_index = numbered(row.instance for row, _, _ in points)
    series, series_index = numbered(name for _, name, _ in points)
    return RecordBatch(
        lengths=array("I", bytes(4 * len(points))),
        times_ns=array("Q", (row.time_ns for row, _, _ in points)),
        instances=instances,
        instance_index=instance_index,
        series=series,
        series_index=series_index,
        values=array("d", (value for _, _, value in points)),
    )


class Incidents:
    """What a tenant told of incidents, in the order in which they began: of all, and of those that its budget let alert.

    Of an alert `alarmed_ns` is the end of the findings with which it alerted.
    """

    def __init__(self, tenant: OfflineTenant) -> None:
        self._tenant = tenant
        self._opened: dict[UUID, Opened] = {}
        self._alerts: dict[UUID, Opened] = {}

    def take(self, told: Iterable[Told]) -> None:
        """Take note of what was told."""
        for each in told:
            for row in each.incidents:
                self._take(row, each.time_ns)

    def _take(self, row: IncidentRow, time_ns: int) -> None:
        incident, number = row.incident, row.incident.incident_id
        streams = {it.stream_id: it.fold.key.text.partition(":")[2] for it in self._tenant.residents}
        own = {streams[stream_id] for stream_id in incident.stream_ids}
        named = frozenset({it.service for it in incident.suspects} | {it for it in own if not it.startswith("_")})
        told = Naming(time_ns, incident.end_ns, incident.suspects[0].service if incident.suspects else "", named)
        self._opened.setdefault(number, Opened(incident.end_ns, time_ns, [])).named.append(told)
        if row.alerted_ns is not None:
            self._alerts.setdefault(number, Opened(row.alerted_ns, time_ns, [])).named.append(told)

    @property
    def opened(self) -> list[Opened]:
        """All of them."""
        return list(self._opened.values())

    @property
    def alerts(self) -> list[Opened]:
        """Those that alerted, from then on."""
        return list(self._alerts.values())


def judged(tenant: OfflineTenant, arrived: Sequence[Arrived]) -> Incidents:
    """The incidents of all records."""
    incidents = Incidents(tenant)
    for now_ns, records in steps(arrived):
        incidents.take(tenant.pass_time(now_ns))
        for key, batch in batches(records).items():
            incidents.take(tenant.take(key, batch, now_ns))
    incidents.take(tenant.finish())
    return incidents
