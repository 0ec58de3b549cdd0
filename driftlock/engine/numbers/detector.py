"""The fold of a metrics stream: journal records in, findings out. No clock, no I/O; equal records give equal bytes.

records -> place in time -> numbers of series -> `cbad_cy.points` (plain numbers) -> `cbad_cy.series` (alarms) -> findings,
and with each minute of event time that ends: who should have come
"""

import math
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence

from cbad_cy.codec import Codec
from cbad_cy.points import DUPLICATE, FIRST, LATE, NOT_A_NUMBER, STALE, Taken
from cbad_cy.series import LEARNING_POINTS
from cbad_cy.slide import MinuteTold, minutes_of
from driftlock.engine.detector import stream_seed
from driftlock.engine.event import RecordBatch, StreamKey
from driftlock.engine.fold import Abandoned, Summary
from driftlock.engine.lessons import Lessons
from driftlock.engine.limits import MINUTE_NS, Limits
from driftlock.engine.numbers.absence import Absence
from driftlock.engine.numbers.columns import Crossing, derived_name, series_numbers
from driftlock.engine.numbers.disorder import Disorder
from driftlock.engine.numbers.finding import NumberContext, absence_finding, alarm_finding
from driftlock.engine.numbers.level import alarm_level, series_term
from driftlock.engine.numbers.memory import Numbers, SeriesMemory
from driftlock.engine.numbers.row import Row
from driftlock.engine.numbers.trouble import Trouble
from driftlock.engine.presence import Presence
from driftlock.engine.profile import Profile
from driftlock.engine.verdict import Calibration, Finding, Observer, StreamEvent, StreamEventKind
from driftlock.engine.window import EventClock

NAMES_REMEMBERED = 4
"""The numbers of so many times `Limits.series_max` names are remembered, so that they need not be hashed again."""


