from uuid import UUID

import pytest
from structlog.testing import CapturingLogger

from driftlock.accounts.metering import Refusal
from server.refusals import RefusalLog

ONE, TWO = UUID(int=1), UUID(int=2)


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log() -> CapturingLogger:
    return CapturingLogger()


def told(log: CapturingLogger) -> list[tuple[str, str, int, int]]:
    """What was said since the last time: what, why, requests, records."""
    lines = [(call.args[0], call.kwargs["reason"], call.kwargs["requests"], call.kwargs["records"]) for call in log.calls]
    log.calls.clear()
    return lines


def test_the_first_of_a_kind_is_told_at_once_and_the_rest_together(log: CapturingLogger, clock: Clock) -> None:
    refusals = RefusalLog(log, clock)
    refusals.refused(ONE, "logs", Refusal.UNAVAILABLE, 5)
    assert log.calls[0].method_name == "warning"
    assert log.calls[0].kwargs["tenant"] == str(ONE)
    assert told(log) == [("requests refused", "unavailable", 1, 5)]
    for _ in range(1000):
        refusals.refused(ONE, "logs", Refusal.UNAVAILABLE, 5)
        refusals.tick()
    assert told(log) == []
    clock.now_s += 59.9
    refusals.tick()
    assert told(log) == []
    clock.now_s += 0.1
    refusals.tick()
    assert told(log) == [("requests refused", "unavailable", 1000, 5000)]
    refusals.refused(ONE, "logs", Refusal.UNAVAILABLE)
    assert told(log) == []


def test_kinds_are_told_apart(log: CapturingLogger, clock: Clock) -> None:
    refusals = RefusalLog(log, clock)
    refusals.refused(ONE, "logs", Refusal.UNAVAILABLE)
    refusals.refused(TWO, "logs", Refusal.UNAVAILABLE)
    refusals.refused(ONE, "traces", Refusal.UNAVAILABLE)
    refusals.refused(ONE, "logs", Refusal.BOMB)
    refusals.refused(None, None, Refusal.UNKNOWN_PATH)
    refusals.rejected(ONE, "logs", "too_deep", 3)
    assert len(told(log)) == 6


def test_a_minute_without_ticks_is_told_with_the_next(log: CapturingLogger, clock: Clock) -> None:
    refusals = RefusalLog(log, clock)
    for _ in range(3):
        refusals.rejected(ONE, "logs", "too_deep", 2)
    clock.now_s += 60
    refusals.rejected(ONE, "logs", "too_deep", 2)
    assert told(log) == [("records rejected", "too_deep", 1, 2), ("records rejected", "too_deep", 3, 6)]


def test_kinds_that_do_not_come_again_are_forgotten(log: CapturingLogger, clock: Clock) -> None:
    refusals = RefusalLog(log, clock)
    refusals.refused(ONE, "logs", Refusal.BOMB)
    clock.now_s += 60
    refusals.tick()
    assert refusals.entries == 0
    assert len(told(log)) == 1


def test_entries_max(log: CapturingLogger, clock: Clock) -> None:
    refusals = RefusalLog(log, clock, entries_max=10)
    for number in range(500):
        refusals.refused(UUID(int=number), "logs", Refusal.UNAVAILABLE, 1)
    assert refusals.entries == 11
    assert {call.kwargs["tenant"] for call in log.calls} == {*(str(UUID(int=number)) for number in range(10)), "_other"}
    told(log)
    refusals.close()
    assert told(log) == [("requests refused", "unavailable", 489, 489)]
