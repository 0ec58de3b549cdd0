"""What people say of incidents: that somebody looks after one, that it is over, that it is not.

It stands beside what the detector says. An incident that was resolved and got more findings since is open again, and says so.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from driftlock.accounts.actor import Actor
from driftlock.errors import Conflict
from driftlock.storage.audit import note as audited
from driftlock.storage.columns import text
from driftlock.storage.live import LiveKind, tell_incident
from driftlock.storage.pool import Database

NOTE_BYTES_MAX = 4096

ACT = """
insert into driftlock.incident_actions as known
  (incident_id, tenant_id, version, status, findings, note, actor_kind, actor_id, actor_name)
select i.id, i.tenant_id, 1, coalesce($2, 'open'), i.findings, coalesce($3, ''), $4, $5, $6
  from driftlock.incidents i where i.id = $1
on conflict (incident_id) do update set
  version = known.version + 1, status = coalesce($2, known.status),
  findings = case when $2::text is null then known.findings else excluded.findings end, note = coalesce($3, known.note),
  actor_kind = excluded.actor_kind, actor_id = excluded.actor_id, actor_name = excluded.actor_name, at = clock_timestamp()
where known.version = $7
returning version
"""


class IncidentStatus(StrEnum):
    """What people say of an incident, whatever its `state` is."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


TOLD = {
    IncidentStatus.OPEN: LiveKind.REOPENED,
    IncidentStatus.ACKNOWLEDGED: LiveKind.ACKNOWLEDGED,
    IncidentStatus.RESOLVED: LiveKind.RESOLVED,
    None: LiveKind.CHANGED,
}


@dataclass(frozen=True, slots=True)
class IncidentAction:
    """The last thing that was said of an incident: the `version`-th, when the incident had `findings`, by whom and when."""

    version: int
    status: IncidentStatus
    findings: int
    note: str
    actor_kind: str
    actor_id: str
    actor_name: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody says of an incident now; None leaves it as it is."""

    status: IncidentStatus | None
    note: str | None


class IncidentActions:
    """Writes them for one tenant at a time. Raises `Unavailable` when the database is away."""

    def __init__(self, database: Database) -> None:
        """`database` must be entered before use."""
        self._database = database

    async def act(self, tenant_id: UUID, incident_id: UUID, said: Said, actor: Actor, *, version: int) -> None:
        """Note what is said, with an entry in the audit log and an event in the feed, all or nothing.

        `version` is that of the action before (0 = there was none): raises `Conflict` when somebody else was faster, or the
        incident is gone. A note has at most `NOTE_BYTES_MAX` bytes of UTF-8.
        """
        status = None if said.status is None else said.status.value
        noted = None if said.note is None else text(said.note)
        async with self._database.tenant(tenant_id, read_only=False) as connection:
            who = (actor.kind.value, text(actor.id), text(actor.name))
            if await connection.fetchval(ACT, incident_id, status, noted, *who, version) is None:
                raise Conflict("somebody has said something of this incident meanwhile; read it and try again")
            detail = {name: value for name, value in (("status", status), ("note", noted)) if value is not None}
            await audited(connection, tenant_id, actor, f"incident.{status or 'noted'}", str(incident_id), detail)
            await tell_incident(connection, tenant_id, TOLD[said.status], incident_id)
