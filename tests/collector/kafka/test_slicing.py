from array import array

from hypothesis import given
from hypothesis import strategies as st

from collector.kafka.slicing import sliced
from driftlock.engine import records
from driftlock.engine.event import RecordBatch
from tests.collector.kafka.submissions import batches


def told(batch: RecordBatch) -> list[tuple[object, ...]]:
    """What is known of each record, with names instead of their numbers."""

    def named(names: tuple[str, ...], index: "array[int]") -> list[str | None]:
        return [names[number - 1] if number else None for number in index] or [None] * len(batch)

    def column(values: "array[float] | bytes", size: int = 1) -> list[object]:
        return [values[size * at : size * (at + 1)] for at in range(len(batch))]

    ends = [sum(batch.shape_sizes[: at + 1]) for at in range(len(batch))]
    starts = [sum(batch.shape_sizes[:at]) for at in range(len(batch))]
    return list(
        zip(
            batch.lines(),
            batch.times_ns,
            named(batch.instances, batch.instance_index),
            named(batch.series, batch.series_index),
            named(batch.versions, batch.version_index),
            *(column(values) for values in (batch.values, batch.point_kinds, batch.starts_ns, batch.counts, batch.sums)),
            column(batch.durations_ns),
            column(batch.span_marks),
            column(batch.trace_ids, 16),
            column(batch.span_ids, 8),
            column(batch.parent_ids, 8),
            [batch.shape[start:end] for start, end in zip(starts, ends, strict=True)],
            [batch.shape_at[start:end] for start, end in zip(starts, ends, strict=True)],
            strict=True,
        )
    )


@given(batches(), st.data())
def test_slices_hold_the_records_of_the_whole(batch: RecordBatch, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(batch)))
    assert told(sliced(batch, 0, at)) + told(sliced(batch, at, len(batch))) == told(batch)


@given(batches(), st.data())
def test_a_slice_is_a_batch_that_can_be_stored(batch: RecordBatch, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(batch) - 1))
    part = sliced(batch, start, data.draw(st.integers(start + 1, len(batch))))
    assert records.decode(records.encode(part)) == part
    assert (part.historical, part.ncd_threshold) == (batch.historical, batch.ncd_threshold)


def test_names_that_nobody_uses_stay_behind() -> None:
    batch = RecordBatch(
        b"abc", array("I", [1] * 3), array("Q", [0] * 3), series=("x", "y", "z"), series_index=array("I", [3, 1, 2])
    )
    part = sliced(batch, 0, 2)
    assert (part.series, list(part.series_index)) == (("x", "z"), [2, 1])


def test_an_only_version_stays_without_numbers() -> None:
    batch = RecordBatch(b"ab", array("I", [1] * 2), array("Q", [0] * 2), versions=("1.2",))
    assert sliced(batch, 1, 2).versions == ("1.2",)
