"""What the API needs from the other rooms: small protocols, so that every endpoint can be run against shipped fakes.

The rows and filters are those of `driftlock.storage`, which implements the repositories.
Lists are keyset pages: `after` is the position of the last item of the page before (None = from the start), and an item's
position is what the list sorts by. Repositories see one tenant at a time; another tenant's id is simply not found.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from driftlock.accounts.actor import Actor
from driftlock.accounts.keys import KeyKind, MintedKey, Principal, Scope
from driftlock.storage.anomalies import AnomalyFilter, AnomalyRow
from driftlock.storage.budgets import BudgetRow
from driftlock.storage.evidence import EvidenceKey, EvidenceStatus, StoredBundle
from driftlock.storage.incidents import IncidentFilter, IncidentRow
from driftlock.storage.keys import StoredKey
from driftlock.storage.known_requests import KnownRequest
from driftlock.storage.service_graphs import ServiceGraphRow
from driftlock.storage.stream_events import StoredStreamEvent
from driftlock.storage.streams import StreamRow

__all__ = [
    "AnomalyFilter",
    "AnomalyRepository",
    "AnomalyRow",
    "Authenticator",
    "BudgetRepository",
    "BudgetRow",
    "EvidenceKey",
    "EvidenceSource",
    "EvidenceStatus",
    "IncidentFilter",
    "IncidentRepository",
    "IncidentRow",
    "KeyRepository",
    "KnownRequest",
    "RequestRepository",
    "ServiceGraphRepository",
    "ServiceGraphRow",
    "StoredBundle",
    "StoredKey",
    "StoredStreamEvent",
    "StreamEventRepository",
    "StreamRepository",
    "StreamRow",
]


class Authenticator(Protocol):
    """Finds out who is asking (`driftlock.accounts.access.Access`)."""

    async def principal(self, presented: Sequence[str], *, peer: str, host: str, origin: str, now: datetime) -> Principal:
        """The principal of the credentials that were presented; raise `Unauthenticated` with one text for every reason."""
        ...


class KeyRepository(Protocol):
    """API keys by (time of creation, id)."""

    async def list(self, tenant_id: UUID, *, limit: int, after: tuple[datetime, str] | None) -> Sequence[StoredKey]:
        """One page, descending."""
        ...

    async def get(self, tenant_id: UUID, key_id: str) -> StoredKey | None:
        """One key."""
        ...

    async def insert(
        self,
        tenant_id: UUID,
        minted: MintedKey,
        *,
        kind: KeyKind,
        name: str,
        scopes: Collection[Scope],
        stream: str | None,
        expires_at: datetime | None,
        requests_per_minute: int | None,
        actor: Actor,
    ) -> StoredKey:
        """Store a new key; raise `Conflict` when there are too many."""
        ...

    async def rotate(
        self,
        tenant_id: UUID,
        key_id: str,
        minted: MintedKey,
        *,
        overlap: timedelta,
        at_most: Collection[Scope],
        actor: Actor,
    ) -> tuple[StoredKey, StoredKey]:
        """The new key and the old one, which expires after `overlap`; raise `NotFound`, `Conflict`, `PermissionDenied`."""
        ...

    async def revoke(self, tenant_id: UUID, key_id: str, actor: Actor) -> bool:
        """Revoke a key; False when there is none."""
        ...


class StreamRepository(Protocol):
    """Streams by (slug, id)."""

    async def list(self, tenant_id: UUID, *, limit: int, after: tuple[str, UUID] | None) -> Sequence[StreamRow]:
        """One page, ascending."""
        ...

    async def get(self, tenant_id: UUID, stream: UUID | str) -> StreamRow | None:
        """A stream by its id or its slug."""
        ...


class AnomalyRepository(Protocol):
    """Anomalies by (detected_at, end of the window in ns, id)."""

    async def list(
        self, tenant_id: UUID, filters: AnomalyFilter, *, limit: int, after: tuple[datetime, int, UUID] | None
    ) -> Sequence[AnomalyRow]:
        """One page, descending."""
        ...

    async def place(
        self, tenant_id: UUID, filters: AnomalyFilter, *, rows: int, after: tuple[datetime, int, UUID] | None
    ) -> tuple[datetime, int, UUID] | None:
        """Where a list of the first `rows` anomalies ends; None when there are no more than these."""
        ...

    async def of_row(self, tenant_id: UUID, stream_id: UUID, journal_seq: int, *, limit: int) -> Sequence[AnomalyRow]:
        """What a row of the journal brought to its stream, in the order of the events."""
        ...

    async def by_ids(self, tenant_id: UUID, anomaly_ids: Sequence[UUID]) -> Sequence[AnomalyRow]:
        """Those of these that there are, in any order."""
        ...

    async def get(self, tenant_id: UUID, anomaly_id: UUID) -> AnomalyRow | None:
        """One anomaly."""
        ...


class IncidentRepository(Protocol):
    """Incidents by (start of the incident, id)."""

    async def list(
        self, tenant_id: UUID, filters: IncidentFilter, *, limit: int, after: tuple[int, UUID] | None
    ) -> Sequence[IncidentRow]:
        """One page, descending."""
        ...

    async def by_ids(self, tenant_id: UUID, incident_ids: Sequence[UUID]) -> Sequence[IncidentRow]:
        """Those of these that there are, in any order."""
        ...

    async def get(self, tenant_id: UUID, incident_id: UUID) -> IncidentRow | None:
        """One incident."""
        ...


class StreamEventRepository(Protocol):
    """Events of one stream by (event time in ns, index of the record, id)."""

    async def list(
        self, tenant_id: UUID, stream_id: UUID, *, limit: int, after: tuple[int, int, UUID] | None
    ) -> Sequence[StoredStreamEvent]:
        """One page, descending."""
        ...


class ServiceGraphRepository(Protocol):
    """Service graphs of streams of traces."""

    async def get(self, tenant_id: UUID, stream_id: UUID) -> ServiceGraphRow | None:
        """The newest graph of a stream."""
        ...


class EvidenceSource(Protocol):
    """Signed evidence of findings, and the keys that have signed."""

    async def status(self, tenant_id: UUID, anomaly_id: UUID) -> EvidenceStatus | None:
        """Whether there is evidence of a finding; None when the tenant has no such finding."""
        ...

    async def bundle(self, tenant_id: UUID, anomaly_id: UUID) -> StoredBundle:
        """The evidence of a finding; raise `NotFound` for none of the tenant's, `EvidenceExpired` when there is none of it."""
        ...

    async def keys(self) -> Sequence[EvidenceKey]:
        """Every public key that has signed, the newest first."""
        ...


class RequestRepository(Protocol):
    """Requests that are remembered by what identifies them."""

    async def known(self, tenant_id: UUID, request_hash: bytes, received_ns: int) -> KnownRequest | None:
        """The journaled request that one received at `received_ns` would repeat; None when there is none."""
        ...


class BudgetRepository(Protocol):
    """Alert budgets of tenants."""

    async def get(self, tenant_id: UUID) -> BudgetRow | None:
        """The budget of a tenant and how it is spent; None when the tenant is gone."""
        ...
