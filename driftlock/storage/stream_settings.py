"""Settings of streams that no fold heeds, and the first step of deleting one."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from uuid import UUID

from driftlock.accounts.actor import Actor
from driftlock.accounts.plans import plan_of
from driftlock.engine.profile import DEFAULT_PROFILE, PROFILES, Profile
from driftlock.errors import NotFound, PreconditionFailed
from driftlock.storage.audit import note
from driftlock.storage.beside import NotWritten
from driftlock.storage.columns import text
from driftlock.storage.configuring import BudgetSetting
from driftlock.storage.control_journal import ControlJournal, Owner
from driftlock.storage.idempotency import mark_happened
from driftlock.storage.pool import Connection, Database
from driftlock.storage.streams import StreamRow, stored_profile

RETENTION_DAYS_MAX = 3650
DISPLAY_NAME_BYTES_MAX = 256
NOTHING: Mapping[str, str | int | None] = MappingProxyType({})

SET = """
update driftlock.streams
   set display_name = coalesce($3, display_name), retention_days = case when $4 then $5 else retention_days end
 where id = $1 and tenant_id = $2 and closed_at is null returning id
"""
PLAN = "select plan from driftlock.tenants where id = $1"
CLOSE = "select driftlock.stream_close($1, $2, $3, $4)"
SEEN = """
select s.display_name, s.retention_days, s.profile from driftlock.streams s
 where s.id = $1 and s.tenant_id = $2 for no key update
"""
CREATED = "select s.created_at from driftlock.streams s where s.id = $1 and s.tenant_id = $2 for no key update"
# Nothing is noted of a stream before it is there, so what is looked through is short.
NOTED = """
select exists (select from driftlock.audit a
                where a.tenant_id = $1 and a.action = 'stream.created' and a.target = $2 and a.at >= $3)
