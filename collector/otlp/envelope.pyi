"""Resources of an OTLP request and the places of their records: logs and spans."""

from array import array
from typing import NamedTuple

class Envelope(NamedTuple):
    resources: list[bytes]
    counts: array[int]
    places: array[int]

def read_envelope(request: bytes | bytearray | memoryview, *, records_max: int, containers_max: int, what: str) -> Envelope: ...
