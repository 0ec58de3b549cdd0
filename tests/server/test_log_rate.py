"""A message is said once in a while, however often it is caused."""

import logging

from server.log_rate import OncePerPeriod


def record(text: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, text, arguments, None)


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
    once = OncePerPeriod(lambda: 0.0, messages_max=3)
    assert [once.filter(record(f"made up {number}")) for number in range(5)] == [True, True, True, False, False]
