"""What flows through the engine: streams, and batches of their records in columns."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag, StrEnum


class Signal(StrEnum):
    """The OpenTelemetry signal that a stream carries; part of the stream's key."""

    LOGS = "logs"
    METRICS = "metrics"
    TRACES = "traces"


@dataclass(frozen=True, slots=True, order=True)
class StreamKey:
    """Identity of a stream inside its tenant: events with one key share one past.

    Instance attributes (pod, host) are evidence and never part of it. An explicit stream id
    (`driftlock.stream_id`, REST `stream_id`) is a key whose `service` is that id and whose other parts are empty.
    """

    signal: Signal
    service: str
    namespace: str = ""
    environment: str = ""

    @property
    def text(self) -> str:
        """Canonical form, e.g. `logs:shop/checkout@prod`; seeds are derived from it.

        >>> StreamKey(Signal.LOGS, "checkout", "shop", "prod").text
        'logs:shop/checkout@prod'
        """
        namespace = f"{self.namespace}/" if self.namespace else ""
        environment = f"@{self.environment}" if self.environment else ""
        return f"{self.signal}:{namespace}{self.service}{environment}"


TRACES_SERVICE = "_traces"
"""The service of streams that hold the compact columns of all spans of an environment, whichever service sent them."""


def trace_stream_key(environment: str) -> StreamKey:
    """The stream in which the spans of one environment meet, to be put together to traces.

    >>> trace_stream_key("prod").text
    'traces:_traces@prod'
    """
    return StreamKey(Signal.TRACES, TRACES_SERVICE, "", environment)


class SpanMark(IntFlag):
    """What a byte of `RecordBatch.span_marks` says beside the span's kind, which is in its lowest three bits as in OTLP."""

    KIND = 7  # 0 unspecified, 1 internal, 2 server, 3 client, 4 producer, 5 consumer
    ERROR = 8  # its status is an error
    BACKWARDS = 16  # it ended before it started; its duration counts as 0
    SAMPLED = 32  # the sender says that only a share of all traces is sent


class PointKind(IntEnum):
    """How the number of a metric point is to be read; a byte of `RecordBatch.point_kinds`."""

    GAUGE = 0  # a level: gauges, and cumulative sums that may fall
    DELTA = 1  # what came since the point's start: a monotonic sum
    CUMULATIVE = 2  # what has come since the start of counting: a monotonic sum
    CHANGE = 3  # by how much a level changed since the point's start: a delta sum that may be negative
    HISTOGRAM_DELTA = 4  # observations since the point's start, by bucket
    HISTOGRAM_CUMULATIVE = 5  # observations since the start of counting, by bucket
    SUMMARY = 6  # count and sum since the start of counting, and quantiles as the sender computed them
    STALE = 7  # no number: the sender says that the series ends here


RECORD_BYTES = 96
"""What a record takes at most in the columns of a batch, beside its text and its shape."""
NAME_BYTES = 64
"""What a name takes in a batch beside its letters."""


@dataclass(slots=True)
class RecordBatch:
    """Records of one stream from one request, in their order, as columns.

    `text` holds the canonical UTF-8 of all records one after another, `lengths[i]` its bytes of record i,
    `times_ns[i]` its event time (0 = none). The optional columns are empty or have one entry a record:
    `series` are identities (shown name, then after 0x1f what tells it apart; see `canonical`);
    `instance_index` and `series_index` are 1-based into `instances` and `series` (0 = none), `trace_ids` holds 16 and
    `span_ids` 8 bytes a record, `values` the number of a metric point (NaN where the point is not one number).
    Of metric points `point_kinds` holds a `PointKind` byte a record (b"" = all are gauges), `starts_ns` the start of the
    interval or of counting (0 = unknown), `counts` and `sums` the number of observations and their sum (NaN = not given), and
    `shape_sizes` so many entries of `shape_at` and `shape`: upper bounds of buckets, ascending (the last may be infinite), with
    the observations in each; of a summary its quantiles (0..1) with their values.
    Of spans that are to be put together to traces `parent_ids` holds 8 bytes a record (zeros = a root), `durations_ns` the
    time from start (which is in `times_ns`) to end, `span_marks` a `SpanMark` byte, and `series` their operations: service,
    name and the digit of the kind, separated by 0x1f.
    `versions` are those of the services that sent the records (resource attribute `service.version`), `version_index` is
    1-based into them (0 = none); where it is empty, all records have the only version, if there is one.
    `historical` marks a replay of the past, to which wall-clock records do not apply. Windows that end in these records
    are judged with `ncd_threshold` and `p_value_threshold`; 0.0 = with the stream's own.
    """

    text: bytes = b""
    lengths: "array[int]" = field(default_factory=lambda: array("I"))
    times_ns: "array[int]" = field(default_factory=lambda: array("Q"))
    historical: bool = False
    instances: tuple[str, ...] = ()
    instance_index: "array[int]" = field(default_factory=lambda: array("I"))
    trace_ids: bytes = b""
    span_ids: bytes = b""
    series: tuple[str, ...] = ()
    series_index: "array[int]" = field(default_factory=lambda: array("I"))
    values: "array[float]" = field(default_factory=lambda: array("d"))
    point_kinds: bytes = b""
    starts_ns: "array[int]" = field(default_factory=lambda: array("Q"))
    counts: "array[float]" = field(default_factory=lambda: array("d"))
    sums: "array[float]" = field(default_factory=lambda: array("d"))
    shape_sizes: "array[int]" = field(default_factory=lambda: array("I"))
    shape_at: "array[float]" = field(default_factory=lambda: array("d"))
    shape: "array[float]" = field(default_factory=lambda: array("d"))
    parent_ids: bytes = b""
    durations_ns: "array[int]" = field(default_factory=lambda: array("Q"))
    span_marks: bytes = b""
    ncd_threshold: float = 0.0
    p_value_threshold: float = 0.0
    versions: tuple[str, ...] = ()
    version_index: "array[int]" = field(default_factory=lambda: array("I"))

    def __len__(self) -> int:
        """Number of records."""
        return len(self.lengths)

    @property
    def size_bytes(self) -> int:
        """About what the batch takes in memory."""
        names = sum(NAME_BYTES + len(name) for column in (self.instances, self.series, self.versions) for name in column)
        return len(self.text) + RECORD_BYTES * len(self.lengths) + 16 * len(self.shape) + names

    def lines(self) -> Iterator[bytes]:
        """The canonical bytes of each record."""
        start = 0
        for length in self.lengths:
            yield self.text[start : start + length]
            start += length
