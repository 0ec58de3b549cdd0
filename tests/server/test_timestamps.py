from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.logfile.timestamps import MISSES_MAX, Stamper, parse_iso, parse_number, to_ns

BASE = to_ns(datetime(2024, 7, 1, 12, tzinfo=UTC))


def ns(*parts: int, fraction: int = 0, zone: timezone = UTC) -> int:
    return to_ns(datetime(*parts, tzinfo=zone)) + fraction  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("2015-10-18 18:01:47,978 INFO [main] starting", ns(2015, 10, 18, 18, 1, 47, fraction=978_000_000)),
        ("2024-05-01T10:00:00.123456789Z ready", ns(2024, 5, 1, 10, fraction=123_456_789)),
        ("[2024-05-01T10:00:00+02:00] ready", ns(2024, 5, 1, 8)),
        ("2024-05-01 10:00:00 -0730 ready", ns(2024, 5, 1, 17, 30)),
        ("2024-05-01 10:00:00 -5 items", ns(2024, 5, 1, 10)),
        ("2024/05/01 10:00:00 [error] 7#7: upstream timed out", ns(2024, 5, 1, 10)),
        ("17/06/09 20:10:40 INFO executor: registered", ns(2017, 6, 9, 20, 10, 40)),
        ("081109 203615 148 INFO receiving block", ns(2008, 11, 9, 20, 36, 15)),
        ("Jun 14 15:16:01 host sshd[7]: session opened", ns(2024, 6, 14, 15, 16, 1)),
        ("<34>Jun  4 05:06:07 host su: failed", ns(2024, 6, 4, 5, 6, 7)),
        ("Dec 31 23:59:59 host cron[1]: tick", ns(2023, 12, 31, 23, 59, 59)),
        ("[Sun Dec 04 04:47:44 2005] [notice] ready", ns(2005, 12, 4, 4, 47, 44)),
        ("[Sun Dec 04 04:47:44.125 2005] [notice] ready", ns(2005, 12, 4, 4, 47, 44, fraction=125_000_000)),
        ('10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 1', ns(2000, 10, 10, 20, 55, 36)),
        ("1117838570 node started", 1_117_838_570 * 10**9),
        ("1117838570.25 node started", 1_117_838_570_250_000_000),
        ("1117838570250 node started", 1_117_838_570_250_000_000),
        ("- 1117838570 2005.06.03 node kernel", 1_117_838_570 * 10**9),
        ("level=info ts=2024-05-01T10:00:00Z msg=ready", ns(2024, 5, 1, 10)),
        ("2016-12-31T23:59:60Z leap", ns(2017, 1, 1)),
    ],
)
def test_usual_leading_timestamps(line: str, expected: int) -> None:
    stamper = Stamper(BASE)
    assert stamper.stamp(line, 0) == expected
    assert stamper.stamped == 1


@pytest.mark.parametrize(
    "line",
    [
        "no time at all",
        "2024-13-01 10:00:00 no such month",
        "2023-02-29 10:00:00 no such day",
        "9999-12-31 23:59:59 beyond 64 bits of nanoseconds",
        "2554-07-21 23:34:33.9 just beyond 64 bits of nanoseconds",
        "1969-12-31 23:59:59 before 1970",
        "0123456789 an identifier",
        "9999999999 an identifier",
        "1117838570-7 an identifier",
        "11178385701 an identifier",
        "Jun 31 10:00:00 no such day",
        "٢٠٢٤-05-01 10:00:00 not ASCII digits",
        "x" * 250 + " 2024-05-01 10:00:00 too late in the line",
        "",
    ],
)
def test_what_is_not_a_time_falls_back_to_base_plus_index(line: str) -> None:
    stamper = Stamper(BASE)
    assert stamper.stamp(line, 7) == BASE + 7_000_000
    assert stamper.stamped == 0


def test_a_line_without_a_time_takes_that_of_the_line_before() -> None:
    stamper = Stamper(BASE)
    first = stamper.stamp("2024-05-01 10:00:00 failed", 0)
    assert stamper.stamp("  at com.example.Main(Main.java:7)", 1) == first
    assert stamper.stamp("1117838570 is not a time in this file", 2) == first


def test_another_format_is_found_after_many_misses() -> None:
    stamper = Stamper(BASE)
    stamper.stamp("2024-05-01 10:00:00 header", 0)
    line = "1117838570 node started"
    for index in range(MISSES_MAX):
        assert stamper.stamp(line, index + 1) == ns(2024, 5, 1, 10)
    assert stamper.stamp(line, MISSES_MAX + 1) == 1_117_838_570 * 10**9


def test_syslog_years_follow_the_file_over_new_year_in_both_directions() -> None:
    stamper = Stamper(ns(2020, 3, 1))
    texts = ["Nov  1 00:00:00", "Dec 31 23:59:59", "Jan  1 00:00:01", "Dec 31 23:59:58", "Jan  2 00:00:00"]
    years = [datetime.fromtimestamp(stamper.stamp(f"{text} h p: m", 0) / 1e9, UTC).year for text in texts]
    assert years == [2019, 2019, 2020, 2019, 2020]


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["", ".5", ",123456", "Z", ".25+02:00"])), max_size=20))
def test_lines_of_one_second_are_told_apart(moments: list[tuple[int, str]]) -> None:
    stamper = Stamper(BASE)
    for index, (second, rest) in enumerate(moments):
        text = f"2024-05-01T10:00:0{second}{rest}"
        assert stamper.stamp(f"{text} message", index) == parse_iso(text)


def test_a_time_known_by_the_caller_wins() -> None:
    assert Stamper(BASE).stamp("2024-05-01 10:00:00 text", 0, own_ns=5) == 5


@given(
    st.datetimes(datetime(1990, 1, 2), datetime(2099, 12, 30)),
    st.integers(0, 999_999_999),
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from("T _"),
    st.sampled_from(".,"),
)
def test_iso_with_any_fraction_and_zone(moment: datetime, fraction: int, offset: int, between: str, point: str) -> None:
    moment = moment.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=offset)))
    sign, minutes = ("-", -offset) if offset < 0 else ("+", offset)
    text = f"{moment:%Y-%m-%d}{between}{moment:%H:%M:%S}{point}{fraction:09d}{sign}{minutes // 60:02d}:{minutes % 60:02d}"
    assert parse_iso(text) == to_ns(moment) + fraction
    assert Stamper(BASE).stamp(f"{text} message", 0) == to_ns(moment) + fraction


@given(st.integers(631_152_000 * 10**9, 4_102_444_800 * 10**9 - 1))
def test_whole_numbers_are_exact_in_every_unit(time_ns: int) -> None:
    assert parse_number(time_ns) == time_ns
    assert parse_number(time_ns // 1000) == time_ns // 1000 * 1000
    assert parse_number(time_ns // 10**6) == time_ns // 10**6 * 10**6
    assert parse_number(time_ns // 10**9) == time_ns // 10**9 * 10**9


@pytest.mark.parametrize("value", [0, -1, 1e30, float("nan"), float("inf"), 631_151_999])
def test_numbers_that_are_no_times(value: float) -> None:
    assert parse_number(value) is None


@given(st.lists(st.text(max_size=60), max_size=30))
def test_any_text_gets_a_positive_time(lines: list[str]) -> None:
    stamper = Stamper(BASE)
    assert all(0 < stamper.stamp(line, index) < 2**64 for index, line in enumerate(lines))
