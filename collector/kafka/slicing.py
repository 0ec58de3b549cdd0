"""A run of records out of a batch, as a batch of its own."""

from array import array
from typing import Any

from driftlock.engine.event import RecordBatch

TRACE_ID_BYTES, SPAN_ID_BYTES = 16, 8


def sliced(batch: RecordBatch, start: int, stop: int) -> RecordBatch:
    """Records `start` up to `stop`, exclusive, with the names that they use, in the order of the whole batch's names."""
    text_start, text_stop = sum(batch.lengths[:start]), sum(batch.lengths[:stop])
    shape_start, shape_stop = sum(batch.shape_sizes[:start]), sum(batch.shape_sizes[:stop])
    instances, instance_index = _named(batch.instances, batch.instance_index[start:stop])
    series, series_index = _named(batch.series, batch.series_index[start:stop])
    versions, version_index = _named(batch.versions, batch.version_index[start:stop])
    return RecordBatch(
        text=batch.text[text_start:text_stop],
        lengths=batch.lengths[start:stop],
        times_ns=batch.times_ns[start:stop],
        historical=batch.historical,
        instances=instances,
        instance_index=instance_index,
        trace_ids=batch.trace_ids[TRACE_ID_BYTES * start : TRACE_ID_BYTES * stop],
        span_ids=batch.span_ids[SPAN_ID_BYTES * start : SPAN_ID_BYTES * stop],
        series=series,
        series_index=series_index,
        values=batch.values[start:stop],
        point_kinds=batch.point_kinds[start:stop],
        starts_ns=batch.starts_ns[start:stop],
        counts=batch.counts[start:stop],
        sums=batch.sums[start:stop],
        shape_sizes=batch.shape_sizes[start:stop],
        shape_at=batch.shape_at[shape_start:shape_stop],
        shape=batch.shape[shape_start:shape_stop],
        parent_ids=batch.parent_ids[SPAN_ID_BYTES * start : SPAN_ID_BYTES * stop],
        durations_ns=batch.durations_ns[start:stop],
        span_marks=batch.span_marks[start:stop],
        ncd_threshold=batch.ncd_threshold,
        p_value_threshold=batch.p_value_threshold,
        versions=versions,
        version_index=version_index,
    )


def _named(names: tuple[str, ...], index: "array[Any]") -> tuple[tuple[str, ...], "array[Any]"]:
    """The names that 1-based numbers mean, without the others; all of them where there are no numbers."""
    if not index:
        return names, index
    used = sorted(set(index) - {0})
    if len(used) == len(names):
        return names, index
    numbers = {old: new for new, old in enumerate(used, 1)}
    numbers[0] = 0
    return tuple(names[old - 1] for old in used), array(index.typecode, map(numbers.__getitem__, index))
