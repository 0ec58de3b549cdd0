"""What every kind of stream fold can do: the fold of lines (logs, spans) and the fold of numbers (metrics)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cbad_cy.codec import Codec
from cbad_cy.slide import MinuteTold
from driftlock.engine.event import RecordBatch, StreamKey
from driftlock.engine.evidence import SeriesEvidence
from driftlock.engine.lessons import Lessons
from driftlock.engine.profile import Profile
from driftlock.engine.verdict import Calibration, Finding, Observer, StreamEvent
from driftlock.engine.window import EventClock


class Abandoned(Exception):
    """Nobody wants the results of this fold any more."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What the series of one resource said in one minute of event time: how a tenant learns of weak evidence in many.

    `minute` counts minutes since 1970, `window` numbers it in the stream as findings do, `resource` is the instance ("" =
    unknown). `points` were taken from `series` series, of which `odd` were unusual. `digits` is what `cbad_cy.pooled` adds up:
    -log10 p of each of them beyond half a digit, three digits each at most. `strongest` are the unusual ones, the strongest
    first, at most `SUMMARY_SERIES_MAX`; none where `digits` is small, for then nobody asks.
    """

    minute: int
    window: int
    resource: str
    points: int
    series: int
    odd: int
    digits: float
    strongest: tuple[SeriesEvidence, ...]


SUMMARY_SERIES_MAX = 5


class StreamFold(Protocol):
    """State and fold of one stream: journal records in, findings out. No clock, no I/O; equal records give equal bytes.

    `lessons` are what people have taught it: they change nothing of what it says, only who is told of it.
    """

    key: StreamKey
    profile: Profile
    clock: EventClock
    lessons: Lessons

    @property
    def events(self) -> int:
        """Events folded."""
        ...

    @property
    def windows(self) -> int:
        """Windows evaluated, of numbers minutes of event time; also the number of the next one. It never falls."""
        ...

    @property
    def health(self) -> tuple[Calibration, str]:
        """How far its verdicts may be trusted by now, and why."""
        ...

    @property
    def events_until_ready(self) -> int:
        """Events until verdicts are calibrated; 0 when they are."""
        ...

    @property
    def due_ns(self) -> int:
        """The wall-clock time from which on the stream's silence is worth telling; 0 = never. Only records change it."""
        ...

    def number_from(self, windows: int) -> None:
        """Number windows, and whatever else findings are known by, from here on: an earlier state is lost."""
        ...

    def configure(self, profile: Profile) -> None:
        """Judge by `profile` from the next record on."""
        ...

    def fold(
        self,
        batch: RecordBatch,
        received_ns: int,
        codec: Codec,
        observer: Observer | None = None,
        abandoned: Callable[[], bool] = lambda: False,
    ) -> list[Finding]:
        """Take the records of one journal row; raises `Abandoned` before the next finding when `abandoned()` says so."""
        ...

    def silence(self, now_ns: int) -> Finding | None:
        """The finding that nothing has come although it should have, by a journaled clock; None before `due_ns`.

        A question only: it changes nothing, and gives the same finding id until there are records again.
        """
        ...

    def take_events(self) -> tuple[StreamEvent, ...]:
        """What happened to its baseline or calibration since the last call."""
        ...

    def take_summaries(self) -> Sequence[Summary]:
        """The minutes that were closed since the last call, in ascending order; none for streams of lines."""
        ...

    def take_minutes(self) -> Sequence[MinuteTold]:
        """The minutes of event time of the records that came since the last call, and how windows that ended there scored."""
        ...


class NumberFold(StreamFold, Protocol):
    """The fold of a metrics stream. The states of its series are kept one by one, so that idle ones need not be in memory.

    Which series are in memory changes no verdict: a series is saved before it leaves, and given back before it is needed.
    """

    def absent(self, batch: RecordBatch) -> list[int]:
        """Numbers of the series of `batch` that the fold knows but does not hold in memory, ascending, each once."""
        ...

    def admit(self, states: Mapping[int, bytes]) -> None:
        """Take back series that were `absent`; one that can not be read begins anew, and so does one that is not given."""
        ...

    def unsaved(self) -> dict[int, bytes]:
        """The states of the series that changed since they were last asked for; from here on they count as saved."""
        ...

    def forgotten(self) -> tuple[int, ...]:
        """Series that were dropped for good since the last call, because the stream had too many."""
        ...

    def evict(self, series_max: int) -> None:
        """Let series leave memory, the longest unseen first, until at most `series_max` are held; unsaved ones stay."""
        ...


@dataclass(frozen=True, slots=True)
class GraphEdge:
    """Calls from one service to another, as spans told them: how many, how many failed, and how long they took.

    `p50_s` and `p99_s` are quantiles of the duration as the caller saw it, in seconds, of the recent past; times are event
    times of the first and the newest call, in ns. `caller` is "" where traces begin.
    """

    caller: str
    callee: str
    calls: int
    errors: int
    p50_s: float
    p99_s: float
    first_ns: int
    last_ns: int


class TraceFold(StreamFold, Protocol):
    """The fold of a stream of spans that are put together to traces. It is never called silent.

    What it waits for, spans that are still to come, may never come: a row with the time, among the stream's own, ends that.
    """

    @property
    def closes_ns(self) -> int:
        """The wall-clock time from which on a row with the time closes an open trace; 0 = none will."""
        ...

    def pass_time(self, now_ns: int) -> list[Finding]:
        """Take a row that says what time it is: traces that are idle by then are closed and judged."""
        ...

    def graph(self) -> Sequence[GraphEdge]:
        """The service graph as it is known, by caller and callee."""
        ...
