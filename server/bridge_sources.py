"""Where a bridge reads: topics of other producers, and what their messages are. Only settings say it, never a message."""

import difflib
import json
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from typing import Any
from uuid import UUID

from driftlock.engine.event import Signal
from server.kafka_names import parse_topic

SOURCES_MAX = 64
TEXT_BYTES_MAX = 256
FIELD_STEPS_MAX = 16


class Format(StrEnum):
    """What a message holds: an OTLP Export request, or one log record as a JSON object or as a line of text."""

    OTLP_PROTO = "otlp_proto"
    OTLP_JSON = "otlp_json"
    JSON = "json"
    TEXT = "text"

    @property
    def otlp(self) -> bool:
        """Whether a message is a request with resources of its own."""
        return self in (Format.OTLP_PROTO, Format.OTLP_JSON)


class InitialOffset(StrEnum):
    """Where a group begins that has read nothing yet."""

    EARLIEST = "earliest"
    LATEST = "latest"


@dataclass(frozen=True, slots=True)
class Source:
    """One topic. Of `json` and `text` alone: the names of the stream, and where in a message they and the rest are.

    A stream's id from the header or the field is the whole name of its stream; a message without one goes to the service.
    """

    topic: str
    tenant: UUID
    format: Format = Format.OTLP_PROTO
    signal: Signal = Signal.LOGS
    initial_offset: InitialOffset = InitialOffset.EARLIEST
    service: str = ""
    namespace: str = ""
    environment: str = ""
    stream_id_header: str = ""
    stream_id_field: tuple[str, ...] = ()
    timestamp_field: tuple[str, ...] = ()
    message_field: tuple[str, ...] = ()


_NAMES = tuple(each.name for each in fields(Source))
_NEEDED = tuple(each.name for each in fields(Source) if each.default is MISSING)
_OF_LINES = ("service", "namespace", "environment", "stream_id_header")
_OF_JSON = ("stream_id_field", "timestamp_field", "message_field")


def parse_sources(text: str) -> tuple[Source, ...]:
    """Sources of a JSON list of objects. Raises ValueError that says which one is wrong and what to do."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}") from None
    if not (isinstance(found, list) and 0 < len(found) <= SOURCES_MAX and all(isinstance(each, dict) for each in found)):
        raise ValueError(f'use a JSON list of 1 to {SOURCES_MAX} objects, such as [{{"topic": "otlp_logs", "tenant": "..."}}]')
    made = tuple(_source(each, f"source {number}") for number, each in enumerate(found, 1))
    topics = [each.topic for each in made]
    twice = next((topic for topic in topics if topics.count(topic) > 1), None)
    if twice is not None:
        raise ValueError(f"the topic {twice} is there twice: a message belongs to one source")
    return made


def _source(table: dict[str, Any], where: str) -> Source:
    for name, value in table.items():
        if name not in _NAMES:
            nearest = difflib.get_close_matches(name, _NAMES, n=1, cutoff=0.0)[0]
            raise ValueError(f"{where}: {name!r} is not a member; did you mean {nearest!r}?")
        if not isinstance(value, str) or not value or not value.isprintable() or len(value.encode()) > TEXT_BYTES_MAX:
            raise ValueError(f"{where}: {name}: use 1 to {TEXT_BYTES_MAX} bytes of printable text")
    for name in _NEEDED:
        if name not in table:
            raise ValueError(f"{where}: {name} is missing")
    made = Source(**{name: _read(name, value, f"{where}: {name}") for name, value in table.items()})
    foreign = _OF_JSON if made.format is Format.TEXT else (*_OF_LINES, *_OF_JSON) if made.format.otlp else ()
    for name in foreign:
        if name in table:
            raise ValueError(f"{where}: {name} means nothing where format is {made.format}: remove it")
    if not made.format.otlp and made.signal is not Signal.LOGS:
        raise ValueError(f"{where}: signal: messages that are {made.format} are logs")
    if made.format.otlp and "signal" not in table:
        raise ValueError(f"{where}: signal is missing: logs, metrics or traces")
    if not made.format.otlp and not made.service:
        raise ValueError(f"{where}: service is missing: messages that name no stream go there")
    return made


def _read(name: str, text: str, where: str) -> Any:
    readers: dict[str, Callable[[str], object]] = {
        "topic": parse_topic,
        "tenant": _tenant,
        "format": _one_of(Format),
        "signal": _one_of(Signal),
        "initial_offset": _one_of(InitialOffset),
        **dict.fromkeys(_OF_JSON, _steps),
    }
    try:
        return readers.get(name, str)(text)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _one_of(words: type[StrEnum]) -> Callable[[str], StrEnum]:
    def read(text: str) -> StrEnum:
        if text not in list(words):
            raise ValueError(f"use one of {', '.join(words)}")
        return words(text)

    return read


def _tenant(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ValueError("use the tenant's id; see `driftlock tenant list`") from None


def _steps(text: str) -> tuple[str, ...]:
    steps = tuple(text.split("."))
    if not all(steps) or len(steps) > FIELD_STEPS_MAX:
        raise ValueError(f"use at most {FIELD_STEPS_MAX} names joined by dots, such as kubernetes.labels.app")
    return steps
