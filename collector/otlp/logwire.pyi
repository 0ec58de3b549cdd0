"""Log records of an OTLP request as columns."""

from array import array
from typing import NamedTuple

from collector.otlp.envelope import Envelope
from collector.otlp.limits import OtlpLimits

class LogColumns(NamedTuple):
    text: bytes
    lengths: array[int]
    times_ns: array[int]
    instance_index: array[int]
    trace_ids: bytes
    span_ids: bytes

class LogsRead(NamedTuple):
    columns: list[LogColumns]
    rejected: tuple[int, ...]
    cuts: tuple[int, int, int]
    timed: bool

def read_logs(
    request: bytes | bytearray | memoryview,
    envelope: Envelope,
    streams: array[int],
    instances: array[int],
    streams_count: int,
    limits: OtlpLimits,
) -> LogsRead: ...
