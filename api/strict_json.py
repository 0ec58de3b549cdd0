"""JSON as RFC 8259 means it, within limits: what other parsers let pass silently is an error here.

Refused: a byte order mark, bytes that are not UTF-8, NaN and Infinity, numbers that become infinite, integers beyond 64 bits,
duplicate names, deep nesting, very many values. Depth and count are checked on the text, before any object exists, so that
memory stays in proportion to the limits and not to what was sent.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from driftlock.errors import InvalidArgument

_INTEGER_MIN, _INTEGER_MAX = -(2**63), 2**64 - 1
_INTEGER_DIGITS_MAX = 20
# An escape is one mark wherever it stands, so a quote behind a backslash never ends a string. No quantifier: linear time.
_MARK = re.compile(r'\\.|["\[\]{},]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class JsonLimits:
    """`depth_max`: arrays and objects inside one another. `values_max`: values in the whole text."""

    depth_max: int = 32
    values_max: int = 500_000


def parse(body: bytes, limits: JsonLimits) -> Any:
    """The value of a JSON text; raise `InvalidArgument` that says what is wrong with it."""
    if not body:
        raise InvalidArgument("the body is empty; send a JSON object")
    if body.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise InvalidArgument("the body begins with a byte order mark; send UTF-8 without one")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"the body is not UTF-8 (byte {error.start})") from None
    _check_size(text, limits)
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_integer, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise InvalidArgument(f"the body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None


def _check_size(text: str, limits: JsonLimits) -> None:
    depth, values, inside_string = 0, 1, False
    for match in _MARK.finditer(text):
        mark = match[0]
        if mark == '"':
            inside_string = not inside_string
        elif inside_string or mark[0] == "\\":
            continue
        elif mark in "[{":
            depth += 1
            values += 1
            if depth > limits.depth_max:
                raise InvalidArgument(f"the body nests deeper than {limits.depth_max} levels (depth_max)")
        elif mark == ",":
            values += 1
        else:
            depth -= 1
        if values > limits.values_max:
            raise InvalidArgument(f"the body holds more than {limits.values_max} values (values_max); send it in parts")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise InvalidArgument(f"the name {_short(name)} occurs twice in one object")
            seen.add(name)
    return members


def _no_constant(name: str) -> NoReturn:
    raise InvalidArgument(f"{name} is not JSON; send null or a string instead")


def _integer(digits: str) -> int:
    if len(digits) > _INTEGER_DIGITS_MAX:
        raise InvalidArgument("an integer has more than 64 bits; send it as a string")
    value = int(digits)
    if not _INTEGER_MIN <= value <= _INTEGER_MAX:
        raise InvalidArgument("an integer has more than 64 bits; send it as a string")
    return value


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise InvalidArgument("a number is too large for a double; send it as a string")
    return value


def _short(name: str) -> str:
    """A name as a message may carry it: escaped, and not longer than needed to find it."""
    return json.dumps(name if len(name) <= 64 else name[:64] + "...")
