from array import array
from typing import Final, NamedTuple

NAME_BYTES_READ: Final[int]

class SpanColumns(NamedTuple):
    trace_ids: bytes
    span_ids: bytes
    parent_ids: bytes
    starts_ns: array[int]
    durations_ns: array[int]
    marks: bytes
    operations: array[int]
    names: list[tuple[bytes, int]]

def read_spans(request: bytes, places: list[tuple[int, int]]) -> SpanColumns: ...
