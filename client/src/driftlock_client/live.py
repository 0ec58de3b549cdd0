"""The live feed: server-sent events, and going on where a connection ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from driftlock_client.codec import decoder, text_of
from driftlock_client.errors import UnexpectedAnswer
from driftlock_client.models import AnomalySummary, Incident
from driftlock_client.values import Model

READ_TIMEOUT_S = 45.0
"""Three heartbeats of the server: a connection that says nothing for so long is dead."""
EVENT_BYTES_MAX = 16 << 20
"""Of one event: whatever sends more is not our server."""
RECONNECT_S = 2.0
"""The longest time until the first reconnection, unless the server says another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveEvent(Model):
    """Something that happened in an account. `anomaly` or `incident` is set, as it is when the event is sent.

    `kind` is `anomaly`, `incident.opened`, `incident.changed`, `incident.closed`, `incident.acknowledged`,
    `incident.resolved` or `incident.reopened`, or `reset`: events from `missed_from` on have left the feed, so list what you
    need. `id` is where to go on.
    """

    id: int
    kind: str
    at: datetime | None = None
    anomaly: AnomalySummary | None = None
    incident: Incident | None = None
    missed_from: int | None = None


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event of a stream; `data` None: only an id or a time to wait."""

    event: str
    data: str | None
    id: str | None


class EventParser:
    """Lines of `text/event-stream` as events (HTML standard, section 9.2.6). `retry_ms` is the last one told."""

    def __init__(self) -> None:
        self.retry_ms: int | None = None
        self._event, self._size = "", 0
        self._data: list[str] = []
        self._id: str | None = None

    def line(self, line: str) -> ServerSentEvent | None:
        """The event that ends with this line, if one does."""
        if not line:
            ended = ServerSentEvent(self._event or "message", "\n".join(self._data) if self._data else None, self._id)
            self._clear()
            return ended if ended.data is not None or ended.id is not None else None
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._event = value
        elif name == "data":
            self._size += len(value)
            if self._size > EVENT_BYTES_MAX:
                raise UnexpectedAnswer(f"an event of more than {EVENT_BYTES_MAX} bytes; is this a Driftlock server?")
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdecimal():
            self.retry_ms = int(value)
        return None

    def _clear(self) -> None:
        self._event, self._data, self._size, self._id = "", [], 0, None


class Lines:
    """Bytes as lines of UTF-8. They end with LF or CR LF alone: texts in JSON may hold what else Unicode ends lines with."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, piece: bytes) -> Iterator[str]:
        """The lines that end in `piece`."""
        *ended, rest = piece.split(b"\n")
        for end in ended:
            self._rest += end
            line = self._rest.removesuffix(b"\r").decode(errors="replace")
            self._rest.clear()
            yield line
        self._rest += rest
        if len(self._rest) > EVENT_BYTES_MAX:
            raise UnexpectedAnswer(f"a line of more than {EVENT_BYTES_MAX} bytes; is this a Driftlock server?")


@dataclass(slots=True)
class Feed:
    """Where a reader of the feed is. It survives connections; `after` is the id of the last event that was seen."""

    after: int | None
    stream: str | UUID | None
    min_surprise: float | None
    failures: int = field(default=0, init=False)
    seen: bool = field(default=False, init=False)
    _parser: EventParser = field(default_factory=EventParser, init=False)
    _lines: Lines = field(default_factory=Lines, init=False)

    def request(self) -> tuple[str, dict[str, str], dict[str, str]]:
        """Path, query and headers of the next connection."""
        given = {"stream": self.stream, "min_surprise": self.min_surprise}
        query = {name: text_of(value) for name, value in given.items() if value is not None}
        headers = {"Accept": "text/event-stream"} | ({} if self.after is None else {"Last-Event-ID": str(self.after)})
        return "/v1/events/live", query, headers

    def connected(self) -> None:
        """A connection begins; what was left of the one before is thrown away, and comes again."""
        retry_ms = self._parser.retry_ms
        self._parser, self._lines = EventParser(), Lines()
        self._parser.retry_ms = retry_ms

    def read(self, piece: bytes) -> Iterator[LiveEvent]:
        """The events that end in a piece of the connection; moves `after`, with those that only say where the feed is too."""
        for line in self._lines.feed(piece):
            sent = self._parser.line(line)
            if sent is not None:
                yield from self._told(sent)

    def _told(self, sent: ServerSentEvent) -> Iterator[LiveEvent]:
        self.failures, self.seen = 0, True
        event = None if sent.data is None or sent.event == "ready" else _event(sent)
        if sent.id is not None and sent.id.isascii() and sent.id.isdecimal():
            self.after = int(sent.id)
        if event is not None:
            yield event

    def wait_s(self, chance: float) -> float:
        """Seconds until the next connection; longer after each that brought nothing, up to half a minute."""
        self.failures += 1
        first_s = RECONNECT_S if self._parser.retry_ms is None else self._parser.retry_ms / 1000
        return float(min(30.0, first_s * 2.0 ** min(self.failures - 1, 10)) * (0.5 + chance / 2))


def _event(sent: ServerSentEvent) -> LiveEvent:
    value = _object(sent.data or "")
    event: LiveEvent = decoder(LiveEvent)({"kind": sent.event} | value, "")
    return event


def _object(data: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        raise UnexpectedAnswer("the data of an event is not JSON") from None
    if not isinstance(value, dict):
        raise UnexpectedAnswer("the data of an event is no object")
    return value
