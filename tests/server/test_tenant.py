"""Files make of the same records what a server makes of them: the same findings, and the same incidents over services."""

from array import array
from collections.abc import Iterator

import pytest

from driftlock.engine.canonical import CanonicalLimits
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.limits import MINUTE_NS, SECOND_NS, DispatchLimits, Limits
from driftlock.engine.ports import IncidentRow, StreamBatch, Submission
from driftlock.engine.profile import DEFAULT_PROFILE, PROFILES
from driftlock.engine.testing import MemoryJournal, memory_stream_id
from driftlock.engine.verdict import IncidentState
from server.offline.span_batches import TRACES, batches_of
from server.offline.spans import SpanReader
from server.offline.tenant import OfflineTenant, Told
from tests.engine.dispatching import TENANT, applier
from tests.server.span_lines import lines, spans

SEED = 7  # of `applier`
STEP_NS = 5 * SECOND_NS
COUNT, ODD_FROM = 1500, 1350
LOGS = StreamKey(Signal.LOGS, "payment")
Step = tuple[int, dict[StreamKey, RecordBatch]]


def steps() -> list[Step]:
    """Spans of the shop with the logs of its payment, every five seconds."""
    reader, held = SpanReader(CanonicalLimits()), dict[int, list[bytes]]()
    for line in lines(spans(COUNT, odd_from=ODD_FROM)):
        span = reader.span(line)
        held.setdefault((span.time_ns + span.duration_ns) // STEP_NS, []).append(line)
    found = []
    for number, some in held.items():
        read = [reader.span(line) for line in some]
        batches = batches_of(read)
        paid = [span for span in read if span.service == "payment"]
        texts = [b"retry of card network\n" if b"ERROR" in span.text else b"paid" for span in paid for _ in range(3)]
        batches[LOGS] = RecordBatch(
            text=b"".join(texts),
            lengths=array("I", map(len, texts)),
            times_ns=array("Q", (span.time_ns + span.duration_ns for span in paid for _ in range(3))),
            trace_ids=b"".join(3 * span.trace for span in paid),
        )
        found.append(((number + 1) * STEP_NS, {key: batch for key, batch in batches.items() if len(batch)}))
    return found


STEPS = steps()


def run(some: list[Step], limits: Limits | None = None) -> tuple[OfflineTenant, list[Told]]:
    tenant = OfflineTenant(PROFILES[DEFAULT_PROFILE], seed=SEED, limits=limits or Limits())
    told = [each for now_ns, batches in some for key, batch in batches.items() for each in tenant.take(key, batch, now_ns)]
    return tenant, told


def latest(told: list[Told]) -> list[IncidentRow]:
    return list({row.incident.incident_id: row for each in told for row in each.incidents}.values())


def shown(rows: Iterator[IncidentRow]) -> list[tuple[object, ...]]:
    """Incidents without their ids, which come from the ids of streams."""
    found = [row.incident for row in rows]
    return sorted(
        (it.start_ns, it.end_ns, it.state, it.findings, it.ncd_max, it.p_value_min, it.title, it.suspects, it.trace_ids)
        for it in found
    )


async def test_findings_and_incidents_are_those_of_a_server() -> None:
    _, told = run(STEPS)
    journal = MemoryJournal()
    traces_id = memory_stream_id(TENANT, TRACES)
    before_ns = STEPS[0][0]
    for now_ns, batches in STEPS:
        for clock_ns in range(before_ns + STEP_NS, now_ns + 1, STEP_NS):
            await journal.append_time(TENANT, traces_id, clock_ns)
            await journal.append_clock(clock_ns)
        for key, batch in batches.items():
            await journal.submit(Submission(TENANT, key.signal, now_ns, (StreamBatch(key, batch),)))
        before_ns = now_ns
    async with applier(journal, DispatchLimits(), now_ns=before_ns) as running:
        await running.scored(len(journal.rows))
    offline = sorted(row.finding.canonical() for each in told for row in each.findings)
    assert offline == sorted(row.finding.canonical() for row in journal.findings.values())
    assert {row.finding.stream for each in told for row in each.findings} >= {"traces:_traces", "logs:payment"}
    assert shown(iter(latest(told))) == shown(iter(journal.incidents.values()))


def test_an_incident_crosses_services_and_names_the_culprit() -> None:
    tenant, told = run(STEPS)
    rows = latest([*told, *tenant.finish()])
    keys = {it.stream_id: it.fold.key.text for it in tenant.residents}
    [main] = [row.incident for row in rows if len(row.incident.stream_ids) > 1]
    assert {keys[stream_id] for stream_id in main.stream_ids} >= {"traces:_traces", "logs:payment"}
    assert main.suspects[0].service == "payment"


def test_the_end_closes_traces_and_leaves_no_finding_without_an_incident() -> None:
    tenant, told = run(STEPS)
    told += tenant.finish()
    findings = {row.finding_id for each in told for row in each.findings}
    joined = [it for each in told for row in each.incidents for it in row.joined]
    assert sorted(joined) == sorted(findings)
    assert len(tenant.resident(TRACES).fold.traces) == 0


def test_incidents_end_when_event_time_goes_on() -> None:
    tenant, told = run(STEPS)
    later = tenant.pass_time(tenant.now_ns + 60 * MINUTE_NS)
    assert {row.incident.state for row in latest([*told, *later])} == {IncidentState.CLOSED}
    assert all(first.time_ns <= then.time_ns for first, then in zip([*told, *later], later, strict=False))
    assert tenant.pass_time(0) == []
    assert tenant.now_ns == STEPS[-1][0] + 60 * MINUTE_NS


def test_batches_without_records_are_nothing() -> None:
    tenant, _ = run([])
    assert tenant.take(LOGS, RecordBatch(), 1) == []
    assert tenant.residents == ()


@pytest.mark.parametrize("pause_ns", [0, 1, 400 * 24 * 60 * MINUTE_NS])
def test_a_pause_is_passed_in_no_time(pause_ns: int) -> None:
    tenant, _ = run(STEPS[:5])
    told = tenant.pass_time(tenant.now_ns + pause_ns)
    assert len(told) < 100


def test_findings_that_do_not_count_make_no_incident_and_a_budget_of_none_alerts_nobody() -> None:
    tenant = OfflineTenant(PROFILES[DEFAULT_PROFILE], seed=SEED, limits=Limits(), counts=lambda flag: flag.stream == LOGS.text)
    tenant.set_budget(0)
    told = [each for now_ns, batches in STEPS for key, batch in batches.items() for each in tenant.take(key, batch, now_ns)]
    rows = latest([*told, *tenant.finish()])
    keys = {it.stream_id: it.fold.key for it in tenant.residents}
    assert {keys[stream_id] for row in rows for stream_id in row.incident.stream_ids} == {LOGS}
    assert len({row.finding.stream for each in told for row in each.findings}) > 1
    assert not any(row.incident.alerted for row in rows)
    assert any(row.incident.alerted for row in latest(run(STEPS)[1]))
