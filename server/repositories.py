"""Storage's rows as the API's: the two rooms do not know each other, so the composition root carries one over."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from api import ports
from driftlock.storage.anomalies import Anomalies
from driftlock.storage.incidents import Incidents
from driftlock.storage.streams import Streams

Row = TypeVar("Row")


def _as(model: type[Row], row: object) -> Row:
    """`row` with its fields of the same names as a `model`; a field that is missing is an error at once."""
    names = [entry.name for entry in fields(model)]  # type: ignore[arg-type]  # every model is a dataclass
    values: dict[str, Any] = {name: getattr(row, name) for name in names}
    return model(**values)


class StreamRepository:
    """Streams by (slug, id); see `api.ports.StreamRepository`."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    async def list(self, tenant_id: UUID, *, limit: int, after: tuple[str, UUID] | None) -> Sequence[ports.StreamRow]:
        """One page, ascending."""
        return [_as(ports.StreamRow, row) for row in await self._streams.list(tenant_id, limit=limit, after=after)]

    async def get(self, tenant_id: UUID, stream: UUID | str) -> ports.StreamRow | None:
        """A stream by its id or its slug."""
        row = await self._streams.get(tenant_id, stream)
        return None if row is None else _as(ports.StreamRow, row)


class AnomalyRepository:
    """Anomalies by (detected_at, id); see `api.ports.AnomalyRepository`."""

    def __init__(self, anomalies: Anomalies) -> None:
        self._anomalies = anomalies

    async def list(
        self, tenant_id: UUID, filters: ports.AnomalyFilter, *, limit: int, after: tuple[datetime, UUID] | None
    ) -> Sequence[ports.AnomalyRow]:
        """One page, descending."""
        rows = await self._anomalies.list(tenant_id, filters, limit=limit, after=after)
        return [_as(ports.AnomalyRow, row) for row in rows]

    async def get(self, tenant_id: UUID, anomaly_id: UUID) -> ports.AnomalyRow | None:
        """One anomaly."""
        row = await self._anomalies.get(tenant_id, anomaly_id)
        return None if row is None else _as(ports.AnomalyRow, row)


class IncidentRepository:
    """Incidents by (start, id); see `api.ports.IncidentRepository`."""

    def __init__(self, incidents: Incidents) -> None:
        self._incidents = incidents

    async def list(self, tenant_id: UUID, *, limit: int, after: tuple[int, UUID] | None) -> Sequence[ports.IncidentRow]:
        """One page, descending."""
        return [_as(ports.IncidentRow, row) for row in await self._incidents.list(tenant_id, limit=limit, after=after)]

    async def get(self, tenant_id: UUID, incident_id: UUID) -> ports.IncidentRow | None:
        """One incident."""
        row = await self._incidents.get(tenant_id, incident_id)
        return None if row is None else _as(ports.IncidentRow, row)