class NumberDetector:
    """State and fold of one metrics stream (`driftlock.engine.fold.NumberFold`).

    A series is known by the hash of its instance and name. Each point is judged by the past of its own series and at its own
    time. How records are cut into rows changes nothing, nor does which series are in memory. All that is done for every point
    happens in kernels; what is done here is done for every series of a row, every minute of event time, and every finding.
    """

    def __init__(self, key: StreamKey, profile: Profile, seed: int, limits: Limits) -> None:
        self.key = key
        self.profile = profile
        self.seed = stream_seed(seed, key)
        self.limits = limits
        self.clock = EventClock(limits)
        self.lessons = Lessons()
        self.disorder = Disorder()
        self.trouble = Trouble()
        self.events = 0
        self.first_minute = -1  # the minute of event time with which windows are numbered from `offset` on; -1 = none yet
        self.offset = 0
        self.memory = SeriesMemory(limits)
        self.presence = Presence(key.service)
        self.told_calibrated = False
        self.restarted = False  # what was learned by another version can not be compared; to be told with the next record
        self.happened: list[StreamEvent] = []  # since somebody took them
        self._known: dict[tuple[str, str], int] = {}
        self._minutes: list[MinuteTold] = []  # of the newest records; belongs to no state

    # ---- what is known of the stream -----------------------------------------------------------------------------------

    @property
    def windows(self) -> int:
        """Minutes of event time since the first one; the number of the open minute."""
        return self._window(self.clock.watermark_ns)

    @property
    def health(self) -> tuple[Calibration, str]:
        """How far its verdicts may be trusted by now, and why. A series is learned with `LEARNING_POINTS` points."""
        directory = self.memory.directory
        known, learned = directory.looked_at, directory.learned
        said = f"{learned:,} of {known:,} series have the {LEARNING_POINTS} points that make the next ones comparable"
        if trouble := self.trouble.reason:
            return Calibration.DEGRADED, trouble
        if not learned:
            return Calibration.CALIBRATING, said if known else "no series has been seen for long enough"
        return Calibration.OK if self.told_calibrated else Calibration.PROVISIONAL, said

    @property
    def events_until_ready(self) -> int:
        """About so many points of the stream until half of its series are learned; 0 when that has been so.

        As many for each series as the median one lacks, by what was known when they were looked at.
        """
        if self.told_calibrated:
            return 0
        directory = self.memory.directory
        return max(1, directory.points_lacking) * max(1, directory.looked_at or len(directory))

    @property
    def due_ns(self) -> int:
        """The wall-clock time from which on the stream's silence is worth telling; 0 = never."""
        return self.presence.due_ns

    def silence(self, now_ns: int) -> Finding | None:
        """The finding that nothing has come although it should have; None before `due_ns`."""
        context = NumberContext(
            stream=self.key.text,
            profile=self.profile,
            p_value_threshold=self.profile.p_value_threshold,
            seed=self.seed,
            window=self.windows,
            event=max(0, self.events - 1),
            receive_timed=self.clock.receive_timed,
        )
        return self.presence.silence(now_ns, context)

    def number_from(self, windows: int) -> None:
        """Number windows from here on: an earlier state is lost, and with it the minute from which they were counted.

        Minutes are counted since 1970 then, which are more than there can have been.
        """
        self.offset, self.first_minute = windows, 0

    def configure(self, profile: Profile) -> None:
        """Judge by `profile` from the next record on; no number has to be learned anew."""
        self.profile = profile

    def take_events(self) -> tuple[StreamEvent, ...]:
        """What happened since the last call."""
        happened, self.happened = tuple(self.happened), []
        return happened

    def take_summaries(self) -> Sequence[Summary]:
        """The minutes that were closed since the last call."""
        return self.memory.summaries.closed(max(0, self.first_minute), self.offset)

    def take_minutes(self) -> list[MinuteTold]:
        """The minutes of the newest records."""
        told, self._minutes = self._minutes, []
        return told

    # ---- the fold ------------------------------------------------------------------------------------------------------

    def fold(
        self,
        batch: RecordBatch,
        received_ns: int,
        codec: Codec,  # noqa: ARG002 (numbers have a code of their own)
        observer: Observer | None = None,
        abandoned: Callable[[], bool] = lambda: False,
    ) -> list[Finding]:
        """Take the records of one journal row; `received_ns` only bounds which times are believed, and delays who is missing.

        An observer sees the bits of every record, of a histogram those of all that it says. Raises `Abandoned` when
        `abandoned()` says so; then the state is worthless.
        """
        if not len(batch):
            return []
        row = self._row(batch, received_ns)
        self._minutes = minutes_of(row.placed.times_ns)
        bits = array("d", bytes(8 * len(batch))) if observer is not None else None
        findings: list[Finding] = []
        buckets = 0
        for first, last in self._parts(row):
            columns = row.columns.between(first, last, buckets)
            buckets += len(columns.shape_at)
            taken = self.memory.points.take(*columns)
            self.memory.summaries.take(columns.series, taken)
            findings += self._judge(row, taken, first, last, bits, abandoned)
        findings += self.presence.took(
            row.placed.times_ns,
            received_ns,
            historical=batch.historical,
            context_at=lambda record: self._context(row, record, row.mark_ns(record)),
        )
        self.events += len(batch)
        if observer is not None and bits is not None:
            observer.events(row.first_event, row.columns.times_ns, bits)
        findings.sort(key=_order)
        return findings

    def _row(self, batch: RecordBatch, received_ns: int) -> Row:
        if len(self._known) > NAMES_REMEMBERED * self.limits.series_max:
            self._known.clear()
        row = Row.read(
            batch,
            received_ns,
            self.clock,
            self.disorder,
            known=self._known,
            first_event=self.events,
            p_value_threshold=self.profile.p_value_threshold,
            future_ns=self.limits.future_ns,
        )
        if self.first_minute < 0:
            self.first_minute = row.mark_ns(0) // MINUTE_NS
        if self.restarted:
            self.restarted = False
            reason = "it learns anew: another version of the code of numbers gives other numbers"
            self._tell(StreamEventKind.RESTARTED, self.events, row.mark_ns(0), reason)
        return row

    def _parts(self, row: Row) -> Iterator[tuple[int, int]]:
        """Records to be taken at once: before a new series for which there is no room, others are forgotten."""
        series, directory = row.columns.series, self.memory.directory
        fresh = directory.unknown(series)
        if len(fresh) <= directory.room:
            places = dict(zip(reversed(series), range(len(series) - 1, -1, -1), strict=True)) if fresh else {}
            for number in fresh:
                directory.add(number, row.entry(places[number], self.limits))
            self.memory.register(series)
            yield 0, len(series)
            return
        first = 0
        for place, number in enumerate(series):
            if number in directory.entries:
                continue
            if not directory.room:
                if first < place:
                    self.memory.register(series[first:place])
                    yield first, place
                self.memory.forget(max(0, self.first_minute), self.offset)
                first = place
            directory.add(number, row.entry(place, self.limits))
        self.memory.register(series[first:])
        yield first, len(series)

    def _judge(
        self,
        row: Row,
        taken: Taken,
        first: int,
        last: int,
        bits: "array[float] | None",
        abandoned: Callable[[], bool],
    ) -> list[Finding]:
        """Learn what records first..last-1 said, and look at who is missing wherever a minute ends among them."""
        findings: list[Finding] = []
        done, awake, absences = first, first, self.memory.absences
        for crossing in row.closing(first, last):
            self._wake(row, awake, crossing.index)
            awake = crossing.index
            if 0 < absences.first_look() <= crossing.closed_ns:
                findings += self._feed(row, taken, first, done, crossing.index, bits)
                done = crossing.index
                findings += self._look(row, crossing)
            absences.paused(crossing.from_ns, crossing.to_ns)
            if abandoned():
                raise Abandoned
        if abandoned():
            raise Abandoned
        self._wake(row, awake, last)
        return findings + self._feed(row, taken, first, done, last, bits)

    def _feed(self, row: Row, taken: Taken, base: int, first: int, last: int, bits: "array[float] | None") -> list[Finding]:
        """Judge the numbers that records first..last-1 said; `taken` counts its records from `base` on.

        How many series are learned changes only when series are looked at or forgotten, at places that no cut of rows moves.
        """
        self.memory.table.alarm_level = alarm_level(row.p_value_threshold) + series_term(self.memory.directory.learned)
        start, stop = bisect_left(taken.record, first - base), bisect_left(taken.record, last - base)
        records = array("I", [base + record for record in taken.record[start:stop]]) if base else taken.record[start:stop]
        numbers = Numbers(
            taken.series[start:stop],
            taken.times_ns[start:stop],
            taken.values[start:stop],
            array("Q", map(row.resources.__getitem__, records)),
        )
        costs = None if bits is None else array("d", bytes(8 * len(records)))
        findings: list[Finding] = []
        for alarm, place in self.memory.feed(numbers, costs):
            record = records[place]
            entry = self.memory.directory.entries[row.columns.series[record]]
            name = derived_name(entry.name, taken.part[start + place])
            context = self._context(row, record, alarm.time_ns)
            findings.append(alarm_finding(alarm, entry.instance, name, self.memory.table, context))
        if bits is not None and costs is not None:
            for record, cost in zip(records, costs, strict=True):
                bits[record] += cost
        self._ended(row, taken.status, base, first, last)
        self._count(row, taken.status, base, first, last)
        return findings

    def _wake(self, row: Row, first: int, last: int) -> None:
        """Series that have points among records first..last-1 are looked at again."""
        directory = self.memory.directory
        series = row.columns.series if (first, last) == (0, len(row.columns.series)) else row.columns.series[first:last]
        idle = directory.idle(series)
        if not idle:
            return
        places = dict(zip(reversed(series), range(last - 1, first - 1, -1), strict=True))
        for number in sorted(idle):
            place = places[number]
            directory.wake(number, row.look_ns(place), row.lag_ns(place))

    def _count(self, row: Row, status: bytes, base: int, first: int, last: int) -> None:
        """Count the points that say nothing; the first one of a counter can not say more."""
        restarts = []
        at = status.find(FIRST, first - base, last - base)
        while at >= 0:
            entry = self.memory.directory.entries[row.columns.series[base + at]]
            if entry.based:
                restarts.append(base + at)
            entry.based = True
            at = status.find(FIRST, at + 1, last - base)
        while first < last:
            stop = min(last, first + self.trouble.room(row.first_event + first))
            shared = bisect_left(restarts, stop) - bisect_left(restarts, first)
            shared += sum(status.count(bytes((mute,)), first - base, stop - base) for mute in (DUPLICATE, LATE))
            not_finite = status.count(bytes((NOT_A_NUMBER,)), first - base, stop - base)
            self.trouble.count(row.first_event + first, stop - first, shared, not_finite)
            first = stop

    def _ended(self, row: Row, status: bytes, base: int, first: int, last: int) -> None:
        """Series that said themselves that they end are not missing."""
        at = status.find(STALE, first - base, last - base)
        while at >= 0:
            self.memory.absences.ended(row.columns.series[base + at], row.columns.times_ns[base + at])
            at = status.find(STALE, at + 1, last - base)

    def _look(self, row: Row, crossing: Crossing) -> list[Finding]:
        """A minute ended with the record at this crossing: tell who should have come."""
        directory = self.memory.directory
        absences = self.memory.absences.look(crossing.closed_ns, row.received_ns, historical=row.batch.historical)
        if not self.told_calibrated and 0 < directory.looked_at <= 2 * directory.learned:
            self.told_calibrated = True
            self._tell(StreamEventKind.CALIBRATED, row.first_event + crossing.index, crossing.from_ns, self.health[1])
        return [self._absent(row, crossing, absence) for absence in absences]

    def _absent(self, row: Row, crossing: Crossing, absence: Absence) -> Finding:
        context = self._context(row, crossing.index, crossing.closed_ns - 1)
        return absence_finding(absence, round(-math.log2(absence.p_value), 6), context)

    def _context(self, row: Row, record: int, time_ns: int) -> NumberContext:
        """What a finding has to know that this record brought, about a point at `time_ns`."""
        mark_ns = row.mark_ns(record)
        return NumberContext(
            stream=self.key.text,
            profile=self.profile,
            p_value_threshold=row.p_value_threshold,
            seed=self.seed,
            window=self._window(min(mark_ns, max(time_ns, mark_ns - self.limits.lateness_ns))),
            event=row.first_event + record,
            receive_timed=self.clock.receive_timed,
        )

    def _window(self, time_ns: int) -> int:
        return self.offset + (max(0, time_ns // MINUTE_NS - self.first_minute) if self.first_minute >= 0 else 0)

    def _tell(self, kind: StreamEventKind, event: int, time_ns: int, reason: str) -> None:
        self.happened.append(StreamEvent(kind, event, self._window(time_ns), time_ns, reason))

    # ---- which series are in memory ------------------------------------------------------------------------------------

    def absent(self, batch: RecordBatch) -> list[int]:
        """Numbers of the series of `batch` that are known but not held in memory, ascending, each once."""
        return self.memory.absent(series_numbers(batch, self._known))

    def admit(self, states: Mapping[int, bytes]) -> None:
        """Take back series that were `absent`; one that can not be read begins anew, and so does one that is not given."""
        self.memory.admit(states)

    def unsaved(self) -> dict[int, bytes]:
        """The states of the series that changed since they were last asked for; from here on they count as saved."""
        return self.memory.unsaved()

    def forgotten(self) -> tuple[int, ...]:
        """Series that were dropped for good since the last call, because the stream had too many."""
        return self.memory.forgotten()

    def evict(self, series_max: int) -> None:
        """Let series leave memory, the longest unseen first, until at most `series_max` are held; unsaved ones stay."""
        self.memory.evict(series_max)


def _order(finding: Finding) -> tuple[int, str, str, str, int]:
    """By record, and those of one record in an order that neither cuts nor kernels change."""
    of = finding.series[0] if finding.series else None
    named = ("", "") if of is None else (of.instance, of.series)
    return finding.last_event, finding.question.value, *named, finding.end_ns
