"""In which shard of the journal the streams of a tenant lie, and its fold: the same in every process of a database."""

from typing import Protocol
from uuid import UUID

from driftlock.engine.event import StreamKey
from driftlock.storage.shard import ONLY_SHARD


class Placement(Protocol):
    """Where what is new goes; what is there stays where it is."""

    def home(self, tenant_id: UUID) -> int:
        """The shard that has the tenant's fold, and what is said of the tenant as a whole."""
        ...

    def shard(self, tenant_id: UUID, key: StreamKey) -> int:
        """The shard of a stream."""
        ...


class OneShard:
    """All in one; implements `Placement`."""

    def __init__(self, number: int = ONLY_SHARD) -> None:
        self._number = number

    def home(self, _tenant_id: UUID) -> int:
        """See `Placement`."""
        return self._number

    def shard(self, _tenant_id: UUID, _key: StreamKey) -> int:
        """See `Placement`."""
        return self._number


def shard_of(placement: Placement, tenant_id: UUID, home: int, key: StreamKey) -> int:
    """The shard of a new stream of a tenant whose home is known: beside what it has, where that is not as placed."""
    return placement.shard(tenant_id, key) if home == placement.home(tenant_id) else home
