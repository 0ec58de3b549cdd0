"""Settings of streams that no fold heeds, and the first step of deleting one."""

from collections.abc import Mapping
from dataclasses import asdict
from uuid import UUID

from driftlock.accounts.actor import Actor
from driftlock.accounts.plans import plan_of
from driftlock.engine.profile import Profile
from driftlock.errors import NotFound
from driftlock.storage.audit import note
from driftlock.storage.columns import text
from driftlock.storage.journal import Journal
from driftlock.storage.pool import Connection, Database

RETENTION_DAYS_MAX = 3650
DISPLAY_NAME_BYTES_MAX = 256

SET = """
update driftlock.streams
   set display_name = coalesce($3, display_name), retention_days = case when $4 then $5 else retention_days end
 where id = $1 and tenant_id = $2 and closed_at is null returning id
"""
PLAN = "select plan from driftlock.tenants where id = $1"
CLOSE = "select driftlock.stream_close($1, $2, $3, $4)"


class StreamSettings:
    """Changes streams of one tenant at a time. Raises `Unavailable` when the database is away, or another process owns it."""

    def __init__(self, database: Database, journal: Journal) -> None:
        """`journal` is that of the owner of the shard."""
        self._database = database
        self._journal = journal

    async def retention_days_max(self, tenant_id: UUID) -> int:
        """The most days that the tenant's plan keeps findings."""
        async with self._database.tenant(tenant_id) as connection:
            plan = await connection.fetchval(PLAN, tenant_id)
        if plan is None:
            raise NotFound("this tenant has been deleted")
        days = plan_of(plan).retention_days
        return RETENTION_DAYS_MAX if days is None else min(days, RETENTION_DAYS_MAX)

    async def change(self, tenant_id: UUID, stream_id: UUID, changes: Mapping[str, str | int | None], actor: Actor) -> None:
        """Set `display_name` and `retention_days`, as far as `changes` has them. Raises `NotFound`."""
        told = {name: changes[name] for name in ("display_name", "retention_days") if name in changes}
        if not told:
            return
        if isinstance(name := told.get("display_name"), str):
            name = told["display_name"] = text(name)

        async def work(connection: Connection) -> None:
            async with connection.transaction():
                set_days = "retention_days" in told
                values = (stream_id, tenant_id, name, set_days, told.get("retention_days"))
                if await connection.fetchval(SET, *values) is None:
                    raise NotFound("there is no such stream")
                await note(connection, tenant_id, actor, "stream.changed", str(stream_id), told)

        await self._database.node(work)

    async def configure(self, tenant_id: UUID, stream_id: UUID, profile: Profile, expected: Profile, actor: Actor) -> None:
        """Give the stream another profile, and note who did. Raises as `Journal.configure` does."""

        async def beside(connection: Connection, _seq: int) -> None:
            told = {name: value for name, value in asdict(profile).items() if value != getattr(expected, name)}
            await note(connection, tenant_id, actor, "stream.changed", str(stream_id), told)

        await self._journal.configure(tenant_id, stream_id, profile, expected=expected, beside=beside)

    async def set_budget(self, tenant_id: UUID, alerts_per_day_max: int, actor: Actor) -> bool:
        """Give the tenant another alert budget, and note who did; False when it has that one. As `Journal.set_budget` does."""

        async def beside(connection: Connection, _seq: int) -> None:
            await note(
                connection, tenant_id, actor, "budget.changed", str(tenant_id), {"alerts_per_day_max": alerts_per_day_max}
            )

        return await self._journal.set_budget(tenant_id, alerts_per_day_max, beside=beside)

    async def note_created(self, tenant_id: UUID, stream_id: UUID, actor: Actor) -> None:
        """Write down who has created a stream."""
        async with self._database.tenant(tenant_id, read_only=False) as connection:
            await note(connection, tenant_id, actor, "stream.created", str(stream_id))

    async def delete(self, tenant_id: UUID, stream_id: UUID, actor: Actor) -> None:
        """Let nobody find the stream any more, and let the next record of its key begin another one.

        What it holds goes soon: see `driftlock.storage.stream_deletion`. Raises `NotFound`.
        """
        closed = False

        async def work(connection: Connection) -> None:
            nonlocal closed
            shard, epoch, _ = self._journal.owner
            async with connection.transaction():
                closed = await connection.fetchval(CLOSE, shard, epoch, tenant_id, stream_id)
                if closed:
                    await note(connection, tenant_id, actor, "stream.deleted", str(stream_id))

        await self._journal.owning(work)
        self._journal.forget_streams(tenant_id)
        if not closed:
            raise NotFound("there is no such stream")
