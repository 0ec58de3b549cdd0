"""The fold of a tenant: what its streams' folds emit, in an order that no shard or thread can change -> incidents.

Derived records wait in buckets of event time. A bucket is closed when every stream that is known to be moving has passed it,
or by a journaled clock record; then its flags are taken in the order (bucket, stream, window). Flags of one stream that
are at most `incident_gap_windows` windows apart are one incident.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from uuid import UUID

from driftlock.engine.limits import Limits
from driftlock.engine.ports import IncidentRow
from driftlock.engine.state import pack, unpack
from driftlock.engine.verdict import Incident, IncidentState, content_id
from driftlock.v1 import state_pb2


@dataclass(frozen=True, slots=True)
class Flag:
    """A flagged window as the tenant sees it. `seq` is the journal row that completed the window."""

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


class Correlator:
    """State and fold of one tenant. Feed it in journal order; it returns the incidents that changed."""

    def __init__(self, tenant_id: UUID, limits: Limits) -> None:
        self.tenant_id = tenant_id
        self._limits = limits
        self._clock_ns = 0
        self._progress: dict[UUID, Progress] = {}
        self._pending: list[Flag] = []
        self._open: dict[UUID, _Open] = {}

    @property
    def waiting(self) -> bool:
        """True while a clock record can bring the fold further."""
        return bool(self._pending) or any(not current.historical for current in self._open.values())

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
        due.sort(key=lambda flag: (buckets[flag.finding_id], flag.stream, flag.window))
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
            current = self._open[flag.stream_id] = _Open(_opened(self.tenant_id, flag), flag.window, flag.historical)
        else:
            known = current.incident
            current.last_window = flag.window
            current.incident = replace(
                known,
                start_ns=min(known.start_ns, flag.start_ns),
                end_ns=max(known.end_ns, flag.end_ns),
                findings=known.findings + 1,
                ncd_max=max(known.ncd_max, flag.ncd),
                p_value_min=min(known.p_value_min, flag.p_value),
                title=flag.title if flag.ncd > known.ncd_max else known.title,
            )
        rows.append(IncidentRow(self.tenant_id, current.incident, (flag.finding_id,)))
        return rows

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
        incident = replace(self._open.pop(stream_id).incident, state=IncidentState.CLOSED)
        return IncidentRow(self.tenant_id, incident, ())

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
    )


def latest(rows: Iterable[IncidentRow]) -> list[IncidentRow]:
    """One row an incident: its last form, and everything that joined it."""
    latest: dict[UUID, IncidentRow] = {}
    for row in rows:
        known = latest.get(row.incident.incident_id)
        latest[row.incident.incident_id] = row if known is None else replace(row, joined=known.joined + row.joined)
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
    )
    return _Open(incident, message.last_window, message.historical)
