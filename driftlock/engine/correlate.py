"""The fold of a tenant: what its streams' folds emit, in an order that no shard or thread can change -> incidents.

Derived records wait in buckets of event time. A bucket is closed when every stream that is known to be moving has passed it,
or by a journaled clock record; then its flags are taken in the order (bucket, stream, window). Flags of one stream that
are at most `incident_gap_windows` windows apart are one incident. In the same order the alert budget decides which
incidents may alert; those that may not are incidents all the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from uuid import UUID

from driftlock.engine.budget import Budget, Peak, Strength
from driftlock.engine.budget_state import budget_from, budget_message, strength_from, strength_message
from driftlock.engine.limits import Limits
from driftlock.engine.ports import IncidentRow
from driftlock.engine.profile import DEFAULT_PROFILE, PROFILES
from driftlock.engine.state import pack, unpack
from driftlock.engine.verdict import Incident, IncidentState, content_id
from driftlock.v1 import state_pb2

ALERTS_PER_DAY_MAX = PROFILES[DEFAULT_PROFILE].alerts_per_day_max


@dataclass(frozen=True, slots=True)
class Flag:
    """A finding as the tenant sees it: a flagged window, or something else that was found by the time of that window.

    `seq` is the journal row that completed it, `surprise` its strength in bits beyond the floor of p, `alerts_per_day_max`
    the alert budget of its stream by then.
    """

    stream_id: UUID
    stream: str
    seq: int
    window: int
    start_ns: int
    end_ns: int
    ncd: float
    p_value: float
    finding_id: UUID
    title: str
    historical: bool = False
    surprise: float = 0.0
    alerts_per_day_max: int = ALERTS_PER_DAY_MAX

    @property
    def strength(self) -> Strength:
        """What it is worth where few may alert."""
        return Strength(self.surprise, -self.p_value, self.ncd)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stream has come: event-time watermark, windows evaluated, receive time and kind of its newest row."""

    watermark_ns: int
    windows: int
    received_ns: int
    historical: bool = False


@dataclass(slots=True)
class _Open:
    incident: Incident
    last_window: int
    historical: bool
    strongest: Strength
    alerted_ns: int | None = None


