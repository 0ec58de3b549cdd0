"""The newest events of a stream: texts for the eye, masked forms for the codec, and the event time of each."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from cbad_cy.columns import ascending
from driftlock.engine.event import RecordBatch
from driftlock.engine.limits import Limits


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a window. `late`: its own time was not believed. `receive_timed`: it stands at its receive time."""

    text: bytes
    masked: bytes
    time_ns: int
    late: bool = False
    receive_timed: bool = False
    instance: str = ""
    trace_id: bytes = b""


@dataclass(frozen=True, slots=True)
class Placed:
    """Event times of records in ns; one byte a record says which are late or stand at their receive time, b"" that none is."""

    times_ns: "array[int]"
    late: bytes = b""
    receive_timed: bytes = b""


@dataclass(frozen=True)
class Incoming:
    """The records of one batch on their way into the window: as columns, of which only few ever become `Event`s."""

    text: bytes
    lengths: "array[int]"
    masked: bytes
    masked_lengths: "array[int]"
    slots: "array[int]"
    slot_counts: "array[int]"
    placed: Placed
    batch: RecordBatch

    def __len__(self) -> int:
        """Number of records."""
        return len(self.lengths)

    @cached_property
    def _stops(self) -> Sequence[int]:
        return list(accumulate(self.lengths))

    @cached_property
    def _masked_stops(self) -> Sequence[int]:
        return list(accumulate(self.masked_lengths))

    def events(self, first: int, last: int) -> list[Event]:
        """Records first..last-1."""
        batch, placed, stops, masked_stops = self.batch, self.placed, self._stops, self._masked_stops
        events = []
        for number in range(first, last):
            index = batch.instance_index[number] if batch.instance_index else 0
            events.append(
                Event(
                    text=self.text[stops[number] - self.lengths[number] : stops[number]],
                    masked=self.masked[masked_stops[number] - self.masked_lengths[number] : masked_stops[number]],
                    time_ns=placed.times_ns[number],
                    late=bool(placed.late and placed.late[number]),
                    receive_timed=bool(placed.receive_timed and placed.receive_timed[number]),
                    instance=batch.instances[index - 1] if index else "",
                    trace_id=batch.trace_ids[16 * number : 16 * number + 16],
                )
            )
        return events

    def newest(self, count: int) -> "Incoming":
        """The last `count` records, without what their batch says beside them. At most as many as there are."""
        lengths, masked_lengths, batch = self.lengths[-count:], self.masked_lengths[-count:], self.batch
        return Incoming(
            self.text[len(self.text) - sum(lengths) :],
            lengths,
            self.masked[len(self.masked) - sum(masked_lengths) :],
            masked_lengths,
            array("I"),
            array("I"),
            Placed(self.placed.times_ns[-count:], self.placed.late[-count:], self.placed.receive_timed[-count:]),
            RecordBatch(
                instances=batch.instances,
                instance_index=batch.instance_index[-count:],
                trace_ids=batch.trace_ids[-16 * count :],
            ),
        )


def event_share(size: int, limits: Limits) -> int:
    """Bytes that every event of a window of `size` events may have, however long its neighbours are."""
    return min(limits.window_bytes_max // size, limits.event_bytes_max)


def cut_lines(lines: Sequence[bytes], held: Sequence[int], size: int, limits: Limits) -> list[bytes]:
    """The lines, each cut to what it may keep.

    An event may use what the window has left, and always its fair share of `window_bytes_max`. `held` are the bytes of the
    events now in the window, oldest first; the rule depends on nothing else, so batch sizes do not change it.
    """
    share = limits.window_bytes_max // size
    kept = list(held)
    used = sum(kept)
    cut = []
    for line in lines:
        if len(kept) >= size:
            used -= kept[len(kept) - size]
        cut.append(cut_utf8(line, min(limits.event_bytes_max, max(share, limits.window_bytes_max - used))))
        kept.append(len(cut[-1]))  # what is kept, not what was allowed: the next batch will count the same
        used += kept[-1]
    return cut


def cut_utf8(line: bytes, length: int) -> bytes:
    """The first `length` bytes, less a UTF-8 character that would be cut in two."""
    if length >= len(line):
        return line
    while length > 0 and line[length] & 0xC0 == 0x80:
        length -= 1
    return line[:length]


class EventClock:
    """The monotone watermark of a stream, and the rule for times that can not be believed.

    A record's own time counts when it lies in [watermark - lateness, receive time + future]; else it is scored at the
    watermark and counted as late. A record without a time is scored at its receive time, in a replay at the watermark.
    """

    def __init__(self, limits: Limits) -> None:
        self._lateness_ns = limits.lateness_ns
        self._future_ns = limits.future_ns
        self.watermark_ns = 0
        self.first_event_ns = 0
        self.late_events = 0
        self.receive_timed = False  # did any record stand at its receive time?

    def place(self, batch: RecordBatch, received_ns: int) -> Placed:
        """Where the records stand in time."""
        times = batch.times_ns
        if not times:
            return Placed(times)
        if self._believed(times, received_ns + self._future_ns):
            self.watermark_ns = max(self.watermark_ns, max(times))
            self.first_event_ns = self.first_event_ns or times[0]
            return Placed(times)
        late, receive_timed = bytearray(len(times)), bytearray(len(times))
        placed = array("Q", times)
        for number, time_ns in enumerate(times):
            placed[number], late[number], receive_timed[number] = self._place(time_ns, received_ns, batch.historical)
        self.first_event_ns = self.first_event_ns or placed[0]
        self.receive_timed = self.receive_timed or any(receive_timed)
        return Placed(placed, bytes(late) if any(late) else b"", bytes(receive_timed) if any(receive_timed) else b"")

    def _believed(self, times: "array[int]", latest_ns: int) -> bool:
        """Whether it can be seen without looking at one after another that all these times count."""
        earliest = max(1, self.watermark_ns - self._lateness_ns)
        if times[0] >= earliest and times[-1] <= latest_ns and ascending(times):
            return True
        newest = max(times)  # in any order: none is far behind the newest of all
        return min(times) >= max(1, max(self.watermark_ns, newest) - self._lateness_ns) and newest <= latest_ns

    def _place(self, time_ns: int, received_ns: int, historical: bool) -> tuple[int, bool, bool]:
        """Time in ns, whether it is late, and whether it is the receive time."""
        late = receive_timed = False
        if time_ns == 0 and historical:
            time_ns = max(self.watermark_ns, 1)
        elif time_ns == 0:
            time_ns, receive_timed = max(self.watermark_ns, received_ns), True
        elif not self.watermark_ns - self._lateness_ns <= time_ns <= received_ns + self._future_ns:
            self.late_events += 1
            late, receive_timed = True, self.watermark_ns == 0
            time_ns = self.watermark_ns or received_ns
        self.watermark_ns = max(self.watermark_ns, time_ns)
        return time_ns, late, receive_timed
