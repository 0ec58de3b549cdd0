"""How a stream gets its profile and a tenant its budget: the row of the journal that says so, and what lists show of it."""

import json
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from uuid import UUID

from driftlock.engine.profile import DEFAULT_PROFILE, PROFILES, Profile
from driftlock.engine.records import encode_budget, encode_config
from driftlock.errors import PreconditionFailed
from driftlock.storage.beside import Beside, write_beside
from driftlock.storage.pool import Connection

# As appends take it, and before the tenant: nothing gets between what is looked at and what is written.
LOCK = "select from driftlock.journal_shard s where s.shard = $1 for update"
BUDGET = "select t.alerts_per_day_max from driftlock.tenants t where t.id = $1 for no key update"
SET_BUDGET = "select driftlock.journal_set_budget($1, $2, $3, $4, $5, $6, $7)"
CONFIGURE = "select driftlock.journal_configure($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"


@dataclass(frozen=True, slots=True)
class Configuration:
    """A profile for a stream. `expected` is what it has to be given by then (None: whatever it is), `fresh`: nothing at all."""

    tenant_id: UUID
    stream_id: UUID
    profile: Profile
    fresh: bool = False
    expected: Profile | None = None

    def work(self, owner: tuple[int, int, int], beside: Beside | None = None) -> Callable[[Connection], Awaitable[int | None]]:
        """What the owner of the journal does: shard, epoch, most bytes. `beside` writes in its transaction what goes with it.

        The position of the stream's configuration; None when there is no such stream, or none that is still fresh; -1 when it
        has another profile than the expected one.
        """
        body, expected = encode_config(self.profile), self.expected
        arguments = (
            *owner,
            self.tenant_id,
            self.stream_id,
            json.dumps(asdict(self.profile)),
            zlib.crc32(body),
            body,
            self.fresh,
            None if expected is None else json.dumps(asdict(expected)),
            expected == PROFILES[DEFAULT_PROFILE],
        )

        async def alone(connection: Connection) -> int | None:
            position: int | None = await connection.fetchval(CONFIGURE, *arguments)
            return position

        async def together(connection: Connection) -> int | None:
            async with connection.transaction():
                position = await alone(connection)
                if position is not None and position > 0:
                    await write_beside(beside, connection, position)
                return position

        return alone if beside is None else together


@dataclass(frozen=True, slots=True)
class BudgetSetting:
    """An alert budget for a tenant. `expected` is what holds by then, in a tuple of one (None in it: nobody has set any)."""

    tenant_id: UUID
    alerts_per_day_max: int
    expected: tuple[int | None] | None = None

    def work(self, owner: tuple[int, int, int], beside: Beside) -> Callable[[Connection], Awaitable[int | None]]:
        """What the owner of the journal does: shard, epoch, most bytes. `beside` writes in its transaction what goes with it.

        The position of the budget; 0 when it holds already, None when there is no such tenant. Raises `PreconditionFailed` when
        another one than the expected one holds.
        """
        body = encode_budget(self.alerts_per_day_max)

        async def set_budget(connection: Connection) -> int | None:
            async with connection.transaction():
                if self.expected is not None:
                    await connection.execute(LOCK, owner[0])
                    if await connection.fetchval(BUDGET, self.tenant_id) != self.expected[0]:
                        raise PreconditionFailed(
                            "the budget was changed since you read it: get it again and repeat your change"
                        )
                told = (self.tenant_id, self.alerts_per_day_max, zlib.crc32(body), body)
                position: int | None = await connection.fetchval(SET_BUDGET, *owner, *told)
                if position:
                    await write_beside(beside, connection, position)
                return position

        return set_budget
