"""Messages that are one log record each, as JSON or text, made into OTLP requests, so that the way of all records is theirs."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from collector.kafka.consumer import Taken
from collector.routing import Router
from collector.routing.conventions import ENVIRONMENTS, NAMESPACES, SERVICES, STREAM_ID
from driftlock.engine.event import Signal, StreamKey
from server.bridge_sources import Format, Source
from server.logfile.jsonlines import json_object, split_object
from server.logfile.timestamps import parse_iso, parse_number
from server.replay.sender import any_value

NS_A_MS = 1_000_000


class BadLine(Exception):
    """A message is no record; the text says why in a few words that hold nothing of it."""


@dataclass(frozen=True, slots=True)
class LineRecord:
    """A message as a record: the attributes of its resource, which say its stream."""

    offset: int
    attributes: tuple[tuple[str, str], ...]
    record: LogRecord


@dataclass(frozen=True, slots=True)
class LineRequest:
    """Records of several messages as one request, and the message of each record by stream."""

    body: bytes
    offsets: Mapping[StreamKey, Sequence[int]]


class LineReader:
    """Reads messages of one source. Pure: a message that is read again is the same record."""

    def __init__(self, source: Source, router: Router) -> None:
        """`router` is that of who takes the requests."""
        self._source, self._router = source, router
        names = ((NAMESPACES[0], source.namespace), (SERVICES[0], source.service), (ENVIRONMENTS[0], source.environment))
        self._named = tuple((name, text) for name, text in names if text)

    def record(self, taken: Taken) -> LineRecord | None:
        """The record of a message, None of one that holds nothing. Raises `BadLine`."""
        if not taken.value:
            return None
        default_ns = max(0, taken.time_ms) * NS_A_MS
        stream = self._of_header(taken)
        if self._source.format is Format.TEXT:
            text = taken.value.decode(errors="replace").rstrip("\r\n")
            if not text:
                return None
            record = LogRecord(time_unix_nano=default_ns, body=any_value(text))
            return LineRecord(taken.offset, self._attributes(stream), record)
        try:
            found = json_object(taken.value.decode())
        except UnicodeDecodeError:
            raise BadLine("the message is not UTF-8") from None
        if found is None:
            raise BadLine("the message is no JSON object, or nested too deep")
        stream = stream or _label(_at(found, self._source.stream_id_field))
        time_ns = _time_ns(_pop(found, self._source.timestamp_field, _time_ns))
        message = _pop(found, self._source.message_field, _text)
        body, attributes, own_ns = split_object(found)
        if isinstance(message, str):
            attributes = {**attributes, **({"text": body} if isinstance(body, str) else body)}
            body = message
        record = LogRecord(
            time_unix_nano=time_ns or own_ns or default_ns,
            body=any_value(body),
            attributes=[KeyValue(key=name, value=any_value(value)) for name, value in attributes.items()],
        )
        return LineRecord(taken.offset, self._attributes(stream), record)

    def request(self, records: Sequence[LineRecord]) -> LineRequest:
        """Records in their order as a request: those of a stream stay in their order, whatever its resources."""
        keys: dict[tuple[tuple[str, str], ...], StreamKey] = {}
        streams: dict[StreamKey, list[LineRecord]] = {}
        for it in records:
            key = keys.get(it.attributes)
            if key is None:
                key = keys[it.attributes] = self._router.route(Signal.LOGS, dict(it.attributes)).key
            streams.setdefault(key, []).append(it)
        resources = [
            ResourceLogs(resource=_resource(attributes), scope_logs=[ScopeLogs(log_records=[it.record for it in run])])
            for of_stream in streams.values()
            for attributes, run in itertools.groupby(of_stream, lambda it: it.attributes)
        ]
        body = ExportLogsServiceRequest(resource_logs=resources).SerializeToString()
        return LineRequest(body, {key: [it.offset for it in of_stream] for key, of_stream in streams.items()})

    def _of_header(self, taken: Taken) -> str:
        wanted = self._source.stream_id_header
        if not wanted:
            return ""
        return next((value.decode(errors="replace") for name, value in taken.headers if name == wanted), "")

    def _attributes(self, stream: str) -> tuple[tuple[str, str], ...]:
        return (*self._named, (STREAM_ID, stream)) if stream else self._named


def _resource(attributes: Sequence[tuple[str, str]]) -> Resource:
    return Resource(attributes=[KeyValue(key=name, value=any_value(text)) for name, text in attributes])


def _place(found: dict[str, object], steps: Sequence[str]) -> tuple[dict[str, object], str] | None:
    """Where the member at the end of the way is, and its name there, in which dots may stand; None where there is none."""
    inner = found.get(steps[0]) if len(steps) > 1 else None
    if isinstance(inner, dict):
        deeper = _place(inner, steps[1:])
        if deeper is not None:
            return deeper
    name = ".".join(steps)
    return (found, name) if name in found else None


def _at(found: dict[str, object], steps: Sequence[str]) -> object:
    """The member at the end of the way; None where there is none."""
    place = _place(found, steps) if steps else None
    return None if place is None else place[0][place[1]]


def _pop(found: dict[str, object], steps: Sequence[str], usable: Callable[[object], object]) -> object:
    """As `_at`, and the member is taken out; None, and nothing is, where it is of no use."""
    place = _place(found, steps) if steps else None
    if place is None or usable(place[0][place[1]]) is None:
        return None
    return place[0].pop(place[1])


def _label(value: object) -> str:
    """A name in a member: a text, a number or a truth value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else ""


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _time_ns(value: object) -> int | None:
    if isinstance(value, str):
        return parse_iso(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return parse_number(value)
    return None
