from uuid import UUID

import pytest

from driftlock.engine.event import Signal
from driftlock.engine.ports import FindingRow, IncidentRow, Receipt, Step, StreamEventRow, Submission
from driftlock.engine.verdict import Incident, IncidentState, Question, StreamEvent, StreamEventKind
from driftlock.errors import DriftlockError, Unavailable
from server.ingest_metrics import IngestCounters
from server.telemetry import Telemetry, TimedIntake
from tests.storage.helpers import finding


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry(version="1.2.3", codec="zstd", codec_version="1.5.4")


def samples(telemetry: Telemetry) -> dict[str, float]:
    lines = [line for line in telemetry.render().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_every_outcome_is_counted_once(telemetry: Telemetry) -> None:
    counters = IngestCounters(telemetry.registry)
    counters.accepted(Signal.LOGS, 90, 1000)
    counters.rejected(UUID(int=1), Signal.LOGS, "depth", 7)
    counters.duplicate(Signal.LOGS, 3)
    counters.refused(UUID(int=1), Signal.TRACES, "unavailable", 5)
    counters.refused(None, Signal.TRACES, "unavailable")
    counters.refused(None, None, "unknown_path")
    counters.received(UUID(int=1), Signal.LOGS, 100)
    counters.altered(Signal.LOGS, "truncated", 2)
    found = samples(telemetry)
    assert found['driftlock_accepted_records_total{signal="logs"}'] == 90
    assert found['driftlock_accepted_bytes_total{signal="logs"}'] == 1000
    assert found['driftlock_rejected_records_total{reason="depth",signal="logs"}'] == 7
    assert found['driftlock_duplicate_records_total{signal="logs"}'] == 3
    assert found['driftlock_received_records_total{signal="logs"}'] == 100
    assert found['driftlock_refused_requests_total{reason="unavailable",signal="traces"}'] == 2
    assert found['driftlock_refused_records_total{reason="unavailable",signal="traces"}'] == 5
    assert found['driftlock_refused_requests_total{reason="unknown_path",signal="unknown"}'] == 1
    assert not any("00000000" in name for name in found)  # no tenant in any label
    assert found['driftlock_altered_total{signal="logs",what="truncated"}'] == 2


def test_everything_of_ours_has_one_prefix_and_zeroes_exist_from_the_start(telemetry: Telemetry) -> None:
    IngestCounters(telemetry.registry)
    found = samples(telemetry)
    assert all(name.startswith(("driftlock_", "process_")) for name in found)
    assert {found[f'driftlock_accepted_records_total{{signal="{signal}"}}'] for signal in Signal} == {0}
    assert any(name.startswith("driftlock_build_info{") and 'version="1.2.3"' in name for name in found)


def test_gauges_are_read_when_collected(telemetry: Telemetry) -> None:
    depth = [3.0]
    telemetry.gauge("queued_requests", "Waiting.", lambda: depth[0])
    assert samples(telemetry)["driftlock_queued_requests"] == 3
    depth[0] = 5
    assert samples(telemetry)["driftlock_queued_requests"] == 5


def test_steps_move_the_position(telemetry: Telemetry) -> None:
    telemetry.committed(Step(0, 42))
    assert samples(telemetry)["driftlock_applied_position"] == 42


def incident(number: int, state: IncidentState, *, alerted: bool, told: bool = False) -> IncidentRow:
    made = Incident(UUID(int=number), (UUID(int=1),), state, 1, 2, 1, 0.5, 0.01, "x", 0.0, alerted)
    return IncidentRow(UUID(int=9), made, (), 2 if alerted else None, told)


def test_alerts_and_muted_incidents_are_counted_once(telemetry: Telemetry) -> None:
    assert samples(telemetry)["driftlock_alerts_total"] == samples(telemetry)["driftlock_muted_incidents_total"] == 0
    opened, closed = IncidentState.OPEN, IncidentState.CLOSED
    quiet = incident(2, opened, alerted=False)
    telemetry.committed(Step(0, 1, incidents=(incident(1, opened, alerted=True, told=True), quiet)))
    telemetry.committed(Step(1, 2, incidents=(incident(1, opened, alerted=True), quiet)))
    telemetry.committed(Step(2, 3, incidents=(incident(1, closed, alerted=True), incident(2, closed, alerted=False))))
    found = samples(telemetry)
    assert (found["driftlock_alerts_total"], found["driftlock_muted_incidents_total"]) == (1, 1)


def test_findings_are_counted_by_question_and_stream_events_by_kind(telemetry: Telemetry) -> None:
    found = samples(telemetry)
    assert {found[f'driftlock_findings_total{{question="{question}"}}'] for question in Question} == {0}
    assert {found[f'driftlock_stream_events_total{{kind="{kind}"}}'] for kind in StreamEventKind} == {0}
    rows = tuple(FindingRow(UUID(int=9), UUID(int=1), UUID(int=n), finding(n, question=Question.LESS)) for n in range(3))
    event = StreamEvent(StreamEventKind.DEGRADED, 1, 1, 1, "x")
    telemetry.committed(Step(0, 1, findings=rows, events=(StreamEventRow(UUID(int=9), UUID(int=1), event),)))
    found = samples(telemetry)
    assert found['driftlock_findings_total{question="less"}'] == 3
    assert found['driftlock_findings_total{question="novelty"}'] == 0
    assert found['driftlock_stream_events_total{kind="degraded"}'] == 1


class FakeIntake:
    def __init__(self, outcome: Receipt | DriftlockError) -> None:
        self.outcome = outcome

    async def submit(self, submission: Submission) -> Receipt:
        assert submission is SUBMISSION
        if isinstance(self.outcome, DriftlockError):
            raise self.outcome
        return self.outcome


SUBMISSION = Submission(UUID(int=1), Signal.LOGS, 1, ())


async def test_commits_are_timed(telemetry: Telemetry) -> None:
    clock = iter([10.0, 10.3])
    receipt = Receipt(seq=9, records=1)
    assert await TimedIntake(FakeIntake(receipt), telemetry, lambda: next(clock)).submit(SUBMISSION) is receipt
    found = samples(telemetry)
    assert found['driftlock_commit_seconds_sum{outcome="durable"}'] == pytest.approx(0.3)
    assert found['driftlock_commit_seconds_bucket{le="0.25",outcome="durable"}'] == 0
    assert found['driftlock_commit_seconds_bucket{le="0.5",outcome="durable"}'] == 1


async def test_a_refused_commit_is_timed_under_its_code(telemetry: Telemetry) -> None:
    clock = iter([0.0, 1.0])
    with pytest.raises(Unavailable):
        await TimedIntake(FakeIntake(Unavailable("full")), telemetry, lambda: next(clock)).submit(SUBMISSION)
    assert samples(telemetry)['driftlock_commit_seconds_count{outcome="unavailable"}'] == 1
