"""Members of the JSON object of a span: read, or refused with what is wrong with them."""

import re
from collections.abc import Iterator, Mapping
from typing import cast

from driftlock.engine.canonical import Value
from server.offline.events import BadLine

US_NS = 1000
DURATION_US_MAX = (2**63 - 1) // US_NS
_HEXADECIMAL = re.compile("[0-9a-fA-F]+").fullmatch
_NO_ATTRIBUTES: Mapping[str, Value] = {}


def text_of(members: Mapping[str, object], name: str, missing: str | None = None) -> str:
    """A string; `missing` where it is not given, if it need not be."""
    value = members.get(name, missing)
    if value is None and missing is not None:
        return missing
    if not isinstance(value, str):
        raise BadLine(f'has a "{name}" that is not a string')
    return value


def code_of(members: Mapping[str, object], name: str, names: tuple[str, ...], prefix: str) -> tuple[int, str]:
    """A number of OTLP, given as such or by name, and what stands behind the name."""
    value = members.get(name)
    if value is None or value == "":
        return 0, ""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
        return value, ""
    if isinstance(value, str):
        word, _, rest = value.partition(" ")
        word = word.upper().removeprefix(prefix).lower()
        if word in names:
            return names.index(word), rest
    raise BadLine(f'has a "{name}" that is none of {", ".join(names)}')


def id_of(members: Mapping[str, object], name: str, size: int) -> bytes:
    """An id; shorter ones are filled up with zeros in front, and zeros alone are none."""
    value = members.get(name)
    if value is None or value == "":
        return b""
    if isinstance(value, str) and len(value) <= 2 * size and _HEXADECIMAL(value):
        raw = bytes.fromhex(value.rjust(2 * size, "0"))
        return raw if any(raw) else b""
    raise BadLine(f'has a "{name}" that is not a string of at most {2 * size} hexadecimal digits')


def duration_of(value: object) -> int:
    """Nanoseconds of a number of microseconds; below zero for a span that ended before it started."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise BadLine('has a "dur_us" that is not a number')
    if value > DURATION_US_MAX:
        raise BadLine('has a "dur_us" of more than 292 years')
    return round(max(value, -1.0) * US_NS)


def attributes_of(members: Mapping[str, object], of: str) -> Mapping[str, Value]:
    """The attributes of a span or an event; none where none are given."""
    found = members.get("attributes")
    if found is None:
        return _NO_ATTRIBUTES
    if not isinstance(found, dict):
        raise BadLine(f'has "attributes" of a{"n" if of == "event" else ""} {of} that are not an object')
    return cast("Mapping[str, Value]", found)


def events_of(members: Mapping[str, object]) -> Iterator[tuple[str, Mapping[str, Value]]]:
    """Names and attributes of a span's events."""
    found = members.get("events")
    if found is None:
        return
    if not isinstance(found, list):
        raise BadLine('has "events" that are not a list')
    for event in found:
        if not isinstance(event, dict) or event.keys() - {"name", "attributes"}:
            raise BadLine('has an event that is not an object with "name" and "attributes"')
        yield text_of(event, "name", ""), attributes_of(event, "event")
