from uuid import UUID

import pytest

from driftlock.engine.event import Signal
from driftlock.engine.ports import Receipt, Step, Submission
from driftlock.errors import DriftlockError, Unavailable
from server.telemetry import Telemetry, TimedIntake


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry(version="1.2.3", codec="zstd", codec_version="1.5.4")


def samples(telemetry: Telemetry) -> dict[str, float]:
    lines = [line for line in telemetry.render().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_every_outcome_is_counted_once(telemetry: Telemetry) -> None:
    telemetry.accepted(Signal.LOGS, 90, 1000)
    telemetry.rejected(Signal.LOGS, "depth", 7)
    telemetry.duplicate(Signal.LOGS, 3)
    telemetry.refused(Signal.TRACES, "unavailable")
    telemetry.altered(Signal.LOGS, "truncated", 2)
    found = samples(telemetry)
    assert found['driftlock_accepted_records_total{signal="logs"}'] == 90
    assert found['driftlock_accepted_bytes_total{signal="logs"}'] == 1000
    assert found['driftlock_rejected_records_total{reason="depth",signal="logs"}'] == 7
    assert found['driftlock_duplicate_records_total{signal="logs"}'] == 3
    assert found['driftlock_refused_requests_total{reason="unavailable",signal="traces"}'] == 1
    assert found['driftlock_altered_total{signal="logs",what="truncated"}'] == 2


def test_everything_of_ours_has_one_prefix_and_zeroes_exist_from_the_start(telemetry: Telemetry) -> None:
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
