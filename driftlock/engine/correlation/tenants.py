"""The tenant folds in memory: fed with what stream folds emit and with the records of tenants, in journal order.

The streams of a tenant may lie in several shards. One of them, its home, has its fold. In the others a `Relay` stands where
the fold does: what it is told leaves with the step, and comes to the fold as a derived row of the home's journal.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from driftlock.engine.correlation.correlator import Correlator, latest
from driftlock.engine.correlation.derived import Derived, derived_from
from driftlock.engine.correlation.relay import Relay
from driftlock.engine.folding import Clocks, Emitted
from driftlock.engine.limits import DispatchLimits, Limits
from driftlock.engine.losses import Losses
from driftlock.engine.ports import Checkpoint, FindingRow, IncidentRow, JournalRow, RowKind, StateStore
from driftlock.engine.records import Damaged, decode_budget, decode_clock


@dataclass(slots=True)
class _Tenant:
    """A tenant fold in memory: `seq` is its checkpoint's position, `changed` whether anything but progress moved it since.

    `lost`: its checkpoint could not be read, so its budget is to be had from its next row. `derived_bytes` are those of derived
    rows since the checkpoint, which a start has to read again; `saved_ns` is when it was written, as far as is known.
    """

    fold: Correlator | Relay
    seq: int
    saved_ns: int
    changed: bool = False
    lost: bool = False
    derived_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Correlated:
    """What came of a sequence of rows: incidents in their last form, and findings to keep, those of streams among them.

    `derived` is what the rows tell tenants whose folds are elsewhere.
    """

    incidents: tuple[IncidentRow, ...]
    findings: tuple[FindingRow, ...]
    derived: Mapping[UUID, bytes] = field(default_factory=dict)


class Tenants:
    """Every tenant that has something to correlate. `on_fault` is told of states and rows that had to be given up."""

    def __init__(
        self,
        states: StateStore,
        *,
        limits: Limits,
        bounds: DispatchLimits,
        on_fault: Callable[[str], None],
        losses: Losses | None = None,
    ) -> None:
        """`losses` takes the rows that can not be read."""
        self._losses = Losses() if losses is None else losses
        self._states = states
        self._limits = limits
        self._bounds = bounds
        self._on_fault = on_fault
        self._tenants: dict[UUID, _Tenant] = {}

    async def load(self, tenant_ids: Iterable[UUID], now_ns: int) -> None:
        """Make sure that these are in memory."""
        missing = sorted(set(tenant_ids) - self._tenants.keys())
        if not missing:
            return
        away = await self._states.elsewhere(missing)
        found = await self._states.load_tenants(missing)
        for tenant_id in missing:
            fold = Relay(self._limits) if tenant_id in away else Correlator(tenant_id, self._limits)
            tenant = self._tenants[tenant_id] = _Tenant(fold, 0, now_ns)
            checkpoint = found.get(tenant_id)
            if checkpoint is not None:
                tenant.seq = checkpoint.seq
                try:
                    tenant.fold.restore(checkpoint.state)
                except Damaged as error:
                    self._lose(tenant_id, tenant, error)

    def _lose(self, tenant_id: UUID, tenant: _Tenant, error: Damaged) -> None:
        if isinstance(tenant.fold, Relay):
            what = f"what this shard knows of tenant {tenant_id} is lost, streams are watched from their next records on"
        else:
            tenant.lost = True
            what = f"incident state of tenant {tenant_id} is lost, incidents and the counting of alerts start anew"
        self._on_fault(f"{what}: {error}")

    def budget_spent_share(self, now_ns: int) -> float:
        """Share of its alert budget that the tenant with the largest one has spent in the last 24 hours, 0 to 1."""
        return max((tenant.fold.budget_spent_share(now_ns) for tenant in self._tenants.values()), default=0.0)

    def waiting_at(self, now_ns: int) -> bool:
        """Whether a clock record of that time can bring any fold further."""
        return any(tenant.fold.waiting_at(now_ns) for tenant in self._tenants.values())

    def closing(self, now_ns: int) -> list[tuple[UUID, UUID]]:
        """Streams, with their tenants first, that have to be told that it is `now_ns`."""
        return [
            (tenant_id, stream_id) for tenant_id, tenant in self._tenants.items() for stream_id in tenant.fold.closing(now_ns)
        ]

    def before_silence(self, now_ns: int) -> int:
        """That time, or the last one at which no stream is called silent."""
        dues = (tenant.fold.first_due_ns() for tenant in self._tenants.values())
        return min([now_ns, *(due_ns - 1 for due_ns in dues if due_ns is not None)])

    def clocks(self, rows: Sequence[JournalRow]) -> Clocks:
        """What the clock records among `rows` say."""
        found = [row for row in rows if row.kind is RowKind.CLOCK]
        return Clocks(tuple(row.seq for row in found), tuple(map(self._clock_of, found)))

    def due(self, clocks: Clocks) -> dict[UUID, UUID]:
        """Streams that may be silent by the newest of these clock records, with their tenants."""
        if not clocks.times_ns:
            return {}
        return {
            stream_id: tenant_id
            for tenant_id, tenant in self._tenants.items()
            for stream_id in tenant.fold.due(max(clocks.times_ns))
        }

    def correlate(self, rows: Sequence[JournalRow], clocks: Clocks, emitted: Mapping[tuple[int, UUID], Emitted]) -> Correlated:
        """Feed the folds in journal order; `emitted` is ordered by position and stream, `clocks` are those of `rows`."""
        by_row: dict[int, list[Emitted]] = {}
        for (seq, _), entry in emitted.items():
            by_row.setdefault(seq, []).append(entry)
        times_ns = dict(zip(clocks.seqs, clocks.times_ns, strict=True))
        changed: list[IncidentRow] = []
        findings: list[FindingRow] = []
        for row in rows:
            entries = by_row.get(row.seq, [])
            if row.kind is RowKind.CLOCK:
                self._silences(row, entries, changed, findings)
                self._clock(row, times_ns[row.seq], changed, findings)
            elif row.tenant_id is not None:
                findings.extend(finding for entry in entries for finding in entry.findings)
                self._row(self._tenants[row.tenant_id], row, entries, changed, findings)
        return Correlated(tuple(latest(changed)), tuple(findings), self._take_told())

    def _take_told(self) -> dict[UUID, bytes]:
        told = {tenant_id: it.fold.take_told() for tenant_id, it in self._tenants.items() if isinstance(it.fold, Relay)}
        return {tenant_id: body for tenant_id, body in sorted(told.items()) if body is not None}

    def _silences(
        self, row: JournalRow, entries: Iterable[Emitted], changed: list[IncidentRow], findings: list[FindingRow]
    ) -> None:
        for entry in entries:
            if not entry.findings:
                for tenant in self._tenants.values():
                    if row.seq > tenant.seq and tenant.fold.postpone(entry.stream_id, entry.progress.due_ns):
                        tenant.changed = True
                continue
            [flag], [finding] = entry.flags, entry.findings
            tenant = self._tenants[finding.tenant_id]
            if row.seq <= tenant.seq:
                continue
            accepted = tenant.fold.silent(flag)
            if accepted is not None:
                changed.extend(accepted)
                findings.append(finding)
                tenant.changed = True

    def _clock(self, row: JournalRow, now_ns: int, changed: list[IncidentRow], findings: list[FindingRow]) -> None:
        for tenant in self._tenants.values():
            if row.seq > tenant.seq and tenant.fold.waiting_at(now_ns):
                # Who was due has been asked by now; a stream that is gone, or that lost its state, will never answer.
                tenant.fold.give_up(now_ns)
                changed.extend(tenant.fold.clock(now_ns))
                findings.extend(tenant.fold.take_findings())
                tenant.changed = True

    def _row(
        self,
        tenant: _Tenant,
        row: JournalRow,
        entries: Iterable[Emitted],
        changed: list[IncidentRow],
        findings: list[FindingRow],
    ) -> None:
        if tenant.lost and row.budget is not None:
            tenant.fold.set_budget(row.budget)
            tenant.lost, tenant.changed = False, True
        if row.seq <= tenant.seq:
            return
        match row.kind:
            case RowKind.BUDGET:
                self._budget(tenant, row)
            case RowKind.DERIVED:
                self._derived(tenant, row, changed, findings)
        for entry in entries:
            changed.extend(tenant.fold.derived(entry.stream_id, entry.progress, entry.flags, entry.summaries))
            findings.extend(tenant.fold.take_findings())
            tenant.changed = tenant.changed or bool(entry.flags)

    def _derived(self, tenant: _Tenant, row: JournalRow, changed: list[IncidentRow], findings: list[FindingRow]) -> None:
        """Let the fold take what streams of another shard told it. Their findings are kept there."""
        tenant.derived_bytes += len(row.body)
        if isinstance(tenant.fold, Relay):
            return
        for entry in self._entries_of(row):
            if entry.progress is None:
                accepted = tenant.fold.silent(entry.flags[0])
                tenant.changed = tenant.changed or accepted is not None
                changed.extend(accepted or ())
                continue
            told = tenant.fold.derived(entry.stream_id, entry.progress, entry.flags, entry.summaries, remote=True)
            changed.extend(told)
            findings.extend(tenant.fold.take_findings())
            tenant.changed = tenant.changed or bool(entry.flags)

    def _entries_of(self, row: JournalRow) -> list[Derived]:
        try:
            return derived_from(row.body)
        except Damaged as error:
            self._losses.row(row)
            self._on_fault(f"derived row {row.seq} of tenant {row.tenant_id} is skipped: {error}")
            return []

    def _budget(self, tenant: _Tenant, row: JournalRow) -> None:
        try:
            tenant.fold.set_budget(decode_budget(row.body))
        except Damaged as error:
            self._losses.row(row)
            self._on_fault(f"budget row {row.seq} of tenant {row.tenant_id} is damaged: {error}")
            if row.budget is not None:
                tenant.fold.set_budget(row.budget)
        tenant.changed = True

    def _clock_of(self, row: JournalRow) -> int:
        try:
            return decode_clock(row.body)
        except Damaged as error:
            self._losses.row(row)
            self._on_fault(f"clock row {row.seq} is skipped: {error}")
            return 0

    def save(self, owners: Iterable[UUID], seq: int, now_ns: int, *, everything: bool = False) -> dict[UUID, Checkpoint]:
        """Checkpoints as of the row `seq` of `owners`, whose streams are saved, and of whoever changed.

        A tenant must never stand behind one of its streams. What derived rows told of progress alone is saved as streams are.
        """
        due = {*owners, *(known for known, tenant in self._tenants.items() if self._is_due(tenant, now_ns, everything))}
        checkpoints = {}
        for tenant_id in sorted(due):
            tenant = self._tenants[tenant_id]
            tenant.seq, tenant.changed, tenant.saved_ns, tenant.derived_bytes = seq, False, now_ns, 0
            checkpoints[tenant_id] = Checkpoint(seq, tenant.fold.to_bytes())
        return checkpoints

    def _is_due(self, tenant: _Tenant, now_ns: int, everything: bool) -> bool:
        if tenant.changed or not tenant.derived_bytes:
            return tenant.changed
        waited = now_ns - tenant.saved_ns >= self._bounds.checkpoint_period_ns
        return everything or waited or tenant.derived_bytes >= self._bounds.checkpoint_bytes
