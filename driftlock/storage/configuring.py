"""How a stream gets its profile: the row of the journal that says so, and what lists show of it, in one statement."""

import json
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from uuid import UUID

from driftlock.engine.profile import DEFAULT_PROFILE, PROFILES, Profile
from driftlock.engine.records import encode_config
from driftlock.storage.beside import Beside, write_beside
from driftlock.storage.pool import Connection

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
