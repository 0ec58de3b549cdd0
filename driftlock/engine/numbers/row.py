"""One journal row of metric points on its way through the fold."""

from array import array
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass

from driftlock.engine.event import RecordBatch
from driftlock.engine.limits import MINUTE_NS, Limits
from driftlock.engine.numbers.absence import IDLE_NS
from driftlock.engine.numbers.columns import (
    Crossing,
    PointColumns,
    crossings,
    own_times,
    series_named,
    series_numbers,
    watermarks,
)
from driftlock.engine.numbers.directory import Entry
from driftlock.engine.numbers.summaries import resource_numbers
from driftlock.engine.window import EventClock, Placed, cut_utf8


@dataclass(frozen=True, slots=True)
class Row:
    """The columns of a row; `marks` are the watermarks after each of its records, or one for all."""

    batch: RecordBatch
    columns: PointColumns
    placed: Placed
    marks: Sequence[int]
    crossings: Sequence[Crossing]
    resources: "array[int]"
    first_event: int
    received_ns: int
    p_value_threshold: float

    @classmethod
    def read(
        cls,
        batch: RecordBatch,
        received_ns: int,
        clock: EventClock,
        *,
        known: MutableMapping[tuple[str, str], int],
        first_event: int,
        p_value_threshold: float,
        future_ns: int,
    ) -> "Row":
        """Place the records of a batch in time; `clock` moves on, `known` remembers numbers of names."""
        before_ns = clock.watermark_ns
        placed = clock.place(batch, received_ns)
        marks = watermarks(placed.times_ns, before_ns)
        times_ns = own_times(batch, placed, received_ns + future_ns)
        return cls(
            batch=batch,
            columns=PointColumns.of(batch, series_numbers(batch, known), times_ns),
            placed=placed,
            marks=marks,
            crossings=crossings(marks, before_ns),
            resources=resource_numbers(batch),
            first_event=first_event,
            received_ns=received_ns,
            p_value_threshold=batch.p_value_threshold or p_value_threshold,
        )

    def mark_ns(self, record: int) -> int:
        """The watermark of the stream after this record."""
        return self.marks[record if len(self.marks) > 1 else 0]

    def closing(self, first: int, last: int) -> list[Crossing]:
        """The minutes that end with records first..last-1."""
        return [crossing for crossing in self.crossings if first <= crossing.index < last]

    def entry(self, record: int, limits: Limits) -> Entry:
        """What to note of the series of this record, its first one."""
        instance, name = series_named(self.batch, record)
        shown = cut_utf8(name.encode(), limits.series_name_bytes_max).decode()
        return Entry(instance, shown, (self.mark_ns(record) // MINUTE_NS + 1) * MINUTE_NS + IDLE_NS)
