"""What the endpoints of anchors need from the other rooms."""

from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

from driftlock.accounts.actor import Actor
from driftlock.engine.anchor import AnchorChange
from driftlock.engine.drift import DriftHour
from driftlock.storage.anchors import AnchorView, StoredAnchor

__all__ = ["AnchorRepository", "AnchorView", "DriftRepository", "StoredAnchor"]


class AnchorRepository(Protocol):
    """Anchors of one stream at a time (`driftlock.storage.anchors.Anchors`)."""

    async def get(self, tenant_id: UUID, stream_id: UUID) -> AnchorView:
        """The settings, the anchor and the newest hour of a stream."""
        ...

    async def of_row(self, tenant_id: UUID, stream_id: UUID, seq: int) -> StoredAnchor | None:
        """The anchor that a row froze, or could not freeze; None before it is applied."""
        ...

    async def list(self, tenant_id: UUID, stream_id: UUID, *, limit: int, after: int | None) -> Sequence[StoredAnchor]:
        """One page of the history, descending by `seq`."""
        ...

    async def change(
        self,
        tenant_id: UUID,
        stream_id: UUID,
        change: AnchorChange,
        *,
        actor: Actor,
        action: str,
        detail: Mapping[str, object],
        expected_seq: int | None,
    ) -> int:
        """Journal a change and who made it; its position.

        Raise `NotFound`, `Unavailable`, and `PreconditionFailed` when the newest change is not the one at `expected_seq` (0 =
        there was none; None: whatever it is).
        """
        ...


class DriftRepository(Protocol):
    """Hours of one stream at a time by (start of the hour in ns, anchor)."""

    async def list(
        self,
        tenant_id: UUID,
        stream_id: UUID,
        *,
        limit: int,
        since_ns: int | None,
        until_ns: int | None,
        anchor_id: UUID | None,
        after: tuple[int, UUID] | None,
    ) -> Sequence[DriftHour]:
        """One page of the hours that begin in [since, until), descending."""
        ...
