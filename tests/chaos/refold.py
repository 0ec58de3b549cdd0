"""What a journal gives when nothing happens to whoever folds it, beside what the database says after all that happened."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from driftlock.engine.dispatch import Dispatcher
from driftlock.engine.limits import DispatchLimits
from driftlock.engine.ports import JournalRow
from driftlock.engine.testing import MemoryJournal
from driftlock.engine.verdict import Incident
from driftlock.errors import Unavailable
from driftlock.storage.incidents import Incidents
from driftlock.storage.ledger import Ledgers
from driftlock.storage.pool import Database
from server.ownership import fold_limits
from server.settings import parse_settings
from tests.chaos.cluster import blocking, query

PAGE_ITEMS, SAMPLES = 200, 5


@dataclass(frozen=True, slots=True)
class Findings:
    """Findings by their id as stored bytes, incidents by theirs in their last form, each with the time of its alert."""

    findings: Mapping[str, bytes] = field(default_factory=dict)
    incidents: Mapping[str, tuple[Incident, int | None]] = field(default_factory=dict)

    def differences(self, other: "Findings") -> list[str]:
        """How these differ from others, in words; empty when they are the same, byte for byte."""
        found = []
        for what, mine, theirs in (("finding", self.findings, other.findings), ("incident", self.incidents, other.incidents)):
            names = sorted(set(mine) | set(theirs))
            for name in names:
                if name not in mine or name not in theirs:
                    found.append(f"{what} {name} is {'missing' if name in theirs else 'extra'}")
                elif mine[name] != theirs[name]:
                    found.append(f"{what} {name} differs")
        return found


class _Rows(MemoryJournal):
    """Captured rows; nobody adds to them."""

    async def append_clock(self, now_ns: int) -> int:  # noqa: ARG002  # the signature is the protocol's
        raise Unavailable("these rows are all there is", retry_after_ms=1)


def refold(rows: Sequence[JournalRow]) -> Findings:
    """Fold captured rows once, from the first one on, with the real dispatcher over a journal in memory."""
    return blocking(lambda: _refold(rows))


async def _refold(rows: Sequence[JournalRow]) -> Findings:
    settings = parse_settings({})
    journal = _Rows()
    journal.rows = list(rows)
    journal._keys = {
        (row.tenant_id, row.stream_id): row.stream_key
        for row in rows
        if row.tenant_id is not None and row.stream_id is not None and row.stream_key is not None
    }
    faults: list[str] = []
    dispatcher = Dispatcher(
        reader=journal,
        states=journal,
        committer=journal,
        clock_journal=journal,
        recovery_seq=0,
        applied_seq=0,
        tenant_ids=[],
        now_ns=lambda: 0,
        seed=settings.seed,
        limits=fold_limits(settings),
        dispatch_limits=DispatchLimits(threads=1, resident_streams_max=settings.resident_streams),
        on_step=lambda _: None,
        on_fault=faults.append,
    )
    async with dispatcher:
        done = asyncio.create_task(dispatcher.failed())
        scored = asyncio.create_task(dispatcher.scored(len(rows)))
        await asyncio.wait({done, scored}, return_when=asyncio.FIRST_COMPLETED)
        if done.done():
            done.result()
        done.cancel()
        await asyncio.gather(done, return_exceptions=True)
        await scored
    assert not faults, f"the captured rows can not be folded: {faults[:SAMPLES]}"
    return Findings(
        {str(finding_id): row.finding.to_json() for finding_id, row in journal.findings.items()},
        {str(incident_id): (row.incident, row.alerted_ns) for incident_id, row in journal.incidents.items()},
    )


def stored(owner_dsn: str, app_dsn: str) -> Findings:
    """What the database says."""
    tenants = [row["id"] for row in query(owner_dsn, "select id from driftlock.tenants")]

    async def incidents() -> dict[str, tuple[Incident, int | None]]:
        found: dict[str, tuple[Incident, int | None]] = {}
        async with Database(app_dsn) as database:
            for tenant_id in tenants:
                after = None
                while page := await Incidents(database).list(tenant_id, limit=PAGE_ITEMS, after=after):
                    found.update((str(row.incident.incident_id), (row.incident, row.alerted_ns)) for row in page)
                    after = (page[-1].incident.start_ns, page[-1].incident.incident_id)
        return found

    findings = {str(row["id"]): bytes(row["body"]) for row in query(owner_dsn, "select id, body from driftlock.anomalies")}
    return Findings(findings, blocking(incidents))


def ledger_differences(owner_dsn: str) -> list[str]:
    """The laws of conservation that do not hold, in words: of each tenant and signal, received, journaled and metered."""

    async def work() -> list[str]:
        async with Database(owner_dsn) as database:
            return [
                f"{row.name} {row.signal}: {law} by {by}"
                for row in await Ledgers(database).read()
                for law, by in row.differences.items()
            ]

    return blocking(work)
