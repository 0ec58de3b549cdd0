"""Service graphs of streams of traces: written with what the applier did, the newest of each stream is kept."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from uuid import UUID

from driftlock.engine.fold import GraphEdge
from driftlock.engine.ports import ServiceGraph
from driftlock.storage.columns import columns, ns, text
from driftlock.storage.pool import Connection, Database

GRAPH_EDGES_MAX = 2000
"""So many edges of a graph are stored, those with the most calls."""

SAVE = """
insert into driftlock.service_graphs as known (tenant_id, stream_id, seq, as_of_ns, edges_known, edges)
select g.tenant_id, g.stream_id, g.seq, g.as_of_ns, g.edges_known, g.edges::jsonb
  from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::integer[], $6::text[])
    as g (tenant_id, stream_id, seq, as_of_ns, edges_known, edges)
  join driftlock.streams s on s.id = g.stream_id and s.tenant_id = g.tenant_id
on conflict (stream_id) do update set
  seq = excluded.seq, as_of_ns = excluded.as_of_ns, edges_known = excluded.edges_known, edges = excluded.edges
where known.seq <= excluded.seq
"""
LOAD = "select seq, as_of_ns, edges_known, edges from driftlock.service_graphs where stream_id = $1"


@dataclass(frozen=True, slots=True)
class ServiceGraphRow:
    """A graph as it is stored; `edges_known` were known, of which it has those with the most calls, by caller and callee."""

    graph: ServiceGraph
    edges_known: int


class ServiceGraphs:
    """The service graphs of one tenant at a time. Raises `Unavailable` when the database is away."""

    def __init__(self, database: Database) -> None:
        """`database` must be entered before use."""
        self._database = database

    async def get(self, tenant_id: UUID, stream_id: UUID) -> ServiceGraphRow | None:
        """The graph of a stream; None where there is none."""
        async with self._database.tenant(tenant_id) as connection:
            row = await connection.fetchrow(LOAD, stream_id)
        if row is None:
            return None
        edges = tuple(GraphEdge(**edge) for edge in json.loads(row["edges"]))
        return ServiceGraphRow(ServiceGraph(row["seq"], row["as_of_ns"], edges), row["edges_known"])


async def save_graphs(connection: Connection, graphs: Mapping[tuple[UUID, UUID], ServiceGraph]) -> None:
    """Write graphs by (tenant, stream) in the transaction of the step that brings them; one that is older changes nothing."""
    if graphs:
        rows = [
            (tenant_id, stream_id, graph.seq, ns(graph.as_of_ns), len(graph.edges), _json(graph.edges))
            for (tenant_id, stream_id), graph in graphs.items()
        ]
        await connection.execute(SAVE, *columns(rows))


def _json(edges: Sequence[GraphEdge]) -> str:
    kept = sorted(edges, key=lambda edge: (-edge.calls, edge.caller, edge.callee))[:GRAPH_EDGES_MAX]
    kept.sort(key=lambda edge: (edge.caller, edge.callee))
    stored = [asdict(edge) | {"caller": text(edge.caller), "callee": text(edge.callee)} for edge in kept]
    return json.dumps(stored, separators=(",", ":"), allow_nan=False)
