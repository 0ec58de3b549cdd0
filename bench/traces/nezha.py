"""Faults injected into pods of TrainTicket (Nezha, 2023-01-30), found in its spans, logs and metrics as the product runs them.

Spans and logs are there only for some four minutes around each fault; what lies before its injection is their time without a
fault, about a minute and a half each. Metrics cover twelve hours. Pasts are empty when the day begins: the first fault has two
minutes of past.

A fault is found when an incident alarms after its injection and is told at most three minutes after it, naming the service of
the pod (a stream of it, or a suspect). An incident that alarms outside of all faults, from injection to five minutes after it,
is false. "Or an open one grew" counts also incidents that were open at the injection and that were told again in time, with
something found after the injection and naming the service. Told means: by the clock of a server that runs all the while, with
its wait for the end of the minute.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import ModuleType
from typing import NamedTuple

import numpy as np

from bench.quality.figures import Figure
from bench.traces.records import Arrived, LogLine, Opened, Record, Row, arrivals, judged
from bench.traces.references import Alarms, Calls, NewPaths, latency_z, paths
from driftlock.engine.canonical import CanonicalLimits, Cuts, span_text, utf8
from driftlock.engine.correlation.flag import Flag
from driftlock.engine.event import Signal
from driftlock.engine.limits import MINUTE_NS, SECOND_NS, Limits
from driftlock.engine.profile import DEFAULT_PROFILE, PROFILES
from server.offline.span_members import US_NS
from server.offline.spans import KINDS, SpanLine, operation
from server.offline.tenant import OfflineTenant

DAY, NAME = "2023-01-30", "TrainTicket 2023-01-30"
PROTOCOL = "nezha"
FOUND_S, FAULT_S = 180, 300
PAUSE_S = 60
"""Spans that are farther apart belong to different stretches of the day."""
INTERNAL, SERVER, CLIENT = 1, 2, 3
_CLIENTS = ("HTTP GET", "HTTP POST", "HTTP PUT", "HTTP DELETE")
_IDS = re.compile(r"TraceID: ([0-9a-f]{32}) SpanID: ([0-9a-f]{16})")
EVERYTHING = "spans, logs and metrics"
ALERTS_PER_DAY = 24
"""The budget of alerts in any 24 hours: one an hour."""
CONDITIONS: Mapping[str, tuple[type[tuple[object, ...]], ...]] = {
    "spans": (SpanLine,),
    "logs": (LogLine,),
    "metrics": (Row,),
    "spans and logs": (SpanLine, LogLine),
    EVERYTHING: (SpanLine, LogLine, Row),
}


class Fault(NamedTuple):
    """Something injected into a pod of `service`."""

    time_ns: int
    service: str
    kind: str


@dataclass(frozen=True, slots=True)
class Day:
    """All records of the day, in the order in which they can be sent, and its faults."""

    arrived: Sequence[Arrived]
    faults: Sequence[Fault]

    def of(self, kinds: tuple[type[tuple[object, ...]], ...]) -> list[Arrived]:
        """The records of some signals."""
        return [it for it in self.arrived if isinstance(it.record, kinds)]

    def inside(self, time_ns: int) -> bool:
        """Whether some fault is, or was just, there."""
        return any(0 <= time_ns - fault.time_ns <= FAULT_S * SECOND_NS for fault in self.faults)

    def free_s(self, kinds: tuple[type[tuple[object, ...]], ...]) -> float:
        """Seconds outside of all faults that records of these signals cover: between neighbours at most `PAUSE_S` apart."""
        seconds = sorted({it.record.time_ns // SECOND_NS for it in self.of(kinds)})
        return float(
            sum(
                not self.inside(second * SECOND_NS)
                for first, last in pairwise(seconds)
                if last - first <= PAUSE_S
                for second in range(first, last)
            )
        )


def day(data: ModuleType) -> Day:
    """The day as records."""
    records: list[Record] = [*_spans(data), *_logs(data), *_rows(data)]
    faults = [
        Fault(int(float(str(fault["t"])) * SECOND_NS), service_of(str(fault["pod"])), str(fault["type"]))
        for fault in data.nezha_faults(DAY)
    ]
    return Day(arrivals(records), faults)


def service_of(pod: str) -> str:
    """The service of a pod.

    >>> service_of("ts-food-service-f5756978c-6sb8t")
    'ts-food-service'
    """
    return pod.rsplit("-", 2)[0]


def _spans(data: ModuleType) -> Iterator[SpanLine]:
    """The set knows no kinds: calls are told by their names, and their other ends by being the first of another service."""
    found = list(data.nezha_spans(DAY))
    pods = {span["span"]: span["pod"] for _, span in found}
    limits, cuts = CanonicalLimits(), Cuts()
    for start_s, span in found:
        kind = SERVER if service_of(pods.get(span["parent"], "")) != service_of(span["pod"]) else INTERNAL
        kind = CLIENT if span["op"].startswith(_CLIENTS) else kind
        service = service_of(span["pod"])
        yield SpanLine(
            service=service,
            text=utf8(span_text(KINDS[kind].upper(), span["op"], "", {}, (), limits=limits, cuts=cuts), cuts),
            time_ns=round(start_s * 1e6) * US_NS,
            trace=bytes.fromhex(span["trace"]),
            span=bytes.fromhex(span["span"]),
            parent=b"" if span["parent"] == "root" else bytes.fromhex(span["parent"]),
            duration_ns=span["dur_us"] * US_NS,
            mark=kind,
            operation=operation(service, span["op"], kind),
            instance=span["pod"],
        )


def _logs(data: ModuleType) -> Iterator[LogLine]:
    """Lines name their trace and span in their text. Those of a broken clock, more than a day before, are left out."""
    first_s = min(start_s for start_s, _ in data.nezha_spans(DAY)) - FAULT_S
    for time_s, text, pod in data.nezha_logs(DAY):
        ids = _IDS.search(text)
        trace, span = (bytes.fromhex(ids[1]), bytes.fromhex(ids[2])) if ids else (b"", b"")
        if time_s >= first_s:
            yield LogLine(service_of(pod), pod, round(time_s * 1e6) * US_NS, text.encode(), trace, span)


def _rows(data: ModuleType) -> Iterator[Row]:
    for time_s, values, pod in data.nezha_metrics(DAY):
        yield Row(service_of(pod), pod, time_s * SECOND_NS, values)


def figures(data: ModuleType, *, quick: bool) -> Iterator[Figure]:
    """Every condition; the quick form leaves out metrics, which are judged in `bench.metrics` by themselves."""
    of = day(data)
    yield from reference_figures(of)
    for name, kinds in CONDITIONS.items():
        if not quick or Row not in kinds:
            incidents = judged(_tenant(), of.of(kinds))
            yield from measured(of, incidents.opened, f"driftlock, {name}", kinds)
            yield from measured(of, incidents.alerts, f"driftlock, {name}: alerts", kinds)
    if not quick:
        kinds = CONDITIONS[EVERYTHING]
        incidents = judged(_tenant(sums=True), of.of(kinds))
        yield from measured(of, incidents.opened, f"driftlock, {EVERYTHING} in sums", kinds)
        yield from measured(of, incidents.alerts, f"driftlock, {EVERYTHING} in sums: alerts", kinds)


def _tenant(*, sums: bool = False) -> OfflineTenant:
    """`sums`: what single series of metrics say makes no incident, only what all of a resource say together."""

    def counts(flag: Flag) -> bool:
        return not (sums and flag.stream.startswith(Signal.METRICS))

    tenant = OfflineTenant(PROFILES[DEFAULT_PROFILE], seed=0, limits=Limits(), counts=counts)
    tenant.set_budget(ALERTS_PER_DAY)
    return tenant


def reference_figures(of: Day) -> Iterator[Figure]:
    """Simple rules on the spans, with thresholds that no label was looked at for, minute by minute.

    There is no error rate among them: the set knows no status.
    """
    stretches, services = _stretches(of)
    for rule in (NewPaths(), latency_z()):
        alarms = Alarms(services)
        for calls in stretches:
            alarms.take(calls, rule.values(calls), rule.threshold)
        yield from measured(of, alarms.opened, f"{rule.name}, from {rule.threshold:g}", (SpanLine,))


def _stretches(of: Day) -> tuple[list[Calls], list[str]]:
    """The spans of each minute by their ends, and the names of services by their numbers."""
    spans = [it.record for it in of.arrived if isinstance(it.record, SpanLine)]
    places = {span.span: place for place, span in enumerate(spans)}
    services = sorted({span.service for span in spans})
    operations = {name: number for number, name in enumerate(sorted({span.operation for span in spans}))}
    operation = np.array([operations[span.operation] for span in spans])
    whole = Calls(
        operation=operation,
        service=np.array([services.index(span.service) for span in spans]),
        path=paths(operation, np.array([places.get(span.parent, -1) for span in spans])),
        error=np.zeros(len(spans), bool),
        end_ns=np.array([span.time_ns + span.duration_ns for span in spans]),
        duration_ns=np.array([span.duration_ns for span in spans]),
    )
    parts = np.split(np.arange(len(spans)), np.flatnonzero(np.diff(whole.end_ns // MINUTE_NS)) + 1)
    return [whole.picked(rows) for rows in parts], services


def measured(of: Day, opened: Sequence[Opened], name: str, kinds: tuple[type[tuple[object, ...]], ...]) -> Iterator[Figure]:
    """Faults found with their delays, how many with the right culprit, and false incidents."""
    delays, first, grown = [], 0, 0
    named = []
    for fault in of.faults:
        until_ns = fault.time_ns + FOUND_S * SECOND_NS
        hits = [
            it
            for it in opened
            if fault.time_ns <= it.alarmed_ns and it.told_ns <= until_ns and fault.service in it.named_by(until_ns)
        ]
        grown += any(it.names_between(fault.service, fault.time_ns, until_ns) for it in opened)
        if hits:
            delays.append((min(it.told_ns for it in hits) - fault.time_ns) / SECOND_NS)
            first += any(it.culprit_by(until_ns) == fault.service for it in hits)
            named.append(min(len(it.named_by(until_ns)) for it in hits))
    false = sum(not of.inside(it.alarmed_ns) for it in opened)
    free_s = of.free_s(kinds)
    about = (PROTOCOL, f"{len(of.faults)} faults injected into pods, found within {FOUND_S // 60} minutes", NAME, name)
    yield Figure(*about, "found", float(len(delays)), count=len(of.faults))
    yield Figure(*about, "or an open one grew", float(grown), count=len(of.faults))
    yield Figure(*about, "culprit first", float(first), count=len(delays))
    yield Figure(*about, "services named, median", float(np.median(named)) if named else np.nan, count=len(named))
    yield Figure(*about, "delay, median s", float(np.median(delays)) if delays else np.nan, count=len(delays))
    yield Figure(*about, "incidents", float(len(opened)), count=len(opened))
    yield Figure(*about, "false incidents", float(false), count=len(opened))
    yield Figure(*about, "minutes without a fault", free_s / 60, count=false)
    yield Figure(*about, "false an hour", 3600 * false / free_s, count=false)
