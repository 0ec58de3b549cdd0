"""Service graphs: the newest of a stream is kept, with its edges of the most calls."""

from dataclasses import replace
from uuid import UUID

import asyncpg
import pytest

from driftlock.engine.fold import GraphEdge
from driftlock.engine.ports import ServiceGraph, Step
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.journal import Journal
from driftlock.storage.pool import Database
from driftlock.storage.service_graphs import GRAPH_EDGES_MAX, ServiceGraphRow, ServiceGraphs
from driftlock.storage.shard import Shard
from driftlock.storage.tenants import Tenants
from tests.storage.helpers import NOW_NS, submission

EDGE = GraphEdge("shop/cart@prod", "shop/pay@prod", 10, 1, 0.003, 1.25, NOW_NS, NOW_NS + 2**40)
ROOT = GraphEdge("", "shop/cart@prod", 12, 0, 0.1, 0.2, NOW_NS, NOW_NS)


@pytest.fixture
async def stream(journal: Journal, tenant: UUID) -> UUID:
    return (await journal.submit(submission(tenant, "line"))).stream_ids[0]


@pytest.fixture
def checkpoints(database: Database, shard: Shard) -> Checkpoints:
    return Checkpoints(database, shard)


async def test_the_newest_graph_of_a_stream_is_kept(
    database: Database, checkpoints: Checkpoints, tenant: UUID, stream: UUID
) -> None:
    graphs = ServiceGraphs(database)
    assert await graphs.get(tenant, stream) is None
    first = ServiceGraph(1, NOW_NS, (EDGE, ROOT))
    await checkpoints.commit(Step(0, 1, graphs={(tenant, stream): first}))
    assert await graphs.get(tenant, stream) == ServiceGraphRow(replace(first, edges=(ROOT, EDGE)), 2)
    second = ServiceGraph(3, NOW_NS + 1, (replace(ROOT, calls=99),))
    await checkpoints.commit(Step(1, 3, graphs={(tenant, stream): second}))
    await checkpoints.commit(Step(3, 3, graphs={(tenant, stream): first}))
    assert await graphs.get(tenant, stream) == ServiceGraphRow(second, 1)


async def test_edges_with_few_calls_go_when_there_are_too_many(
    database: Database, checkpoints: Checkpoints, tenant: UUID, stream: UUID
) -> None:
    edges = tuple(replace(EDGE, callee=f"s{number:05}", calls=number) for number in range(GRAPH_EDGES_MAX + 3))
    await checkpoints.commit(Step(0, 1, graphs={(tenant, stream): ServiceGraph(1, NOW_NS, edges)}))
    row = await ServiceGraphs(database).get(tenant, stream)
    assert row is not None
    assert (row.edges_known, row.graph.edges) == (GRAPH_EDGES_MAX + 3, edges[3:])


async def test_names_that_a_database_can_not_hold_are_replaced(
    database: Database, checkpoints: Checkpoints, tenant: UUID, stream: UUID
) -> None:
    graph = ServiceGraph(1, 2**64, (replace(EDGE, caller="a\x00b", callee="\ud800"),))
    await checkpoints.commit(Step(0, 1, graphs={(tenant, stream): graph}))
    row = await ServiceGraphs(database).get(tenant, stream)
    assert row is not None
    assert (row.graph.as_of_ns, row.graph.edges) == (2**63 - 1, (replace(EDGE, caller="a\u2400b", callee="?"),))


async def test_a_graph_is_its_tenants_and_goes_with_it(
    database: Database, checkpoints: Checkpoints, tenant: UUID, stream: UUID, owner: asyncpg.Connection
) -> None:
    other = (await Tenants(database).create("other")).tenant_id
    graph = ServiceGraph(1, NOW_NS, (EDGE,))
    await checkpoints.commit(Step(0, 1, graphs={(other, stream): graph, (tenant, UUID(int=5)): graph}))
    assert await owner.fetchval("select count(*) from driftlock.service_graphs") == 0
    await checkpoints.commit(Step(1, 1, graphs={(tenant, stream): graph}))
    assert await ServiceGraphs(database).get(other, stream) is None
    await owner.execute("delete from driftlock.tenants where id = $1", tenant)
    assert await owner.fetchval("select count(*) from driftlock.service_graphs") == 0
