"""Times at the border: nanoseconds since 1970 inside, RFC 3339 in UTC outside."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

NS_PER_SECOND = 1_000_000_000
TIME_NS_MAX = 2**64 - 1
"""The largest event time that a record can carry (in the year 2554)."""

_SECONDS_MIN = -62_135_596_800  # 0001-01-01T00:00:00Z
_SECONDS_MAX = 253_402_300_799  # 9999-12-31T23:59:59Z
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)


def rfc3339(ns: int) -> str:
    """Nanoseconds since 1970 as RFC 3339 in UTC, with 0, 3, 6 or 9 decimals; beyond the years 1 to 9999 it is their edge.

    >>> rfc3339(1_213_455_361_250_000_000)
    '2008-06-14T14:56:01.250Z'
    """
    seconds, fraction = divmod(ns, NS_PER_SECOND)
    if seconds > _SECONDS_MAX:
        seconds, fraction = _SECONDS_MAX, NS_PER_SECOND - 1
    elif seconds < _SECONDS_MIN:
        seconds, fraction = _SECONDS_MIN, 0
    text = (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S").zfill(19)
    digits = f"{fraction:09d}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f"{text}.{digits}Z" if digits else f"{text}Z"


def event_time(ns: int) -> str | None:
    """An event time as RFC 3339; None where the records carried no time (0)."""
    return rfc3339(ns) if ns else None


def ns_of_datetime(moment: datetime) -> int:
    """Nanoseconds since 1970 of an aware datetime, without the rounding of floating point."""
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def datetime_of_ns(ns: int) -> datetime:
    """The UTC datetime of `ns`, rounded down to microseconds and kept inside the years 1 to 9999."""
    seconds, fraction = divmod(ns, NS_PER_SECOND)
    if seconds > _SECONDS_MAX:
        seconds, fraction = _SECONDS_MAX, NS_PER_SECOND - 1
    elif seconds < _SECONDS_MIN:
        seconds, fraction = _SECONDS_MIN, 0
    return _EPOCH + timedelta(seconds=seconds, microseconds=fraction // 1000)


def parse_rfc3339(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time, which names its offset (RFC 3339, section 5.6); ValueError otherwise.

    A leap second is the last second of its minute counted twice.

    >>> parse_rfc3339("2008-06-14T16:56:01.25+02:00")
    1213455361250000000
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("expected a time like 2026-01-31T09:30:00Z, with an offset from UTC")
    year, month, day, hour, minute, second = (int(part) for part in match.group(1, 2, 3, 4, 5, 6))
    moment = datetime(year, month, day, hour, minute, 59 if second == 60 else second, tzinfo=UTC)
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    if match[8]:
        offset_hours, offset_minutes = int(match[9]), int(match[10])
        if offset_hours > 23 or offset_minutes > 59:
            raise ValueError("the offset from UTC is at most 23:59")
        offset = offset_hours * 3600 + offset_minutes * 60
        seconds -= offset if match[8] == "+" else -offset
    return seconds * NS_PER_SECOND + int((match[7] or "").ljust(9, "0"))


def parse_unix_seconds(value: int | float) -> int:
    """Nanoseconds since 1970 of Unix seconds; a fraction is taken as it is written, not as binary floating point has it.

    >>> parse_unix_seconds(1213455361.25)
    1213455361250000000
    """
    return value * NS_PER_SECOND if isinstance(value, int) else int(Decimal(repr(value)) * NS_PER_SECOND)
