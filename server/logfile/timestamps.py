"""When did a line happen: the timestamps that log files usually begin with, and the times of JSON records.

A file is in one format nearly always, so the first format that matches is kept: a line that does not match it (a stack
trace, a wrapped message) takes the time of the line before it, and a number at its start is not mistaken for a time.
Times without a zone are read as UTC.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

SECOND_NS = 1_000_000_000
DAY_NS = 86_400 * SECOND_NS
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# 1990-01-01 and 2100-01-01: a leading number outside is an identifier, not a time.
EPOCH_SECONDS_MIN, EPOCH_SECONDS_MAX = 631_152_000, 4_102_444_800
TIMES_NS = range(2**64)  # what a record can carry: 1970 to 2554
HEAD_CHARS_MAX = 200  # a timestamp that begins later than this is part of the message
MISSES_MAX = 1000  # so many lines in a row without the file's format: look for another one
_UNITS = tuple(
    (unit, EPOCH_SECONDS_MIN * SECOND_NS // unit, EPOCH_SECONDS_MAX * SECOND_NS // unit)
    for unit in (SECOND_NS, 1_000_000, 1_000, 1)
)
MONTHS = {
    name: number
    for number, name in enumerate(["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], 1)
}

_CLOCK = r"(?P<hour>[0-2]\d):(?P<minute>[0-5]\d):(?P<second>[0-6]\d)"
_FRACTION = r"(?:[.,](?P<fraction>\d{1,9})\d*)?"
_ZONE = r"(?: ?(?P<zone>Z|UTC|[+-]\d\d:?\d\d)(?![\w:]))?"
_MONTH = r"(?P<month_name>Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_WEEKDAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write a time: a pattern of named parts, anchored at the start of the line or searched in its head."""

    name: str
    pattern: "re.Pattern[str]"
    anchored: bool = True


def _format(name: str, pattern: str, *, anchored: bool = True) -> Format:
    return Format(name, re.compile(pattern, re.ASCII), anchored)


_DATE = r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)"
FORMATS: tuple[Format, ...] = (
    _format("iso", rf"\[?{_DATE}[T _]{_CLOCK}{_FRACTION}{_ZONE}"),
    _format("slashes", rf"\[?(?P<year>\d{{4}})/(?P<month>\d\d)/(?P<day>\d\d)[ -]{_CLOCK}{_FRACTION}{_ZONE}"),
    _format("short slashes", rf"(?P<year2>\d\d)/(?P<month>\d\d)/(?P<day>\d\d) {_CLOCK}{_FRACTION}"),
    _format(
        "compact",
        r"(?P<year2>\d\d)(?P<month>\d\d)(?P<day>\d\d) (?P<hour>[0-2]\d)(?P<minute>[0-5]\d)(?P<second>[0-6]\d)(?!\d)",
    ),
    _format("asctime", rf"\[?{_WEEKDAY} {_MONTH} {{1,2}}(?P<day>\d\d?) {_CLOCK}{_FRACTION} (?P<year>\d{{4}})"),
    _format("syslog", rf"(?:<\d{{1,3}}>)?{_MONTH} {{1,2}}(?P<day>\d\d?) {_CLOCK}{_FRACTION}(?!\d)"),
    _format("epoch", r"(?:- |\[)?(?P<epoch>\d{10})(?:[.,](?P<fraction>\d{1,9})\d*|(?P<milli>\d{3}))?(?![\w.:-])"),
    _format("common log", rf"\[(?P<day>\d\d)/{_MONTH}/(?P<year>\d{{4}}):{_CLOCK}{_FRACTION}{_ZONE}", anchored=False),
    _format("iso inside", rf"(?<!\d){_DATE}[T ]{_CLOCK}{_FRACTION}{_ZONE}", anchored=False),
)


def to_ns(moment: datetime) -> int:
    """Nanoseconds since 1970 of an aware datetime, exactly."""
    return (moment - EPOCH) // timedelta(microseconds=1) * 1000


def parse_iso(text: str) -> int | None:
    """Nanoseconds since 1970 of an ISO 8601 / RFC 3339 text such as 2024-05-01T10:00:00.123456789Z; None if it is not one."""
    match = FORMATS[0].pattern.fullmatch(text.strip())
    return None if match is None else _moment(match.groupdict(), lambda _month, _day: 0)


def parse_number(value: float) -> int | None:
    """Nanoseconds of a numeric time in s, ms, us or ns since 1970, told apart by magnitude; None outside 1990..2100."""
    for unit, low, high in _UNITS:
        if low <= value < high:
            whole = int(value)
            return whole * unit + round((value - whole) * unit)
    return None


