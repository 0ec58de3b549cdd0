"""What people say of a stream, or of a tenant, as a row of the journal, and what is shown of it, in one transaction."""

import zlib
from uuid import UUID

from driftlock.engine.ports import RowKind
from driftlock.errors import NotFound
from driftlock.storage.beside import Beside as Beside
from driftlock.storage.beside import NotWritten, write_beside
from driftlock.storage.control_journal import ControlJournal, Owner
from driftlock.storage.pool import Connection

CONTROL = "select driftlock.journal_control($1, $2, $3, $4, $5, $6, $7, $8)"
CONTROLS = frozenset({RowKind.LESSON, RowKind.ANCHOR, RowKind.REDACTION})


class Controls:
    """Appends control records of the kinds `CONTROLS`. Their effect begins with the next record of the stream."""

    def __init__(self, journal: ControlJournal) -> None:
        """The journal is that of the owner of the shard, or one for all shards."""
        self._journal = journal

    async def append(
        self, tenant_id: UUID, stream_id: UUID | None, kind: RowKind, body: bytes, beside: Beside | None = None
    ) -> int:
        """The position of the row; it is on disk then, and so is what `beside` has written.

        `stream_id` None: of the whole tenant. Raises `NotFound` for a stream that the tenant does not have, `Unavailable` as
        `ControlJournal` does, and whatever `beside` raises: then nothing has changed. Raises ValueError for another kind.
        """
        if kind not in CONTROLS:
            raise ValueError(f"{kind!r} is not a kind of control record that is made here")

        async def work(connection: Connection, owner: Owner) -> int | None:
            async with connection.transaction():
                seq: int | None = await connection.fetchval(
                    CONTROL, *owner, tenant_id, stream_id, kind.value, zlib.crc32(body), body
                )
                if seq is not None:
                    await write_beside(beside, connection, seq)
                return seq

        try:
            seq = await self._journal.controlling(tenant_id, stream_id, work)
        except NotWritten as refused:
            raise refused.error from None
        if seq is None:
            raise NotFound("there is no such stream" if stream_id is not None else "there is no such tenant")
        return seq
