from array import array
from typing import Final, NamedTuple

from collector.otlp.envelope import Envelope
from collector.otlp.limits import OtlpLimits

NAME_BYTES_READ: Final[int]

class SpanTexts(NamedTuple):
    text: bytes
    lengths: array[int]
    times_ns: array[int]
    instance_index: array[int]
    trace_ids: bytes
    span_ids: bytes

class SpanColumns(NamedTuple):
    trace_ids: bytes
    span_ids: bytes
    parent_ids: bytes
    starts_ns: array[int]
    durations_ns: array[int]
    marks: bytes
    operations: array[int]
    names: list[tuple[int, bytes, int]]
    resources: array[int]
    counts: array[int]

class SpansRead(NamedTuple):
    columns: list[SpanTexts]
    traces: list[SpanColumns]
    rejected: tuple[int, ...]
    cuts: tuple[int, int, int]
    timed: bool

def read_spans(
    request: bytes,
    envelope: Envelope,
    streams: array[int],
    instances: array[int],
    streams_count: int,
    environments: array[int],
    services: array[int],
    environments_count: int,
    limits: OtlpLimits,
) -> SpansRead: ...
