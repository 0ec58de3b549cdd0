"""Columns of the streams of one request, filled record by record."""

from array import array

from collector.routing import Route
from driftlock.engine.event import RecordBatch
from driftlock.engine.ports import StreamBatch

_NO_TRACE = bytes(16)
_NO_SPAN = bytes(8)


class StreamColumns:
    """Collects the records of one stream; `batch()` hands them over in the order in which they were added."""

    __slots__ = (
        "_instance_index",
        "_instances",
        "_instances_max",
        "_lengths",
        "_route",
        "_series",
        "_series_index",
        "_spans",
        "_texts",
        "_times",
        "_traces",
        "_values",
    )

    def __init__(self, route: Route, instances_max: int) -> None:
        self._route = route
        self._instances_max = instances_max
        self._texts: list[bytes] = []
        self._lengths = array("I")
        self._times = array("Q")
        self._instances: dict[str, int] = {}
        self._instance_index = array("I")
        self._traces: list[bytes] = []
        self._spans: list[bytes] = []
        self._series: dict[str, int] = {}
        self._series_index = array("I")
        self._values = array("d")

    def add(self, text: bytes, time_ns: int, trace_id: bytes = b"", span_id: bytes = b"") -> None:
        """Append a log record or a span; ids are empty or 16 and 8 bytes."""
        self._texts.append(text)
        self._lengths.append(len(text))
        self._times.append(time_ns)
        self._traces.append(trace_id or _NO_TRACE)
        self._spans.append(span_id or _NO_SPAN)

    def add_point(self, text: bytes, time_ns: int, series: str, value: float) -> None:
        """Append a metric data point of the series of that name; `value` is NaN where the point is not one number."""
        self._texts.append(text)
        self._lengths.append(len(text))
        self._times.append(time_ns)
        self._series_index.append(self._series.setdefault(series, len(self._series) + 1))
        self._values.append(value)

    def mark_instance(self, instance: str) -> None:
        """Say which instance sent the records added since the last call ("" = unknown; over the limit they are unknown too)."""
        index = 0
        if instance and (instance in self._instances or len(self._instances) < self._instances_max):
            index = self._instances.setdefault(instance, len(self._instances) + 1)
        self._instance_index.extend([index] * (len(self._lengths) - len(self._instance_index)))

    def __len__(self) -> int:
        """Number of records so far."""
        return len(self._lengths)

    def batch(self) -> StreamBatch:
        """The records; columns that say nothing are left out."""
        traces, spans = b"".join(self._traces), b"".join(self._spans)
        return StreamBatch(
            self._route.key,
            RecordBatch(
                text=b"".join(self._texts),
                lengths=self._lengths,
                times_ns=self._times,
                historical=self._route.historical,
                instances=tuple(self._instances),
                instance_index=self._instance_index if self._instances else array("I"),
                trace_ids=traces if any(traces) else b"",
                span_ids=spans if any(spans) else b"",
                series=tuple(self._series),
                series_index=self._series_index,
                values=self._values,
            ),
        )
