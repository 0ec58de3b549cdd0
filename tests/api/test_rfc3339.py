from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.rfc3339 import datetime_of_ns, event_time, ns_of_datetime, parse_rfc3339, parse_unix_seconds, rfc3339

SECOND = 1_000_000_000


@given(st.integers(0, 2**64 - 1))
def test_a_written_time_reads_as_itself(ns: int) -> None:
    assert parse_rfc3339(rfc3339(ns)) == ns


@given(st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31), timezones=st.just(UTC)))
def test_a_datetime_survives_the_way_through_nanoseconds(moment: datetime) -> None:
    assert datetime_of_ns(ns_of_datetime(moment)) == moment


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (1_500_000_000, "1970-01-01T00:00:01.500Z"),
        (1_000_001_000, "1970-01-01T00:00:01.000001Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (2**64 - 1, "2554-07-21T23:34:33.709551615Z"),
        (10**30, "9999-12-31T23:59:59.999999999Z"),
        (-(10**30), "0001-01-01T00:00:00Z"),
    ],
)
def test_writing(ns: int, text: str) -> None:
    assert rfc3339(ns) == text


def test_an_event_without_a_time_has_none() -> None:
    assert event_time(0) is None
    assert event_time(SECOND) == "1970-01-01T00:00:01Z"


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:01Z", SECOND),
        ("1970-01-01t00:00:01z", SECOND),
        ("1970-01-01 01:00:01+01:00", SECOND),
        ("1969-12-31T23:30:01-00:30", SECOND),
        ("1970-01-01T00:00:01.25Z", 1_250_000_000),
        ("1970-01-01T00:00:00.123456789Z", 123_456_789),
        ("1972-06-30T23:59:60Z", 78_796_799 * SECOND),
    ],
)
def test_reading(text: str, ns: int) -> None:
    assert parse_rfc3339(text) == ns


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-31",
        "2026-01-31T10:00:00",
        "2026-02-30T10:00:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T10:60:00Z",
        "2026-01-31T10:00:61Z",
        "2026-01-31T10:00:00.1234567890Z",
        "2026-01-31T10:00:00+24:00",
        "2026-01-31T10:00:00+00:60",
        "0000-01-01T00:00:00Z",
        "٢٠٢٦-01-31T10:00:00Z",
        "2026-01-31T10:00:00Z\n",
        "1800000000",
    ],
)
def test_what_is_no_rfc3339_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_rfc3339(text)


@pytest.mark.parametrize(
    ("value", "ns"),
    [(0, 0), (1, SECOND), (1.5, 1_500_000_000), (1_800_000_000.123457, 1_800_000_000_123_457_000), (1e-9, 1), (-0.0, 0)],
)
def test_unix_seconds(value: float, ns: int) -> None:
    assert parse_unix_seconds(value) == ns
