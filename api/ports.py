"""What the API needs from the other rooms: small protocols, so that every endpoint can be run against shipped fakes.

The rows and filters are those of `driftlock.storage`, which implements the repositories.
Lists are keyset pages: `after` is the position of the last item of the page before (None = from the start), and an item's
position is what the list sorts by. Repositories see one tenant at a time; another tenant's id is simply not found.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from driftlock.accounts.keys import Principal
from driftlock.storage.anomalies import AnomalyFilter, AnomalyRow
from driftlock.storage.budgets import BudgetRow
from driftlock.storage.incidents import IncidentRow
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
    "IncidentRepository",
    "IncidentRow",
    "KnownRequest",
    "RequestRepository",
    "ServiceGraphRepository",
    "ServiceGraphRow",
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

    async def get(self, tenant_id: UUID, anomaly_id: UUID) -> AnomalyRow | None:
        """One anomaly."""
        ...


class IncidentRepository(Protocol):
    """Incidents by (start of the incident, id)."""

    async def list(self, tenant_id: UUID, *, limit: int, after: tuple[int, UUID] | None) -> Sequence[IncidentRow]:
        """One page, descending."""
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
