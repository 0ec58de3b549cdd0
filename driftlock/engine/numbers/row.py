"""One journal row of metric points on its way through the fold."""

from array import array
from bisect import bisect_left
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass

from driftlock.engine.canonical import shown_name
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
from driftlock.engine.numbers.disorder import Disorder
from driftlock.engine.numbers.summaries import resource_numbers
from driftlock.engine.window import EventClock, Placed, cut_utf8


@dataclass(frozen=True, slots=True)
class Row:
    """The columns of a row; `marks` are the watermarks after each record or one for all, `opened` the open minutes."""

    batch: RecordBatch
    columns: PointColumns
    placed: Placed
    marks: Sequence[int]
    opened: Sequence[int]
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
        disorder: Disorder,
        *,
        known: MutableMapping[tuple[str, str], int],
        first_event: int,
        p_value_threshold: float,
        future_ns: int,
    ) -> "Row":
        """Place the records of a batch in time; `clock` and `disorder` move on, `known` remembers numbers of names."""
        before_ns, open_before = clock.watermark_ns, disorder.open_minute
        placed = clock.place(batch, received_ns)
        marks = watermarks(placed.times_ns, before_ns)
        times_ns = own_times(batch, placed, received_ns + future_ns)
        opened = disorder.opened(marks, times_ns, before_ns, historical=batch.historical)
        return cls(
            batch=batch,
            columns=PointColumns.of(batch, series_numbers(batch, known), times_ns),
            placed=placed,
            marks=marks,
            opened=opened,
            crossings=crossings(marks, opened, before_ns, open_before),
            resources=resource_numbers(batch),
            first_event=first_event,
            received_ns=received_ns,
            p_value_threshold=batch.p_value_threshold or p_value_threshold,
        )

    def mark_ns(self, record: int) -> int:
        """The watermark of the stream after this record."""
        return self.marks[record if len(self.marks) > 1 else 0]

    def closing(self, first: int, last: int) -> Sequence[Crossing]:
        """The minutes that end with records first..last-1."""
        start, stop = (bisect_left(self.crossings, record, key=lambda crossing: crossing.index) for record in (first, last))
        return self.crossings[start:stop]

    def look_ns(self, record: int) -> int:
        """By when a series that has this record is looked at."""
        return self.mark_ns(record) // MINUTE_NS * MINUTE_NS + IDLE_NS

    def lag_ns(self, record: int) -> int:
        """How far this record is behind its stream, beyond what is waited for anyway."""
        mark_ns = self.mark_ns(record)
        opened = self.opened[record if len(self.opened) > 1 else 0]
        return max(0, opened * MINUTE_NS + mark_ns % MINUTE_NS - self.columns.times_ns[record])

    def entry(self, record: int, limits: Limits) -> Entry:
        """What to note of the series of this record, its first one."""
        instance, name = series_named(self.batch, record)
        shown = cut_utf8(shown_name(name).encode(), limits.series_name_bytes_max).decode()
        return Entry(instance, shown, self.look_ns(record))
