"""Requests that the journal remembers, so that one that comes again can be recognised before anything is done for it."""

from dataclasses import dataclass
from uuid import UUID

from driftlock.storage.pool import Connection, Database

# The same condition as that of driftlock.journal_append, which decides when two come at the same moment.
SELECT = """
select r.content from driftlock.journal_request r where r.tenant_id = $1 and r.hash = $2 and r.until_ns > $3
"""


@dataclass(frozen=True, slots=True)
class KnownRequest:
    """A journaled request. `content` is the hash of what came with its key; None where any content counts as the same."""

    content: bytes | None


class KnownRequests:
    """What the journal remembers of requests. Raises `Unavailable` when the database is away."""

    def __init__(self, database: Database) -> None:
        """`database` must be entered before use."""
        self._database = database

    async def known(self, tenant_id: UUID, request_hash: bytes, received_ns: int) -> KnownRequest | None:
        """The request of `tenant_id` that one received at `received_ns` (ns) would repeat; None when there is none."""

        async def work(connection: Connection) -> KnownRequest | None:
            row = await connection.fetchrow(SELECT, tenant_id, request_hash, received_ns)
            return None if row is None else KnownRequest(row["content"])

        return await self._database.node(work)
