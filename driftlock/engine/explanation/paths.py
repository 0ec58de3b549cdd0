"""Where in a record a byte of its text stands: the severity, an attribute, a member of a JSON body, or the body.

Only the text is known here, so this reads canonical text backwards (`driftlock.engine.canonical`): a leading severity word,
` key=value` pairs, and JSON wherever `{"` begins it. What can not be told apart is called the body. Linear in the text, no
recursion; names and depth are bounded.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

BODY = "body"
SEVERITY = "severity"
PATH_CHARS_MAX = 256
KEY_BYTES_MAX = 256
JSON_DEPTH_MAX = 32
KEYS_MAX = 512

_SEVERITIES = frozenset(
    [name + step for name in (b"TRACE", b"DEBUG", b"INFO", b"WARN", b"ERROR", b"FATAL") for step in (b"", b"2", b"3", b"4")]
    + b"WARNING ERR CRIT CRITICAL NOTICE ALERT EMERG EMERGENCY PANIC VERBOSE INFORMATION SEVERE".split()
)
_KEY_FIRST = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_@")
_KEY_BYTES = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@.-/"
# Possessive, and tried at one position only: a text that is not JSON ends the scan, it never makes it start again.
_JSON_TOKEN = re.compile(rb'[ \t\r\n]*+(?:("(?:[^"\\]++|\\.)*+")|([{}\[\],:])|([^ \t\r\n{}\[\],:"]++))', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Region:
    """Bytes start..stop-1 of a line belong to `path`."""

    start: int
    stop: int
    path: str


class Paths:
    """Paths of the bytes of one line; bytes from `until` on need not be looked at.

    >>> paths = Paths(b'ERROR {"a": {"b": 1}} http.route=/pay')
    >>> [paths.of(at) for at in (0, 17, 22, 33)]
    ['severity', 'a.b', 'http.route', 'http.route']
    """

    def __init__(self, line: bytes, until: int | None = None) -> None:
        self._regions = list(_regions(line, len(line) if until is None else until))
        self._starts = [region.start for region in self._regions]

    def of(self, offset: int) -> str:
        """The path of the byte at `offset`."""
        found = bisect_right(self._starts, offset) - 1
        if found >= 0 and offset < self._regions[found].stop:
            return self._regions[found].path
        return BODY


def _regions(line: bytes, until: int) -> Iterator[Region]:
    first = line.find(b" ")
    start = 0
    if line[: first if first >= 0 else len(line)] in _SEVERITIES:
        start = first if first >= 0 else len(line)
        yield Region(0, start, SEVERITY)
    opened = line.find(b'{"', start)
    if opened < 0:
        yield from _pairs(line, start, len(line))
        return
    before = list(_pairs(line, start, opened))
    prefix = ""
    if before and before[-1].stop == opened and line[opened - 1 : opened] == b"=":
        prefix = before[-1].path
    yield from before
    members, stop = _members(line, opened, until, prefix)
    yield from members
    yield from _pairs(line, stop, len(line))


def _pairs(line: bytes, start: int, stop: int) -> Iterator[Region]:
    """The `key=value` pairs in line[start:stop].

    Attributes end a record and are sorted, so in the longest sorted run of keys at the end a value lasts until the next key;
    a value before that is a member of the body and ends at the next space.
    """
    keys = list(_keys(line, start, stop))[-KEYS_MAX:]
    trailer = len(keys) - 1
    while trailer > 0 and keys[trailer - 1][2] <= keys[trailer][2]:
        trailer -= 1
    for number, (at, value, key) in enumerate(keys):
        end = keys[number + 1][0] - 1 if number + 1 < len(keys) else stop
        if number < trailer:
            space = line.find(b" ", value, end)
            end = space if space >= 0 else end
        yield Region(at, end, _shown(key))


def _keys(line: bytes, start: int, stop: int) -> Iterator[tuple[int, int, bytes]]:
    """(start of key, start of value, key) of each `=` with a key before it, which begins the text or follows a space."""
    past, equals = start, line.find(b"=", start, stop)
    while equals >= 0:
        at = line.rfind(b" ", past, equals) + 1
        if at or past == start:
            at = at or start
            key = line[at:equals]
            if 0 < len(key) <= KEY_BYTES_MAX and key[0] in _KEY_FIRST and not key.translate(None, _KEY_BYTES):
                yield at, equals + 1, key
        past, equals = equals + 1, line.find(b"=", equals + 1, stop)


def _members(line: bytes, start: int, until: int, prefix: str) -> tuple[list[Region], int]:
    """Members of the JSON object at line[start], and where it ends; each from its name to the end of its value.

    Where it is no JSON, or nested too deep, it ends with what was understood.
    """
    found: list[Region] = []
    names: list[str | int] = []  # one for each open bracket: the member's name, or the number of the element
    key, at, named_at = False, start, start
    while at < until:
        match = _JSON_TOKEN.match(line, at)
        if match is None:
            return found, at
        at = match.end()
        text, mark = match.group(1), match.group(2)
        if mark in (b"{", b"["):
            if len(names) == JSON_DEPTH_MAX:
                found.append(Region(named_at, len(line), _joined(prefix, names)))
                return found, len(line)
            if names and named_at < match.start(2):
                found.append(Region(named_at, match.start(2), _joined(prefix, names)))
            names.append("" if mark == b"{" else 0)
            key, named_at = mark == b"{", at
        elif not names:
            return found, start
        elif mark in (b"}", b"]"):
            names.pop()
            key, named_at = False, at
            if not names:
                return found, at
        elif mark == b",":
            last = names[-1]
            names[-1] = last + 1 if isinstance(last, int) else ""
            key, named_at = isinstance(last, str), at
        elif mark == b":":
            key = False
        elif key and text is not None:
            names[-1] = _shown(text[1:-1])
            named_at = match.start(1)
        else:
            found.append(Region(named_at, at, _joined(prefix, names)))
            named_at = at
    return found, len(line)


def _joined(prefix: str, names: Sequence[str | int]) -> str:
    path = prefix
    for name in names:
        path += f"[{name}]" if isinstance(name, int) else f".{name}" if path and name else name
        if len(path) > PATH_CHARS_MAX:
            break
    return path[:PATH_CHARS_MAX] or BODY


def _shown(key: bytes) -> str:
    return key[:KEY_BYTES_MAX].decode("utf-8", "replace")[:PATH_CHARS_MAX]
