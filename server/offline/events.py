"""Lines of `driftlock score`: one JSON object an event, with the members that `POST /v1/detect` takes, and two more.

    {"time": Unix seconds or RFC 3339, "text": "...", "stream": "...", "key": "...", any attribute: any value}

Without `text` the attributes are the event; without `time` it stands where its stream has come to. A JSON string is an
event that is only text. `stream` names the stream, `key` comes back with the event's score and is not part of the event.
"""

import json
from collections.abc import Mapping
from typing import NamedTuple, NoReturn, cast

from api.rfc3339 import parse_rfc3339, parse_unix_seconds
from driftlock.engine.canonical import LABEL_BYTES_MAX, CanonicalLimits, Cuts, TooDeep, Value, label, log_text, utf8
from server.offline.times import OUTSIDE, TIME_NS_MAX

LINE_BYTES_MAX = 1024 * 1024
STREAMS_MAX = 1000
DEFAULT_STREAM = "default"
_NOTHING: Mapping[str, Value] = {}


class BadLine(Exception):
    """A line is no event; the text says what is wrong with it."""


class TooManyStreams(Exception):
    """The input names more than `streams_max` streams, each of which keeps a past of its own in memory."""


class Event(NamedTuple):
    """One event: canonical `text`, `time_ns` (0 = none), and what its score is labelled with."""

    stream: str
    key: str | None
    time_ns: int
    text: bytes


class EventReader:
    """Reads events; the limits of their texts are those of a server's doors."""

    def __init__(self, limits: CanonicalLimits, *, streams_max: int = STREAMS_MAX) -> None:
        self._limits, self._cuts = limits, Cuts()
        self._decode = json.JSONDecoder(parse_constant=_no_constant).decode
        self._streams_max = streams_max
        self._streams: dict[str, str] = {}  # as spelled -> normal form

    def event(self, line: bytes) -> Event:
        """The event of a line; raises `BadLine`, or `TooManyStreams`."""
        if len(line) > LINE_BYTES_MAX:
            raise BadLine(f"is longer than {LINE_BYTES_MAX} bytes (line_bytes_max)")
        try:
            found = self._decode(line.decode())
        except UnicodeDecodeError as error:
            raise BadLine(f"is not UTF-8 (byte {error.start})") from None
        except RecursionError:
            raise BadLine("is nested too deeply") from None
        except ValueError as error:
            raise BadLine(f"is not JSON: {error}") from None
        try:
            if isinstance(found, dict):
                return self._object(found)
            if isinstance(found, str):
                return Event(DEFAULT_STREAM, None, 0, self._text(found, _NOTHING))
        except TooDeep as error:
            raise BadLine(error.message) from None
        raise BadLine("is neither a JSON object nor a string")

    def _object(self, members: dict[str, object]) -> Event:
        time_ns = _time_ns(members.pop("time", None))
        key = members.pop("key", None)
        if key is not None and not isinstance(key, str):
            raise BadLine('has a "key" that is not a string')
        stream = self._stream(members.pop("stream", None))
        if "text" not in members:
            return Event(stream, key, time_ns, self._text(cast(Value, members), _NOTHING))
        text = members.pop("text")
        if not isinstance(text, str):
            raise BadLine('has a "text" that is not a string')
        return Event(stream, key, time_ns, self._text(text, cast(Mapping[str, Value], members)))

    def _text(self, body: Value, attributes: Mapping[str, Value]) -> bytes:
        return utf8(log_text(body, attributes=attributes, limits=self._limits, cuts=self._cuts), self._cuts)

    def _stream(self, name: object) -> str:
        if name is None:
            return DEFAULT_STREAM
        if not isinstance(name, str):
            raise BadLine('has a "stream" that is not a string')
        known = self._streams.get(name)
        if known is not None:
            return known
        normal = label(name)
        if not normal or len(name.encode("utf-8", "surrogatepass")) > LABEL_BYTES_MAX:
            raise BadLine(f'has a "stream" without a printable character, or of more than {LABEL_BYTES_MAX} bytes')
        if len(self._streams) >= self._streams_max:
            raise TooManyStreams(f"there are more than {self._streams_max} streams (streams_max); score them in several runs")
        self._streams[name] = normal
        return normal


def _time_ns(value: object) -> int:
    """Nanoseconds of an event's time; 0 if it has none."""
    if value is None:
        return 0
    try:
        if isinstance(value, str):
            ns = parse_rfc3339(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            ns = parse_unix_seconds(value)
        else:
            raise BadLine('has a "time" that is neither Unix seconds nor an RFC 3339 time')
    except (ValueError, OverflowError) as error:
        raise BadLine(f'has a "time" that can not be read: {error}') from None
    if not 0 <= ns <= TIME_NS_MAX:
        raise BadLine(f'has a "time" that {OUTSIDE}')
    return ns


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON; write null or a string instead")
