"""Two streams whose folds are saved as a test says, for what depends on where they stand."""

from uuid import UUID

from driftlock.engine.ports import Checkpoint, Step
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.pool import Database
from driftlock.storage.recovery import recovery_position
from driftlock.storage.shard import Shard


class House:
    """Two streams A and B; rows 1 A, 2 B, 3 A, 4 A, 5 B, 6 clock."""

    def __init__(self, database: Database, shard: Shard, tenant: UUID, streams: dict[str, UUID]) -> None:
        self.database, self.tenant, self.streams = database, tenant, streams
        self.checkpoints = Checkpoints(database, shard)
        self.applied = 0

    async def apply(self, to_seq: int, tenant_seq: int | None = None, **streams: int) -> None:
        await self.checkpoints.commit(
            Step(
                self.applied,
                to_seq,
                stream_checkpoints={
                    (self.tenant, self.streams[name]): Checkpoint(seq, f"{name}{seq}".encode()) for name, seq in streams.items()
                },
                tenant_checkpoints={} if tenant_seq is None else {self.tenant: Checkpoint(tenant_seq, b"t")},
            )
        )
        self.applied = to_seq

    async def position(self) -> int:
        return await recovery_position(self.database, self.checkpoints)
