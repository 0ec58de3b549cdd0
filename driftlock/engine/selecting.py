"""Some records out of a batch, as a batch of its own."""

from array import array
from collections.abc import Sequence
from typing import Any

from driftlock.engine.event import RecordBatch

TRACE_ID_BYTES, SPAN_ID_BYTES = 16, 8


def selected(batch: RecordBatch, numbers: Sequence[int]) -> RecordBatch:
    """Records of logs by number, ascending, with all names of the batch.

    Raises ValueError for metric points and for columns of traces.

    >>> batch = RecordBatch(text=b"abc", lengths=array("I", [1, 1, 1]), times_ns=array("Q", [7, 8, 9]))
    >>> list(selected(batch, [0, 2]).lines())
    [b'a', b'c']
    """
    if batch.series or batch.durations_ns:
        raise ValueError("only records of logs are selected")
    lines = list(batch.lines())
    return RecordBatch(
        text=b"".join(lines[number] for number in numbers),
        lengths=_picked(batch.lengths, numbers),
        times_ns=_picked(batch.times_ns, numbers),
        historical=batch.historical,
        instances=batch.instances,
        instance_index=_picked(batch.instance_index, numbers),
        trace_ids=_pieces(batch.trace_ids, numbers, TRACE_ID_BYTES),
        span_ids=_pieces(batch.span_ids, numbers, SPAN_ID_BYTES),
        ncd_threshold=batch.ncd_threshold,
        p_value_threshold=batch.p_value_threshold,
        versions=batch.versions,
        version_index=_picked(batch.version_index, numbers),
    )


def _picked(column: "array[Any]", numbers: Sequence[int]) -> "array[Any]":
    return array(column.typecode, [column[number] for number in numbers] if column else [])


def _pieces(column: bytes, numbers: Sequence[int], size: int) -> bytes:
    return b"".join(column[size * number : size * (number + 1)] for number in numbers) if column else b""