def _moment(part: dict[str, str | Any], year_of: Callable[[int, int], int]) -> int | None:
    """Nanoseconds of a match's parts, None if there is no such time; `year_of(month, day)` is for formats without a year."""
    fraction = _fraction(part.get("fraction") or part.get("milli"))
    if part.get("epoch"):
        seconds = int(part["epoch"])
        return seconds * SECOND_NS + fraction if EPOCH_SECONDS_MIN <= seconds < EPOCH_SECONDS_MAX else None
    month = int(part["month"]) if part.get("month") else MONTHS[part["month_name"]]
    day = int(part["day"])
    if part.get("year"):
        year = int(part["year"])
    elif part.get("year2"):
        short = int(part["year2"])
        year = short + (1900 if short >= 70 else 2000)  # POSIX strptime %y, shifted by a year
    else:
        year = year_of(month, day)
    # datetime has no second 60: take 59 and add one.
    leap = 1 if part["second"] == "60" else 0
    clock = int(part["hour"]), int(part["minute"]), int(part["second"]) - leap
    try:
        found = to_ns(datetime(year, month, day, *clock, tzinfo=_zone(part))) + leap * SECOND_NS + fraction
    except (ValueError, OverflowError):
        return None
    return found if found in TIMES_NS else None


def _fraction(digits: str | None) -> int:
    """Nanoseconds of the digits after the point."""
    return int(digits.ljust(9, "0")) if digits else 0


def _zone(part: dict[str, str | Any]) -> timezone:
    """The zone of a match, UTC if it has none."""
    text = part.get("zone")
    if not text or text in {"Z", "UTC"}:
        return UTC
    minutes = int(text[1:3]) * 60 + int(text[-2:])
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))


class Stamper:
    """Gives every line of one file a time in ns since 1970.

    `base_ns` is where a file without times begins (its lines are then 1 ms apart) and, for formats without a year, what
    the first year is taken from: the latest one that does not put the line more than a day after `base_ns`. Later, such
    a file's year follows its own order, over New Year as well.
    """

    def __init__(self, base_ns: int) -> None:
        self._base_ns = base_ns
        self._format: Format | None = None
        self._misses = 0
        self._last_ns: int | None = None
        self._second: tuple[dict[str, str | Any], int] = ({}, 0)  # parts without the fraction, and their ns
        self.stamped = 0  # lines that carried a time of their own

    def stamp(self, line: str, index: int, own_ns: int | None = None) -> int:
        """The time of line `index` (0-based): `own_ns` if the caller knows it, else from the text, else from its neighbours."""
        found = own_ns if own_ns is not None else self._parse(line)
        if found is not None and found > 0:
            self.stamped += 1
            self._last_ns = found
            return found
        if self._last_ns is not None:
            return self._last_ns
        return self._base_ns + index * 1_000_000

    def _parse(self, line: str) -> int | None:
        head = line[:HEAD_CHARS_MAX]
        candidates = FORMATS if self._format is None else (self._format,)
        for candidate in candidates:
            match = candidate.pattern.match(head) if candidate.anchored else candidate.pattern.search(head)
            found = None if match is None else self._moment(match.groupdict())
            if found is not None:
                self._format, self._misses = candidate, 0
                return found
        self._misses += 1
        if self._misses >= MISSES_MAX:
            self._format, self._misses = None, 0
        return None

    def _moment(self, part: dict[str, str | Any]) -> int | None:
        """As `_moment`; neighbouring lines mostly share their second, which is then not worked out again."""
        nanoseconds = _fraction(part.pop("fraction", None))
        known, second_ns = self._second
        if part != known:
            found = _moment(part, self._year)
            if found is None:
                return None
            second_ns = found
            if part.get("year"):  # without a year the same words can be another time
                self._second = (part, second_ns)
        return second_ns + nanoseconds if second_ns + nanoseconds in TIMES_NS else None

    def _year(self, month: int, day: int) -> int:
        """The year of a month and day without one: near the line before, or the latest not after the base time."""
        if self._last_ns is None:
            latest = EPOCH + timedelta(microseconds=(self._base_ns + DAY_NS) // 1000)
            return latest.year - ((month, day) > (latest.month, latest.day))
        last = EPOCH + timedelta(microseconds=self._last_ns // 1000)
        # Half a year is the border: December after January is the old year, January after December the new one.
        return last.year + (1 if last.month - month > 6 else -1 if month - last.month > 6 else 0)
