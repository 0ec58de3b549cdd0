"""Lines of `driftlock score --signal spans`: one JSON object a span.

    {"time": start as Unix seconds or RFC 3339, "trace": "32 hex digits", "span": "16 hex digits", "parent": "16 hex digits",
     "service": "...", "name": "...", "kind": "server", "status": "ok", "dur_us": 1234, "attributes": {...}}

and two members that are rarely needed: "instance", the pod or host that sent it, and "events", a list of
{"name": "...", "attributes": {...}}. A span becomes what it becomes at a server's doors: a line of its service's stream, and a
row of the columns from which traces are put together.
"""

import json
from collections.abc import Mapping
from typing import NamedTuple

from collector.routing import ResourceRouter
from driftlock.engine.canonical import (
    IDENTITY_SEPARATOR,
    LABEL_BYTES_MAX,
    CanonicalLimits,
    Cuts,
    TooDeep,
    cut_utf8,
    label,
    span_text,
    utf8,
)
from driftlock.engine.event import Signal, SpanMark
from server.logfile.jsonlines import whole
from server.offline.events import LINE_BYTES_MAX, STREAMS_MAX, BadLine, TooManyStreams
from server.offline.span_members import attributes_of, code_of, duration_of, events_of, id_of, text_of
from server.offline.times import BadTime, Times

KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
STATUSES = ("unset", "ok", "error")
"""Names of kinds and status codes by their numbers in OTLP; of both the first is not part of a span's text."""
TRACE_ID_BYTES, SPAN_ID_BYTES = 16, 8
NAME_BYTES_MAX = 256
SPELLINGS_MAX = 4096  # of services; how one is spelled beyond that is looked at anew each time
_NEEDED = ("time", "service", "name", "dur_us")
_MEMBERS = frozenset((*_NEEDED, "trace", "span", "parent", "kind", "status", "attributes", "instance", "events"))


class SpanLine(NamedTuple):
    """One span: its service and canonical `text`, and what its trace is put together from.

    Ids are bytes, b"" where there is none; a span without a trace id or an id of its own is a line of its service only.
    `operation` is its identity, service, name and the digit of the kind with 0x1f between them; `mark` is a `SpanMark`.
    """

    service: str
    text: bytes
    time_ns: int
    trace: bytes
    span: bytes
    parent: bytes
    duration_ns: int
    mark: int
    operation: str
    instance: str

    @property
    def placed(self) -> bool:
        """Whether it has a place in a trace."""
        return bool(self.trace and self.span)


class SpanReader:
    """Reads spans; the limits of their texts are those of a server's doors, at most `services_max` services are told apart."""

    def __init__(self, limits: CanonicalLimits, *, services_max: int = STREAMS_MAX) -> None:
        self._limits, self._cuts, self._services_max = limits, Cuts(), services_max
        self._decode = json.JSONDecoder().decode
        self._times = Times()
        self._router = ResourceRouter()
        self._services: dict[str, str] = {}  # as spelled -> as a server calls it
        self._named: set[str] = set()

    @property
    def spellings(self) -> int:
        """How many ways to write services' names are remembered."""
        return len(self._services)

    def span(self, line: bytes) -> SpanLine:
        """The span of a line; raises `BadLine`, or `TooManyStreams`."""
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
        if not isinstance(found, dict):
            raise BadLine("is not a JSON object")
        for name in _NEEDED:
            if name not in found:
                raise BadLine(f'has no "{name}"')
        if further := found.keys() - _MEMBERS:
            raise BadLine(f'has a member {json.dumps(min(further))}, which spans do not have; put it into "attributes"')
        try:
            return self._span(found)
        except TooDeep as error:
            raise BadLine(error.message) from None

    def _span(self, members: Mapping[str, object]) -> SpanLine:
        try:
            time_ns = self._times.read(members["time"])
        except BadTime as error:
            raise BadLine(f'has a "time" that {error}') from None
        service, name = self._service(members["service"]), text_of(members, "name")
        kind = code_of(members, "kind", KINDS, "SPAN_KIND_")[0]
        status, message = code_of(members, "status", STATUSES, "STATUS_CODE_")
        duration_ns = duration_of(members["dur_us"])
        mark = kind | (SpanMark.ERROR if STATUSES[status] == "error" else 0) | (SpanMark.BACKWARDS if duration_ns < 0 else 0)
        message = cut_utf8(message, self._limits.value_bytes_max, self._cuts)
        status_text = " ".join(part for part in ("" if not status else STATUSES[status].upper(), message) if part)
        text = span_text(
            "" if not kind else KINDS[kind].upper(),
            name,
            status_text,
            attributes_of(members, "span"),
            events_of(members),
            limits=self._limits,
            cuts=self._cuts,
        )
        return SpanLine(
            service=service,
            text=utf8(text, self._cuts),
            time_ns=time_ns,
            trace=id_of(members, "trace", TRACE_ID_BYTES),
            span=id_of(members, "span", SPAN_ID_BYTES),
            parent=id_of(members, "parent", SPAN_ID_BYTES),
            duration_ns=max(0, duration_ns),
            mark=int(mark),
            operation=operation(service, name, kind),
            instance=self._instance(text_of(members, "instance", "")),
        )

    def _service(self, name: object) -> str:
        if not isinstance(name, str):
            raise BadLine('has a "service" that is not a string')
        known = self._services.get(name)
        if known is not None:
            return known
        if not label(whole(name)) or len(name.encode("utf-8", "surrogatepass")) > LABEL_BYTES_MAX:
            raise BadLine(f'has a "service" without a printable character, or of more than {LABEL_BYTES_MAX} bytes')
        normal = self._router.route(Signal.TRACES, {"service.name": whole(name)}).service
        if normal not in self._named and len(self._named) >= self._services_max:
            told = f"there are more than {self._services_max} services (services_max)"
            raise TooManyStreams(f"{told}; score them in several runs")
        self._named.add(normal)
        if len(self._services) < SPELLINGS_MAX:
            self._services[name] = normal
        return normal

    def _instance(self, name: str) -> str:
        return label(whole(name)) if name else ""


def operation(service: str, name: str, kind: int) -> str:
    r"""What tells operations apart; `kind` is a number of OTLP.

    >>> operation("cart", "GET /items", 2)
    'cart\x1fGET /items\x1f2'
    """
    escaped = cut_utf8(whole(name), NAME_BYTES_MAX, Cuts()).replace(IDENTITY_SEPARATOR, r"\x1f")
    return IDENTITY_SEPARATOR.join((service, cut_utf8(escaped, NAME_BYTES_MAX, Cuts()), str(kind)))
