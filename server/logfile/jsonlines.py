"""Lines that are JSON objects: their text, their fields beside it, and their time."""

import json
import re
from collections.abc import Mapping

from server.logfile.timestamps import parse_iso, parse_number

JSON_DEPTH_MAX = 16
TIME_FIELDS = ("time", "timestamp", "@timestamp", "ts")
_decode = json.JSONDecoder().decode
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


def json_object(text: str) -> dict[str, object] | None:
    """The JSON object that a line holds, None if it holds anything else or is nested too deeply.

    Half a surrogate pair, which JSON can spell and Unicode text can not hold, becomes U+FFFD.
    """
    try:
        found = _decode(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    # Each level has its bracket and each escape its backslash: most lines need no closer look.
    if text.count("{") + text.count("[") >= JSON_DEPTH_MAX and not _depth_ok(found):
        return None
    if "\\" in text and _SURROGATE_ESCAPE.search(text):
        found = {whole(name): _repaired(value) for name, value in found.items()}
    return found


def split_object(found: dict[str, object]) -> tuple[str | Mapping[str, object], Mapping[str, object], int | None]:
    """(body, attributes, time in ns): an object with `text` is that text and its other fields; any other is the body.

    `found` is taken apart: the time, and then the text, leave it.
    """
    own_ns = None
    for name in TIME_FIELDS:
        value = found.get(name)
        if isinstance(value, str):
            own_ns = parse_iso(value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            own_ns = parse_number(value)
        if own_ns is not None:
            del found[name]
            break
    text = found.get("text")
    if isinstance(text, str):
        del found["text"]
        return text, found, own_ns
    return found, {}, own_ns


def _depth_ok(value: object) -> bool:
    level: list[object] = [value]
    for _ in range(JSON_DEPTH_MAX):
        level = [inner for outer in level for inner in _children(outer)]
        if not level:
            return True
    return False


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _repaired(value: object) -> object:
    """`value` without lone surrogates in its texts; its depth is bounded already."""
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, dict):
        return {whole(name): _repaired(inner) for name, inner in value.items()}
    return [_repaired(inner) for inner in value] if isinstance(value, list) else value


def whole(text: str) -> str:
    """`text` with U+FFFD for every lone surrogate, so that UTF-8 can hold it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
