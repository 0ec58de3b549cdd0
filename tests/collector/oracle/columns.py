"""Columns of the streams of one request, filled record by record."""

from array import array
from typing import TypedDict

from collector.otlp.senders import Names
from collector.routing import Route
from driftlock.engine.event import RecordBatch
from driftlock.engine.ports import StreamBatch
from tests.collector.oracle.points import Point

_NO_TRACE = bytes(16)
_NO_SPAN = bytes(8)


class PointFields(TypedDict):
    """Fields of a `RecordBatch` that metric data points have."""

    series: tuple[str, ...]
    series_index: "array[int]"
    values: "array[float]"
    point_kinds: bytes
    starts_ns: "array[int]"
    counts: "array[float]"
    sums: "array[float]"
    shape_sizes: "array[int]"
    shape_at: "array[float]"
    shape: "array[float]"


class StreamColumns:
    """Collects the records of one stream; `batch()` hands them over in the order in which they were added."""

    __slots__ = (
        "_instance_index",
        "_instances",
        "_lengths",
        "_numbers",
        "_route",
        "_spans",
        "_texts",
        "_times",
        "_traces",
    )

    def __init__(self, route: Route, instances_max: int) -> None:
        self._route = route
        self._texts: list[bytes] = []
        self._lengths = array("I")
        self._times = array("Q")
        self._instances = Names(instances_max)
        self._instance_index = array("I")
        self._traces: list[bytes] = []
        self._spans: list[bytes] = []
        self._numbers = PointColumns()

    def add(self, text: bytes, time_ns: int, trace_id: bytes = b"", span_id: bytes = b"") -> None:
        """Append a log record or a span; ids are empty or 16 and 8 bytes."""
        self._texts.append(text)
        self._lengths.append(len(text))
        self._times.append(time_ns)
        self._traces.append(trace_id or _NO_TRACE)
        self._spans.append(span_id or _NO_SPAN)

    def add_point(self, text: bytes, series: str, point: Point) -> None:
        """Append a metric data point of the series of that identity; both texts are as they may be stored."""
        self._texts.append(text)
        self._lengths.append(len(text))
        self._times.append(point.time_ns)
        self._numbers.add(series, point)

    def mark_instance(self, instance: str) -> None:
        """Say which instance sent the records added since the last call ("" = unknown; over the limit they are unknown too)."""
        number = self._instances.number(instance)
        self._instance_index.extend([number] * (len(self._lengths) - len(self._instance_index)))

    def __len__(self) -> int:
        """Number of records so far."""
        return len(self._lengths)

    def batch(self) -> StreamBatch:
        """The records; columns that say nothing are left out."""
        traces, spans = b"".join(self._traces), b"".join(self._spans)
        instances = self._instances.names()
        return StreamBatch(
            self._route.key,
            RecordBatch(
                text=b"".join(self._texts),
                lengths=self._lengths,
                times_ns=self._times,
                historical=self._route.historical,
                instances=instances,
                instance_index=self._instance_index if instances else array("I"),
                trace_ids=traces if any(traces) else b"",
                span_ids=spans if any(spans) else b"",
                **self._numbers.columns(),
            ),
        )


class PointColumns:
    """Series and numbers of metric data points."""

    __slots__ = ("_at", "_counts", "_kinds", "_series", "_series_index", "_shape", "_sizes", "_starts", "_sums", "_values")

    def __init__(self) -> None:
        self._series: dict[str, int] = {}
        self._series_index = array("I")
        self._kinds = bytearray()
        self._starts = array("Q")
        self._values = array("d")
        self._counts = array("d")
        self._sums = array("d")
        self._sizes = array("I")
        self._at = array("d")
        self._shape = array("d")

    def add(self, series: str, point: Point) -> None:
        """Append a point of the series of that identity."""
        self._series_index.append(self._series.setdefault(series, len(self._series) + 1))
        self._kinds.append(point.kind)
        self._starts.append(point.start_ns)
        self._values.append(point.value)
        self._counts.append(point.observations)
        self._sums.append(point.total)
        self._sizes.append(len(point.shape.at))
        self._at.extend(point.shape.at)
        self._shape.extend(point.shape.counts)

    def columns(self) -> PointFields:
        """Fields of a `RecordBatch`; columns that say nothing are empty."""
        return PointFields(
            series=tuple(self._series),
            series_index=self._series_index,
            values=self._values,
            point_kinds=bytes(self._kinds) if any(self._kinds) else b"",
            starts_ns=self._starts if any(self._starts) else array("Q"),
            counts=_told(self._counts),
            sums=_told(self._sums),
            shape_sizes=self._sizes if any(self._sizes) else array("I"),
            shape_at=self._at,
            shape=self._shape,
        )


def _told(numbers: "array[float]") -> "array[float]":
    """The column, empty when it holds nothing but NaN."""
    return numbers if any(number == number for number in numbers) else array("d")
