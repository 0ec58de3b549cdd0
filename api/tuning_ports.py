"""What the API needs to be told of feedback and tuning; the rows are those of `driftlock.storage`, which implements this."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from driftlock.accounts.actor import Actor
from driftlock.storage.feedback import PREVIEW_DAYS_MAX, FeedbackRow, Opinion, Preview
from driftlock.storage.tuning import TuningKind, TuningRow

__all__ = [
    "PREVIEW_DAYS_MAX",
    "FeedbackRepository",
    "FeedbackRow",
    "Opinion",
    "Preview",
    "TuningKind",
    "TuningRepository",
    "TuningRow",
]


class FeedbackRepository(Protocol):
    """What people say of anomalies, and what streams learn of it."""

    async def get(self, tenant_id: UUID, anomaly_id: UUID) -> FeedbackRow | None:
        """What was said of an anomaly."""
        ...

    async def give(self, tenant_id: UUID, anomaly_id: UUID, opinion: Opinion, actor: Actor) -> FeedbackRow:
        """Say it, in place of what was said before; raise `NotFound`, `Conflict` where the stream can learn no more."""
        ...

    async def withdraw(self, tenant_id: UUID, anomaly_id: UUID, actor: Actor) -> bool:
        """Take it back; False when nothing was said."""
        ...

    async def preview(self, tenant_id: UUID, anomaly_id: UUID, opinion: Opinion) -> Preview:
        """What it would have changed; raise as `give` does."""
        ...


class TuningRepository(Protocol):
    """Changes of streams' profiles by their numbers."""

    async def list(self, tenant_id: UUID, stream_id: UUID, *, limit: int, after: int | None) -> Sequence[TuningRow]:
        """One page, descending."""
        ...

    async def automatic(self, tenant_id: UUID, stream_id: UUID) -> bool:
        """Whether thresholds follow feedback."""
        ...

    async def switch(
        self, tenant_id: UUID, stream_id: UUID, actor: Actor, *, automatic: bool, expected: bool | None = None
    ) -> None:
        """Let them, or not; raise `PreconditionFailed` when it is not as `expected` by then."""
        ...

    async def undo(self, tenant_id: UUID, stream_id: UUID, number: int, actor: Actor) -> TuningRow:
        """Undo a change; raise `NotFound`, `Conflict` where a later one has taken its place."""
        ...