class Correlator:
    """State and fold of one tenant. Feed it in journal order; it returns the incidents that changed."""

    def __init__(self, tenant_id: UUID, limits: Limits) -> None:
        self.tenant_id = tenant_id
        self._limits = limits
        self._clock_ns = 0
        self._progress: dict[UUID, Progress] = {}
        self._pending: list[Flag] = []
        self._open: dict[UUID, _Open] = {}
        self._budget = Budget(limits)

    @property
    def waiting(self) -> bool:
        """True while a clock record can bring the fold further."""
        return bool(self._pending) or any(not current.historical for current in self._open.values())

    def set_budget(self, alerts_per_day_max: int) -> None:
        """Let the tenant have at most so many alerts in any 24 hours of event time, from here on."""
        self._budget.alerts_per_day_max = alerts_per_day_max

    def budget_spent_share(self, now_ns: int) -> float:
        """Share of the tenant's budget that is spent in the 24 hours around `now_ns`, 0 to 1."""
        return self._budget.spent_share(now_ns)

    def derived(self, stream_id: UUID, progress: Progress, flags: Iterable[Flag]) -> list[IncidentRow]:
        """Take what a stream's fold emitted for one journal row."""
        self._progress[stream_id] = progress
        self._pending.extend(flags)
        if not self._pending and not self._open:
            return []
        moving = min(entry.watermark_ns for entry in self._progress.values()) if self._pending else 0
        return self._advance(moving, everything=len(self._pending) > self._limits.pending_flags_max)

    def clock(self, now_ns: int) -> list[IncidentRow]:
        """Take a clock record: it closes buckets, and ends what has been quiet for long unless it replays the past."""
        self._clock_ns = max(self._clock_ns, now_ns)
        rows = self._advance(self._clock_ns - self._limits.bucket_grace_ns, everything=False)
        quiet_ns = self._clock_ns - self._limits.incident_idle_ns
        waiting = {flag.stream_id for flag in self._pending}
        for stream_id in [known for known, progress in self._progress.items() if progress.received_ns < quiet_ns]:
            if stream_id not in waiting:
                del self._progress[stream_id]
                if stream_id in self._open and not self._open[stream_id].historical:
                    rows.append(self._close(stream_id))
        return latest(rows)

    def _buckets(self) -> dict[UUID, int]:
        """The bucket of each pending flag. Event times may step back, windows do not: a flag waits for those before it."""
        reached: dict[UUID, int] = {}
        buckets = {}
        for flag in sorted(self._pending, key=lambda flag: flag.window):
            bucket = max(reached.get(flag.stream_id, 0), flag.end_ns // self._limits.bucket_ns)
            buckets[flag.finding_id] = reached[flag.stream_id] = bucket
        return buckets

    def _advance(self, until_ns: int, *, everything: bool) -> list[IncidentRow]:
        buckets = self._buckets()
        over = until_ns // self._limits.bucket_ns
        due = [flag for flag in self._pending if everything or buckets[flag.finding_id] < over]
        if due:
            taken = {flag.finding_id for flag in due}
            self._pending = [flag for flag in self._pending if flag.finding_id not in taken]
        due.sort(key=lambda flag: (buckets[flag.finding_id], flag.stream, flag.window, flag.end_ns, flag.finding_id))
        rows: list[IncidentRow] = []
        for flag in due:
            rows.extend(self._join(flag))
        rows.extend(self._ended())
        return latest(rows)

    def _join(self, flag: Flag) -> list[IncidentRow]:
        rows = []
        current = self._open.get(flag.stream_id)
        if current is not None and flag.window - current.last_window > self._limits.incident_gap_windows:
            rows.append(self._close(flag.stream_id))
            current = None
        if current is None:
            incident = _opened(self.tenant_id, flag)
            current = self._open[flag.stream_id] = _Open(incident, flag.window, flag.historical, flag.strength)
        else:
            known = current.incident
            current.last_window = max(current.last_window, flag.window)
            current.incident = replace(
                known,
                start_ns=min(known.start_ns, flag.start_ns),
                end_ns=max(known.end_ns, flag.end_ns),
                findings=known.findings + 1,
                ncd_max=max(known.ncd_max, flag.ncd),
                p_value_min=min(known.p_value_min, flag.p_value),
                surprise_max=max(known.surprise_max, flag.surprise),
                title=flag.title if flag.strength > current.strongest else known.title,
            )
            current.strongest = max(current.strongest, flag.strength)
        told = self._charge(current, flag)
        rows.append(IncidentRow(self.tenant_id, current.incident, (flag.finding_id,), current.alerted_ns, told))
        return rows

    def _charge(self, current: _Open, flag: Flag) -> bool:
        """Ask the budget for an incident's alert, once it has one more finding; True when it alerts just now."""
        peak = Peak(flag.end_ns, current.strongest, current.incident.incident_id)
        if current.alerted_ns is not None:
            self._budget.grew(flag.stream_id, peak)
            return False
        if not self._budget.decide(flag.stream_id, peak, flag.alerts_per_day_max):
            return False
        current.alerted_ns = flag.end_ns
        current.incident = replace(current.incident, alerted=True)
        return True

    def _ended(self) -> list[IncidentRow]:
        """Incidents whose stream has gone on for long enough without a flag, pending ones included."""
        waiting = {flag.stream_id for flag in self._pending}
        gap = self._limits.incident_gap_windows
        over = [
            stream_id
            for stream_id, current in self._open.items()
            if stream_id not in waiting
            and stream_id in self._progress
            and self._progress[stream_id].windows - 1 - current.last_window > gap
        ]
        return [self._close(stream_id) for stream_id in over]

    def _close(self, stream_id: UUID) -> IncidentRow:
        closing = self._open.pop(stream_id)
        return IncidentRow(self.tenant_id, replace(closing.incident, state=IncidentState.CLOSED), (), closing.alerted_ns)

    def to_bytes(self) -> bytes:
        """The bytes from which `restore` continues."""
        return pack(
            state_pb2.TenantState(
                clock_ns=self._clock_ns,
                progress=[
                    state_pb2.StreamProgress(
                        stream_id=stream_id.bytes,
                        watermark_ns=entry.watermark_ns,
                        windows=entry.windows,
                        received_ns=entry.received_ns,
                        historical=entry.historical,
                    )
                    for stream_id, entry in sorted(self._progress.items())
                ],
                pending=[_flag_message(flag) for flag in self._pending],
                incident=[_open_message(stream_id, current) for stream_id, current in sorted(self._open.items())],
                budget=budget_message(self._budget),
            )
        )

    def restore(self, body: bytes) -> None:
        """Continue from the bytes of `to_bytes`; raises `Internal` when they are damaged."""
        state = unpack(state_pb2.TenantState(), body)
        self._clock_ns = state.clock_ns
        self._progress = {
            UUID(bytes=entry.stream_id): Progress(entry.watermark_ns, entry.windows, entry.received_ns, entry.historical)
            for entry in state.progress
        }
        self._pending = [_flag_from(message) for message in state.pending]
        self._open = {UUID(bytes=message.stream_id): _open_from(message) for message in state.incident}
        # A state of a version without budgets has none.
        self._budget = budget_from(state.budget, self._limits) if state.HasField("budget") else Budget(self._limits)


def _opened(tenant_id: UUID, flag: Flag) -> Incident:
    return Incident(
        incident_id=content_id(tenant_id.bytes + flag.finding_id.bytes),
        stream_ids=(flag.stream_id,),
        state=IncidentState.OPEN,
        start_ns=flag.start_ns,
        end_ns=flag.end_ns,
        findings=1,
        ncd_max=flag.ncd,
        p_value_min=flag.p_value,
        title=flag.title,
        surprise_max=flag.surprise,
        alerted=False,
    )


def latest(rows: Iterable[IncidentRow]) -> list[IncidentRow]:
    """One row an incident: its last form, and everything that joined it."""
    latest: dict[UUID, IncidentRow] = {}
    for row in rows:
        known = latest.get(row.incident.incident_id)
        if known is not None:
            row = replace(row, joined=known.joined + row.joined, told=known.told or row.told)
        latest[row.incident.incident_id] = row
    return list(latest.values())


def _flag_message(flag: Flag) -> state_pb2.PendingFlag:
    return state_pb2.PendingFlag(
        stream_id=flag.stream_id.bytes,
        stream=flag.stream,
        seq=flag.seq,
        window=flag.window,
        start_ns=flag.start_ns,
        end_ns=flag.end_ns,
        ncd=flag.ncd,
        p_value=flag.p_value,
        finding_id=flag.finding_id.bytes,
        title=flag.title,
        historical=flag.historical,
        surprise=flag.surprise,
        alerts_per_day_max=flag.alerts_per_day_max,
    )


def _flag_from(message: state_pb2.PendingFlag) -> Flag:
    return Flag(
        stream_id=UUID(bytes=message.stream_id),
        stream=message.stream,
        seq=message.seq,
        window=message.window,
        start_ns=message.start_ns,
        end_ns=message.end_ns,
        ncd=message.ncd,
        p_value=message.p_value,
        finding_id=UUID(bytes=message.finding_id),
        title=message.title,
        historical=message.historical,
        surprise=message.surprise,
        alerts_per_day_max=message.alerts_per_day_max if message.HasField("alerts_per_day_max") else ALERTS_PER_DAY_MAX,
    )


def _open_message(stream_id: UUID, current: _Open) -> state_pb2.OpenIncident:
    incident = current.incident
    return state_pb2.OpenIncident(
        stream_id=stream_id.bytes,
        incident_id=incident.incident_id.bytes,
        last_window=current.last_window,
        start_ns=incident.start_ns,
        end_ns=incident.end_ns,
        findings=incident.findings,
        ncd_max=incident.ncd_max,
        p_value_min=incident.p_value_min,
        title=incident.title,
        historical=current.historical,
        surprise_max=incident.surprise_max,
        strongest=strength_message(current.strongest),
        alerted_ns=current.alerted_ns,
    )


def _open_from(message: state_pb2.OpenIncident) -> _Open:
    incident = Incident(
        incident_id=UUID(bytes=message.incident_id),
        stream_ids=(UUID(bytes=message.stream_id),),
        state=IncidentState.OPEN,
        start_ns=message.start_ns,
        end_ns=message.end_ns,
        findings=message.findings,
        ncd_max=message.ncd_max,
        p_value_min=message.p_value_min,
        title=message.title,
        surprise_max=message.surprise_max,
        alerted=message.HasField("alerted_ns"),
    )
    strongest = strength_from(message.strongest) if message.HasField("strongest") else _whole_strength(incident)
    alerted_ns = message.alerted_ns if message.HasField("alerted_ns") else None
    return _Open(incident, message.last_window, message.historical, strongest, alerted_ns)


def _whole_strength(incident: Incident) -> Strength:
    """The strength of an incident of whose findings only the extremes are known."""
    return Strength(incident.surprise_max, -incident.p_value_min, incident.ncd_max)
