"""Senders without `service.name` are told so, once an hour."""

import logging
from uuid import UUID

import pytest

from collector.routing.nameless import HOUR_NS, NamelessNotices
from driftlock.engine.event import Signal

A, B = UUID(int=1), UUID(int=2)


def test_a_tenant_is_told_once_an_hour_and_logged_as_often(caplog: pytest.LogCaptureFixture) -> None:
    notices = NamelessNotices()
    with caplog.at_level(logging.WARNING):
        assert "3 log records were accepted without service.name" in notices.message(A, Signal.LOGS, 3, 10)
        assert notices.message(A, Signal.LOGS, 3, 10 + HOUR_NS - 1) == ""
        assert notices.message(A, Signal.TRACES, 3, 10 + HOUR_NS - 1) == ""
        assert notices.message(B, Signal.METRICS, 1, 11).startswith("1 data points")
        assert notices.message(A, Signal.TRACES, 1, 10 + HOUR_NS).startswith("1 spans")
    assert len(caplog.records) == 3
    assert str(A) in caplog.text


def test_nothing_is_said_of_nothing() -> None:
    notices = NamelessNotices()
    assert notices.message(A, Signal.LOGS, 0, 10) == ""
    assert notices.message(A, Signal.LOGS, 1, 10)


def test_a_clock_that_is_set_back_does_not_silence_for_ever() -> None:
    notices = NamelessNotices()
    assert notices.message(A, Signal.LOGS, 1, 10 * HOUR_NS)
    assert notices.message(A, Signal.LOGS, 1, 9 * HOUR_NS + 1) == ""
    assert notices.message(A, Signal.LOGS, 1, 2 * HOUR_NS)


def test_tenants_max() -> None:
    notices = NamelessNotices(tenants_max=2)
    for number in range(10):
        assert notices.message(UUID(int=number), Signal.LOGS, 1, number)
    assert len(notices) == 2
    assert notices.message(UUID(int=9), Signal.LOGS, 1, 10) == ""


@pytest.mark.parametrize("limits", [{"tenants_max": 0}, {"period_ns": 0}])
def test_limits_are_checked(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        NamelessNotices(**limits)
