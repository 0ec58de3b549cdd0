"""The tenant folds in memory: fed with what stream folds emit and with the records of tenants, in journal order."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from driftlock.engine.correlation.correlator import Correlator, latest
from driftlock.engine.folding import Clocks, Emitted
from driftlock.engine.limits import Limits
from driftlock.engine.losses import Losses
from driftlock.engine.ports import Checkpoint, FindingRow, IncidentRow, JournalRow, RowKind, StateStore
from driftlock.engine.records import Damaged, decode_budget, decode_clock


@dataclass(slots=True)
class _Tenant:
    """A tenant fold in memory: `seq` is its checkpoint's position, `changed` whether anything but progress moved it since.

    `lost`: its checkpoint could not be read, so its budget is to be had from its next row.
    """

    fold: Correlator
    seq: int
    changed: bool = False
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Correlated:
    """What came of a sequence of rows: incidents in their last form, and findings to keep, those of streams among them."""

    incidents: tuple[IncidentRow, ...]
    findings: tuple[FindingRow, ...]


class Tenants:
    """Every tenant that has something to correlate. `on_fault` is told of states and rows that had to be given up."""

    def __init__(
        self, states: StateStore, *, limits: Limits, on_fault: Callable[[str], None], losses: Losses | None = None
    ) -> None:
        """`losses` takes the rows that can not be read."""
        self._losses = Losses() if losses is None else losses
        self._states = states
        self._limits = limits
        self._on_fault = on_fault
        self._tenants: dict[UUID, _Tenant] = {}

    async def load(self, tenant_ids: Iterable[UUID]) -> None:
        """Make sure that these are in memory."""
        missing = sorted(set(tenant_ids) - self._tenants.keys())
        found = await self._states.load_tenants(missing) if missing else {}
        for tenant_id in missing:
            tenant = self._tenants[tenant_id] = _Tenant(Correlator(tenant_id, self._limits), 0)
            checkpoint = found.get(tenant_id)
            if checkpoint is not None:
                tenant.seq = checkpoint.seq
                try:
                    tenant.fold.restore(checkpoint.state)
                except Damaged as error:
                    tenant.lost = True
                    what = "incidents and the counting of alerts start anew"
                    self._on_fault(f"incident state of tenant {tenant_id} is lost, {what}: {error}")

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
        return Correlated(tuple(latest(changed)), tuple(findings))

    def _silences(
        self, row: JournalRow, entries: Iterable[Emitted], changed: list[IncidentRow], findings: list[FindingRow]
    ) -> None:
        for entry in entries:
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
        if row.kind is RowKind.BUDGET:
            self._budget(tenant, row)
        for entry in entries:
            changed.extend(tenant.fold.derived(entry.stream_id, entry.progress, entry.flags, entry.summaries))
            findings.extend(tenant.fold.take_findings())
            tenant.changed = tenant.changed or bool(entry.flags)

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

    def save(self, owners: Iterable[UUID], seq: int) -> dict[UUID, Checkpoint]:
        """Checkpoints as of the row `seq` of `owners`, whose streams are saved, and of whoever changed.

        A tenant must never stand behind one of its streams.
        """
        due = {*owners, *(tenant_id for tenant_id, tenant in self._tenants.items() if tenant.changed)}
        checkpoints = {}
        for tenant_id in sorted(due):
            tenant = self._tenants[tenant_id]
            tenant.seq, tenant.changed = seq, False
            checkpoints[tenant_id] = Checkpoint(seq, tenant.fold.to_bytes())
        return checkpoints
