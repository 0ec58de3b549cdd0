"""A message is said a few times at once and then once in a while, however often it is caused."""

import io
import logging

import pytest

from server.log_rate import OncePerPeriod
from server.logs import LINES_BURST, configure_logs


def record(text: object, *arguments: object, level: int = logging.WARNING) -> logging.LogRecord:
    return logging.LogRecord("uvicorn.error", level, "", 0, text, arguments, None)


def test_equal_messages_are_said_once_in_a_period_and_counted() -> None:
    now_s = 100.0
    once = OncePerPeriod(lambda: now_s, period_s=60)
    said = [once.filter(record("Invalid %s", number)) for number in range(500)]
    assert (said[0], any(said[1:])) == (True, False)
    assert once.filter(record("other"))
    now_s = 160.0
    again = record("Invalid %s", 7)
    assert once.filter(again)
    assert again.getMessage() == "Invalid 7 (499 more of these in the meantime)"
    now_s = 161.0
    assert not once.filter(record("Invalid %s", 8))


def test_messages_max() -> None:
    now_s = 0.0
    once = OncePerPeriod(lambda: now_s, messages_max=3)
    # What is beyond counts as one message.
    assert [once.filter(record(f"made up {number}")) for number in range(6)] == [True, True, True, True, False, False]
    now_s = 60.0
    assert once.filter(record("made up 7"))  # those of a period ago are forgotten


def test_a_burst_comes_through_and_returns_one_by_one() -> None:
    now_s = 0.0
    once = OncePerPeriod(lambda: now_s, period_s=60, burst=5)
    assert sum(once.filter(record("x")) for _ in range(100)) == 5
    now_s = 120.0
    assert sum(once.filter(record("x")) for _ in range(100)) == 2


def test_lines_of_little_weight_pass() -> None:
    once = OncePerPeriod(lambda: 0.0, level=logging.WARNING)
    assert all(once.filter(record("x", level=logging.INFO)) for _ in range(10))


def test_structured_lines_are_told_apart_by_their_event() -> None:
    now_s = 0.0
    once = OncePerPeriod(lambda: now_s)
    assert [once.filter(record({"event": "away", "at": number})) for number in range(3)] == [True, False, False]
    assert once.filter(record({"event": "other"}))
    now_s = 60.0
    again = record({"event": "away", "at": 4})
    assert once.filter(again)
    assert again.msg == {"event": "away (2 more of these in the meantime)", "at": 4}


def test_messages_that_are_paced_elsewhere_have_more_room() -> None:
    now_s = 0.0
    once = OncePerPeriod(lambda: now_s, paced=frozenset({"requests refused"}), paced_burst=50)
    assert sum(once.filter(record({"event": "requests refused", "tenant": number})) for number in range(1000)) == 50
    now_s = 10.0
    assert sum(once.filter(record({"event": "requests refused", "tenant": number})) for number in range(1000)) == 10
    assert not any([once.filter(record("x")), once.filter(record("x"))][1:])


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_process_does_not_repeat_itself(log_format: str) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        stream = io.StringIO()
        log = configure_logs(log_format, "info", stream)
        for number in range(50):
            log.warning("the journal is not being truncated", why=f"reason {number}")
            logging.getLogger("driftlock.storage.journal").error("group %d failed", number)
            log.info("fine", number=number)
        lines = stream.getvalue().splitlines()
        assert sum("truncated" in line for line in lines) == LINES_BURST
        assert sum("failed" in line for line in lines) == LINES_BURST
        assert sum("fine" in line for line in lines) == 50
    finally:
        root.handlers[:], _ = before
        root.setLevel(before[1])
