"""A tenant without a server: the engine's own folds of streams and of incidents, over records in the order of their times.

The wall clock of such a run is its event time: records are received when they happened, and the clock is written down at every
`DispatchLimits.clock_period_ns` of event time while something waits for it, as a server's is. So incidents open and end at the
event times at which a server that runs all the while would have told them, but for the way from the sender to it. Streams that
fall silent are not told: the end of a file is no silence.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cbad_cy.codec import Codec
from driftlock.engine.correlation.correlator import Correlator, latest
from driftlock.engine.correlation.flag import Flag
from driftlock.engine.detector import Detector
from driftlock.engine.event import RecordBatch, StreamKey
from driftlock.engine.folding import END, Folder, Resident
from driftlock.engine.kinds import Kinds
from driftlock.engine.limits import DispatchLimits, Limits
from driftlock.engine.offline import TENANT_ID, stream_id_of
from driftlock.engine.ports import FindingRow, IncidentRow, JournalRow, RowKind
from driftlock.engine.profile import Profile
from driftlock.engine.records import encode_clock
from driftlock.engine.traces.detector import TraceDetector
from driftlock.engine.traces.observer import TraceObserver
from driftlock.engine.verdict import Finding, Observer
from driftlock.errors import Internal

ObserverOf = Callable[[StreamKey], Observer | None]


@dataclass(frozen=True, slots=True)
class Told:
    """What came of one row: findings, and incidents that changed, each in its last form, when it was `time_ns`."""

    time_ns: int
    findings: tuple[FindingRow, ...]
    incidents: tuple[IncidentRow, ...]


def unwatched(_key: StreamKey) -> Observer | None:
    """Nobody looks at what streams compute besides their findings."""
    return None


class OfflineTenant:
    """All streams of one run, whatever their signals, under one profile, and their incidents.

    `take` batches in the order of event time; how records are cut into batches changes no finding. `observer_of` says who
    watches a stream of lines, `traces` sees each trace that is closed, and `counts` says which findings make incidents.
    """

    def __init__(
        self,
        profile: Profile,
        *,
        seed: int,
        limits: Limits,
        observer_of: ObserverOf = unwatched,
        traces: TraceObserver | None = None,
        counts: Callable[[Flag], bool] = lambda _: True,
    ) -> None:
        self._profile, self._seed, self._limits = profile, seed, limits
        self._kinds, self._folder = Kinds(seed, limits), Folder(seed, limits, _impossible)
        self._correlator = Correlator(TENANT_ID, limits)
        self._observer_of, self._traces, self._counts = observer_of, traces, counts
        self._period_ns = DispatchLimits().clock_period_ns
        self._residents: dict[StreamKey, Resident] = {}
        self._seq = 0
        self.now_ns = 0

    def resident(self, key: StreamKey) -> Resident:
        """A stream, which exists from when it is first asked for."""
        known = self._residents.get(key)
        if known is None:
            observer = self._observer_of(key)
            fold = self._kinds.fresh(key, self._profile)
            if observer is not None:
                fold = _Watched(key, self._profile, self._seed, self._limits, observer)
            if isinstance(fold, TraceDetector):
                fold.observer = self._traces
            known = self._residents[key] = Resident(TENANT_ID, stream_id_of(key), fold, 0, saved_ns=0)
        return known

    def set_budget(self, alerts_per_day_max: int) -> None:
        """Let so many incidents alert in any 24 hours from here on."""
        self._correlator.set_budget(alerts_per_day_max)

    @property
    def residents(self) -> tuple[Resident, ...]:
        """The streams by now."""
        return tuple(self._residents.values())

    def take(self, key: StreamKey, batch: RecordBatch, now_ns: int) -> list[Told]:
        """Fold records of a stream, received at `now_ns`, which never steps back; before them the clock goes on to then."""
        told = self.pass_time(now_ns)
        if len(batch):
            self._seq += 1
            self.resident(key).decoded[self._seq] = batch
            told.append(self._told(*self._fold(key, RowKind.RECORDS, b"")))
        return told

    def pass_time(self, now_ns: int) -> list[Told]:
        """Let it become `now_ns`: what each clock record until then brought."""
        told = []
        while self.now_ns and (tick_ns := self._next_tick_ns()) <= now_ns:
            told.append(self._tick(tick_ns))
        self.now_ns = max(self.now_ns, now_ns)
        return told

    def finish(self) -> list[Told]:
        """Nothing comes any more: traces that are still open are closed, and every finding is given to an incident."""
        told = []
        while closes_ns := self._closes_ns():
            told.append(self._tick(max(self.now_ns, closes_ns) // self._period_ns * self._period_ns + self._period_ns))
        told.append(self._tick(self.now_ns + self._limits.bucket_ns + self._limits.bucket_grace_ns + self._period_ns))
        return told

    def _next_tick_ns(self) -> int:
        """When the next clock record is due; far away where nothing waits for one."""
        tick_ns = self.now_ns // self._period_ns * self._period_ns + self._period_ns
        if self._correlator.waiting_at(tick_ns):
            return tick_ns
        due_ns = [it for it in (self._closes_ns(), self._correlator.first_due_ns()) if it]
        return max(tick_ns, -(-min(due_ns) // self._period_ns) * self._period_ns) if due_ns else END

    def _closes_ns(self) -> int:
        """The time from which on some trace is over; 0 if none is open."""
        folds = (resident.fold for resident in self._residents.values())
        return min((fold.closes_ns for fold in folds if isinstance(fold, TraceDetector) and fold.closes_ns), default=0)

    def _tick(self, now_ns: int) -> Told:
        """A clock record: what it brings to streams whose traces are over, and then to incidents."""
        self.now_ns = now_ns
        findings: list[FindingRow] = []
        incidents: list[IncidentRow] = []
        for key, resident in self._residents.items():
            fold = resident.fold
            if isinstance(fold, TraceDetector) and 0 < fold.closes_ns <= now_ns:
                self._seq += 1
                found, changed = self._fold(key, RowKind.TIME, encode_clock(now_ns))
                findings += found
                incidents += changed
        if self._correlator.waiting_at(now_ns):
            self._correlator.give_up(now_ns)
            incidents += self._correlator.clock(now_ns)
            findings += self._correlator.take_findings()
        return self._told(findings, incidents)

    def _fold(self, key: StreamKey, kind: RowKind, body: bytes) -> tuple[list[FindingRow], list[IncidentRow]]:
        """Fold the row `self._seq` of a stream, and give what comes of it to the tenant's fold."""
        resident = self.resident(key)
        row = JournalRow(self._seq, kind, self.now_ns, body, TENANT_ID, resident.stream_id, key)
        findings: list[FindingRow] = []
        incidents: list[IncidentRow] = []
        for entry in self._folder.fold(resident, [row]).values():
            findings += entry.findings
            flags = filter(self._counts, entry.flags)
            incidents += self._correlator.derived(entry.stream_id, entry.progress, flags, entry.summaries)
            findings += self._correlator.take_findings()
        return findings, incidents

    def _told(self, findings: Sequence[FindingRow], incidents: Sequence[IncidentRow]) -> Told:
        return Told(self.now_ns, tuple(findings), tuple(latest(incidents)))


class _Watched(Detector):
    """The fold of a stream of lines under somebody's eyes, which changes no verdict."""

    def __init__(self, key: StreamKey, profile: Profile, seed: int, limits: Limits, observer: Observer) -> None:
        super().__init__(key, profile, seed, limits)
        self._observer = observer

    def fold(
        self,
        batch: RecordBatch,
        received_ns: int,
        codec: Codec,
        observer: Observer | None = None,
        abandoned: Callable[[], bool] = lambda: False,
    ) -> list[Finding]:
        """See `Detector.fold`."""
        return super().fold(batch, received_ns, codec, observer or self._observer, abandoned)


def _impossible(fault: str) -> None:
    """Rows of a run are its own: none can be damaged."""
    raise Internal(fault)
