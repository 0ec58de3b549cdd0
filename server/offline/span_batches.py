"""Spans as the engine takes them: a line of their service's stream, and a row of the columns that traces are made of."""

from array import array
from collections.abc import Iterable, Sequence

from driftlock.engine.event import RecordBatch, Signal, StreamKey, trace_stream_key
from server.offline.spans import SPAN_ID_BYTES, TRACE_ID_BYTES, SpanLine

TRACES = trace_stream_key("")
"""The stream in which all spans of a run meet."""


def span_stream(service: str) -> StreamKey:
    """The stream of what a service's spans say.

    >>> span_stream("cart").text
    'traces:cart'
    """
    return StreamKey(Signal.TRACES, service)


def batches_of(spans: Sequence[SpanLine]) -> dict[StreamKey, RecordBatch]:
    """The batch of each service's stream, in the order of their first spans, and of the stream of traces as the last one."""
    by_service: dict[str, list[SpanLine]] = {}
    for span in spans:
        by_service.setdefault(span.service, []).append(span)
    batches = {span_stream(service): lines_batch(some) for service, some in by_service.items()}
    placed = [span for span in spans if span.placed]
    if placed:
        batches[TRACES] = trace_batch(placed)
    return batches


def lines_batch(spans: Sequence[SpanLine]) -> RecordBatch:
    """Spans of one service as lines."""
    instances, instance_index = numbered(span.instance for span in spans)
    return RecordBatch(
        text=b"".join(span.text for span in spans),
        lengths=array("I", (len(span.text) for span in spans)),
        times_ns=array("Q", (span.time_ns for span in spans)),
        instances=instances,
        instance_index=instance_index,
        trace_ids=_ids((span.trace for span in spans), TRACE_ID_BYTES),
        span_ids=_ids((span.span for span in spans), SPAN_ID_BYTES),
    )


def trace_batch(spans: Sequence[SpanLine]) -> RecordBatch:
    """Spans that have a place in a trace, as the compact columns of the stream of traces."""
    instances, instance_index = numbered(span.instance for span in spans)
    operations, operation_index = numbered(span.operation for span in spans)
    return RecordBatch(
        lengths=array("I", bytes(4 * len(spans))),
        times_ns=array("Q", (span.time_ns for span in spans)),
        instances=instances,
        instance_index=instance_index,
        trace_ids=b"".join(span.trace for span in spans),
        span_ids=b"".join(span.span for span in spans),
        parent_ids=b"".join(span.parent.rjust(SPAN_ID_BYTES, b"\0") for span in spans),
        durations_ns=array("Q", (span.duration_ns for span in spans)),
        span_marks=bytes(span.mark for span in spans),
        series=operations,
        series_index=operation_index,
    )


def _ids(ids: Iterable[bytes], size: int) -> bytes:
    """A column of ids, zeros where there is none; b"" where there is none at all."""
    column = b"".join(it.rjust(size, b"\0") for it in ids)
    return column if any(column) else b""


def numbered(uses: Iterable[str]) -> tuple[tuple[str, ...], "array[int]"]:
    """Distinct names in the order of their first use, and for each use the number of its name from 1 on, 0 for none.

    >>> numbered(["pod-1", "", "pod-2", "pod-1"])
    (('pod-1', 'pod-2'), array('I', [1, 0, 2, 1]))
    """
    numbers: dict[str, int] = {"": 0}
    index = array("I", (numbers.setdefault(name, len(numbers)) for name in uses))
    names = tuple(numbers)[1:]
    return names, index if names else array("I")
