"""A `logging.Handler`: records of a program become events of a stream."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from driftlock_client.client import Client
from driftlock_client.outbox import Event, Outbox, OutboxLimits
from driftlock_client.values import UNSET

TEXT_CHARS_MAX = 32_768
"""Of one text; the rest of it is left out, as the server would."""
DEPTH_MAX = 6
MEMBERS_MAX = 128
FLUSH_S = 5.0
_SIZE_OF_OTHERS = 16


def _tell(text: str) -> None:
    stderr = sys.stderr
    if stderr is not None:
        stderr.write(f"{text}\n")


class DriftlockHandler(logging.Handler):
    """Sends records to a stream, from a thread of its own.

    Logging never waits and never fails for it: a record that finds `limits` of the queue reached, or whose batch could not be
    sent, is dropped. `dropped` counts these, and the first one is told, once, on standard error (`tell`).

    Members of `extra` become attributes, with the level, the name of the logger and the exception. Records that the sending
    itself causes are left out. `make_client` makes the client, in each process once: a child of `fork` needs its own.
    `logging.shutdown`, which runs when the interpreter ends, sends what is left for up to `close_s` seconds.
    """

    def __init__(
        self,
        stream_id: str | None = None,
        *,
        level: int | str = logging.NOTSET,
        make_client: Callable[[], Client] = Client,
        limits: OutboxLimits | None = None,
        close_s: float = FLUSH_S,
        tell: Callable[[str], None] = _tell,
    ) -> None:
        """Raises ValueError for an address that is none; nothing is connected before the first record."""
        super().__init__(level)
        self._stream_id, self._make_client, self._limits = stream_id, make_client, limits or OutboxLimits()
        self._close_s, self._tell = close_s, tell
        self._client: Client | None = make_client()
        self._begin()
        if hasattr(os, "register_at_fork"):
            this = weakref.ref(self)
            os.register_at_fork(after_in_child=lambda: _in_child(this()))

    @property
    def dropped(self) -> int:
        """Records that were not sent, in this process."""
        return self._dropped

    def handle(self, record: logging.LogRecord) -> bool:
        """Put a record into the queue, if the filters let it. The handler's lock is not taken.

        `logging.shutdown` holds it while it waits for the thread that sends, and that thread's HTTP client logs as well.
        """
        if threading.get_ident() == self._outbox.thread_id:
            return False
        chosen = self.filter(record)
        if isinstance(chosen, logging.LogRecord):
            record = chosen
        if chosen:
            self.emit(record)
        return bool(chosen)

    def emit(self, record: logging.LogRecord) -> None:
        """Put a record into the queue; never waits, never raises."""
        try:
            event = self._event(record)
            if not self._outbox.put(event, _size(event)):
                self._lose(1, "the queue is full or the handler is closed")
        except Exception as error:
            self._lose(1, f"the record can not be made an event ({type(error).__name__}: {error})")

    def flush(self) -> None:
        """Wait until what was logged is sent, for up to `close_s` seconds."""
        self._outbox.flush(self._close_s)

    def close(self) -> None:
        """Send what is left for up to `close_s` seconds, then count the rest as dropped."""
        left = self._outbox.close(self._close_s)
        if left:
            self._lose(left, "they were not sent before the handler was closed")
        if self._client is not None:
            self._client.close()
        super().close()

    def _begin(self) -> None:
        self._dropped, self._told, self._losing = 0, False, threading.RLock()
        self._outbox = Outbox(self._post, self._lose, self._limits, "driftlock-logging")

    def _begin_in_child(self) -> None:
        """A queue, a thread and connections of this process; what the parent had queued is the parent's to send."""
        self._client = None  # not closed: its connections are the parent's
        self._begin()

    def _post(self, events: Sequence[Event]) -> None:
        if self._client is None:
            self._client = self._make_client()
        self._client.detect(events=events, stream_id=UNSET if self._stream_id is None else self._stream_id)

    def _lose(self, count: int, why: str) -> None:
        with self._losing:
            self._dropped += count
            told, self._told = self._told, True
        if not told:
            with contextlib.suppress(Exception):  # nobody is left to be told
                self._tell(f"driftlock: log records are dropped ({why}); this is told once, and counted in `dropped`")

    def _event(self, record: logging.LogRecord) -> Event:
        # logging.basicConfig() gives every handler this format; what it adds are attributes here.
        plain = self.formatter is None or getattr(self.formatter, "_fmt", None) == logging.BASIC_FORMAT
        text = record.getMessage() if plain else self.format(record)
        event: dict[str, Any] = {"time": record.created, "text": _utf8(text)}
        event["level"], event["logger"] = record.levelname, _utf8(record.name)
        if plain and record.exc_info and record.exc_info[1] is not None:
            kind, error, _ = record.exc_info
            event["exception.type"] = getattr(kind, "__qualname__", str(kind))
            event["exception.message"] = _utf8(str(error))
            stack = logging.Formatter().formatException(record.exc_info)
            event["exception.stacktrace"] = _utf8(stack[-TEXT_CHARS_MAX:])
        for name, value in record.__dict__.items():
            if name not in _OWN and not name.startswith("_"):
                event[_utf8(f"extra.{name}" if name in event else name)] = _plain(value, DEPTH_MAX)
        return event


def _in_child(handler: DriftlockHandler | None) -> None:
    if handler is not None:
        handler._begin_in_child()


_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
"""What every record has; the rest came with `extra`."""


def _utf8(text: str) -> str:
    """At most TEXT_CHARS_MAX characters that UTF-8 has; lone surrogates, as of undecodable file names, are replaced."""
    text = text[:TEXT_CHARS_MAX]
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _plain(value: object, depth: int) -> Any:
    """A value as JSON has it; what JSON has not is a text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value) if abs(value) < 1 << 63 else str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    if depth > 0 and isinstance(value, Mapping):
        return {_utf8(str(name)): _plain(inner, depth - 1) for name, inner in list(value.items())[:MEMBERS_MAX]}
    if depth > 0 and isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner, depth - 1) for inner in list(value)[:MEMBERS_MAX]]
    return _utf8(str(value))


def _size(value: object) -> int:
    if isinstance(value, str):
        return len(value) + 2
    if isinstance(value, Mapping):
        return sum(len(str(name)) + 4 + _size(inner) for name, inner in value.items())
    return sum(_size(inner) + 1 for inner in value) if isinstance(value, list) else _SIZE_OF_OTHERS
