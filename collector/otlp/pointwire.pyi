from array import array
from typing import Final, NamedTuple

from collector.otlp.limits import OtlpLimits

REASONS: Final[tuple[str, ...]]

class MetricsEnvelope(NamedTuple):
    resources: list[bytes]
    counts: array[int]
    scopes: list[str]
    metrics: array[int]
    replaced: int

class PointColumns(NamedTuple):
    text: bytes
    lengths: array[int]
    times_ns: array[int]
    instance_index: array[int]
    series: list[str]
    shown: array[int]
    series_index: array[int]
    values: array[float]
    point_kinds: bytes
    starts_ns: array[int]
    counts: array[float]
    sums: array[float]
    shape_sizes: array[int]
    shape_at: array[float]
    shape: array[float]

class PointsRead(NamedTuple):
    columns: list[PointColumns]
    rejected: tuple[int, ...]
    messages: tuple[str, ...]
    cuts: tuple[int, int, int]
    timed: bool

def read_metrics(request: bytes, *, records_max: int, containers_max: int, limits: OtlpLimits) -> MetricsEnvelope: ...
def read_points(
    request: bytes,
    envelope: MetricsEnvelope,
    streams: array[int],
    instances: array[int],
    streams_count: int,
    limits: OtlpLimits,
) -> PointsRead: ...
