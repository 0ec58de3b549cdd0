"""What a stream owes: events a minute, the usual silences between its events, and those of its usual lines."""

from array import array
from typing import Final, NamedTuple, Self, final

LINES_MAX: Final = 32
TEXT_BYTES_MAX: Final = 120
GAPS_MIN: Final = 100
ROWS_MIN: Final = 30
ROWS_SPAN_NS_MIN: Final = 600_000_000_000
SILENCE_NS_MIN: Final = 120_000_000_000
LINE_SPAN_NS_MIN: Final = 7_200_000_000_000
LIVE_LAG_NS_MAX: Final = 50_400_000_000_000
CATCH_UP_MINUTES_MAX: Final = 720
MINUTES_AT_ONCE_MAX: Final = 4096

class Pause(NamedTuple):
    """A silence of the whole stream that its past does not explain, in ns of time.

    `record`, an index in the batch, ended it (-1: none has come). It began with the newest event at `start_ns`.
    `p_value` (0, 1]: share of the stream's silences that last as long, seasons taken into account; `p_value_threshold` is what
    was asked of it, `surprise` the same in bits, and `score` (0, 1) how much more it is than what was asked: 0.5 = just that.
    `expected` events were to be expected in it; so many `silences` of the stream say so.
    """

    record: int
    start_ns: int
    end_ns: int
    p_value: float
    p_value_threshold: float
    score: float
    surprise: float
    expected: float
    silences: int

class Silence(NamedTuple):
    """A usual line that should have come by `time_ns`; `record` is the index in the batch of the record that showed it.

    `text` is the beginning of its masked form, at most TEXT_BYTES_MAX. It came last at `last_ns`, as the stream's event
    `last_event`; `expected` times it should have come since, in `events` events of the stream. Half of its silences are
    shorter than `usual_ns`, the longest of them all lasted `longest_ns`, and there were so many `silences`. The rest as in
    `Pause`; a line that is not quite due, with a `score` below 0.5, is told with one that is: they have one `time_ns`.
    """

    record: int
    time_ns: int
    template: int
    text: bytes
    last_ns: int
    last_event: int
    events: int
    expected: float
    p_value: float
    p_value_threshold: float
    score: float
    surprise: float
    usual_ns: int
    longest_ns: int
    silences: int

class Taken(NamedTuple):
    """What the records up to `stop` (exclusive) showed; call again with `first=stop` until that is the number of records.

    `minutes_ns` are the ends of the minutes that were closed, `counts` their events, `closed_by` the index of the record that
    closed them, `first_event` the stream's event with which the minute began.
    """

    stop: int
    minutes_ns: array[int]
    counts: array[float]
    closed_by: array[int]
    first_event: array[int]
    pauses: list[Pause]
    silences: list[Silence]

@final
class Arrivals:
    """When the events of one stream come, and its usual lines. Not thread safe; no clock. Times in ns since 1970."""

    def __new__(cls) -> Self: ...
    @property
    def events(self) -> int: ...
    @property
    def watermark_ns(self) -> int: ...
    @property
    def due_ns(self) -> int:
        """Wall-clock time from which on nothing having come is improbable; 0: nothing can be said."""
    def heard(self, received_ns: int, *, historical: bool) -> None:
        """A journal row has come, at `received_ns`: call it before `take` of its records."""
    def take(
        self,
        times_ns: array[int],
        templates: array[int] | None = None,
        text: bytes | None = None,
        lengths: array[int] | None = None,
        *,
        historical: bool = False,
        first: int = 0,
    ) -> Taken:
        """Learn from records `first` on, in their order.

        `templates`, with `text` and `lengths` of their masked forms, say which line each one is; None: lines are not told
        apart. ValueError for columns that do not fit.
        """
    def settle(self, received_ns: int, *, historical: bool) -> None:
        """All records of the row are taken: say anew when silence is worth telling."""
    def silence(self, now_ns: int) -> Pause | None:
        """The silence that lasts since the watermark, as of the wall clock; None before `due_ns`. It changes nothing."""
    def forget_lines(self) -> None:
        """Lines are known by other numbers from here on."""
    def parts(self) -> bytes:
        """All that is known: equal pasts give equal bytes."""
    def restore(self, parts: bytes) -> None:
        """Put back what `parts` gave. ValueError for bytes that are damaged or of another version; then nothing changes."""