"""


@dataclass(frozen=True, slots=True)
class SettingsSeen:
    """What a client has read of the settings of a stream, and bases its change on."""

    display_name: str
    retention_days: int | None
    alerts_per_day_max: int


def settings_of(row: StreamRow) -> SettingsSeen:
    """The settings of a stream as a client reads them."""
    return SettingsSeen(row.display_name, row.retention_days, row.profile.alerts_per_day_max)


class StreamSettings:
    """Changes streams of one tenant at a time. Raises `Unavailable` when the database is away, or another process owns it."""

    def __init__(self, database: Database, journal: ControlJournal) -> None:
        """`journal` is that of the owner of the shard, or one for all shards."""
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

    async def change(
        self,
        tenant_id: UUID,
        stream_id: UUID,
        changes: Mapping[str, str | int | None],
        actor: Actor,
        seen: SettingsSeen | None = None,
    ) -> None:
        """Set `display_name` and `retention_days`, as far as `changes` has them.

        Raises `NotFound`, and `PreconditionFailed` when the stream has other settings than those `seen` by then (None: whatever
        it has); the two are one transaction.
        """
        told = _told(changes)
        if not told:
            return

        async def work(connection: Connection) -> None:
            async with connection.transaction():
                await _check_seen(connection, tenant_id, stream_id, seen)
                await _set(connection, tenant_id, stream_id, told)
                await note(connection, tenant_id, actor, "stream.changed", str(stream_id), told)

        await self._database.node(work)

    async def configure(
        self,
        tenant_id: UUID,
        stream_id: UUID,
        profile: Profile,
        expected: Profile,
        actor: Actor,
        *,
        changes: Mapping[str, str | int | None] = NOTHING,
        seen: SettingsSeen | None = None,
    ) -> None:
        """Give the stream another profile, and the settings that `changes` has with it, and note who did.

        Raises as `ControlJournal.configure` does, and `PreconditionFailed` as `change` does of settings that are not the
        profile's.
        """
        told = _told(changes)

        async def beside(connection: Connection, _seq: int) -> None:
            if seen is not None:  # the budget in it is the new one by now: what was there is `expected`
                await _check_seen(
                    connection, tenant_id, stream_id, replace(seen, alerts_per_day_max=profile.alerts_per_day_max)
                )
            values = {name: value for name, value in asdict(profile).items() if value != getattr(expected, name)}
            if told:
                await _set(connection, tenant_id, stream_id, told)
            await note(connection, tenant_id, actor, "stream.changed", str(stream_id), values | told)

        await self._journal.configure(tenant_id, stream_id, profile, expected=expected, beside=beside)

    async def set_budget(
        self, tenant_id: UUID, alerts_per_day_max: int, actor: Actor, expected: tuple[int | None] | None = None
    ) -> bool:
        """Give the tenant another alert budget, and note who did; False when it has that one.

        As `ControlJournal.set_budget` does. Raises `PreconditionFailed` when another one than `expected` holds by then: see
        `BudgetSetting`.
        """

        async def beside(connection: Connection, _seq: int) -> None:
            await note(
                connection, tenant_id, actor, "budget.changed", str(tenant_id), {"alerts_per_day_max": alerts_per_day_max}
            )

        setting = BudgetSetting(tenant_id, alerts_per_day_max, expected)
        try:
            position = await self._journal.controlling(
                tenant_id, None, lambda connection, owner: setting.work(owner, beside)(connection)
            )
        except NotWritten as refused:
            raise refused.error from None
        if position is None:
            raise NotFound("there is no such tenant")
        return position > 0

    async def note_created(self, tenant_id: UUID, stream_id: UUID, actor: Actor) -> None:
        """Write down who has created a stream, once: of several who may have, the first to say so."""

        async def work(connection: Connection) -> None:
            async with connection.transaction():
                created_at = await connection.fetchval(CREATED, stream_id, tenant_id)  # the others wait here
                if created_at is None:
                    return
                if not await connection.fetchval(NOTED, tenant_id, str(stream_id), created_at):
                    await note(connection, tenant_id, actor, "stream.created", str(stream_id))
                elif actor.claim is not None:
                    await mark_happened(connection, tenant_id, actor.claim)

        await self._database.node(work)

    async def delete(self, tenant_id: UUID, stream_id: UUID, actor: Actor, seen: SettingsSeen | None = None) -> None:
        """Let nobody find the stream any more, and let the next record of its key begin another one.

        What it holds goes soon: see `driftlock.storage.stream_deletion`. Raises `NotFound`, and `PreconditionFailed` when it
        has other settings than those `seen` by then: it stays.
        """
        closed = False

        async def work(connection: Connection, owner: Owner) -> None:
            nonlocal closed
            shard, epoch, _ = owner
            async with connection.transaction():
                closed = await connection.fetchval(CLOSE, shard, epoch, tenant_id, stream_id)
                if closed:
                    # After the lock of appends, which comes before all others; closing leaves the settings as they were.
                    await _check_seen(connection, tenant_id, stream_id, seen)
                    await note(connection, tenant_id, actor, "stream.deleted", str(stream_id))

        await self._journal.controlling(tenant_id, stream_id, work)
        self._journal.forget_streams(tenant_id)
        if not closed:
            raise NotFound("there is no such stream")


def _told(changes: Mapping[str, str | int | None]) -> dict[str, str | int | None]:
    """The settings of `changes`, as the database can hold them."""
    told = {name: changes[name] for name in ("display_name", "retention_days") if name in changes}
    if isinstance(name := told.get("display_name"), str):
        told["display_name"] = text(name)
    return told


async def _check_seen(connection: Connection, tenant_id: UUID, stream_id: UUID, seen: SettingsSeen | None) -> None:
    """Raise `PreconditionFailed` unless the stream has the settings that were seen; from then on nobody else changes them."""
    if seen is None:
        return
    row = await connection.fetchrow(SEEN, stream_id, tenant_id)
    if row is None:
        raise NotFound("there is no such stream")
    profile = PROFILES[DEFAULT_PROFILE] if row["profile"] is None else stored_profile(row["profile"])
    if SettingsSeen(row["display_name"], row["retention_days"], profile.alerts_per_day_max) != seen:
        raise PreconditionFailed("the stream was changed since you read it: get it again and repeat your change")


async def _set(connection: Connection, tenant_id: UUID, stream_id: UUID, told: Mapping[str, str | int | None]) -> None:
    values = (told.get("display_name"), "retention_days" in told, told.get("retention_days"))
    if await connection.fetchval(SET, stream_id, tenant_id, *values) is None:
        raise NotFound("there is no such stream")
