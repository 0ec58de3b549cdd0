"""How the database answers a list: the plans of its statements, as the role that serves requests, under row-level security."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from driftlock.storage.pool import Connection, Database

Node = Mapping[str, Any]
LARGE = ("anomalies", "incidents", "anomaly_traces", "live_events", "stream_scores", "audit", "journal")
"""Tables that grow with what happens. Of the others one page holds many rows, and reading it beats an index."""


@dataclass(frozen=True)
class Plan:
    """What one statement cost."""

    ms: float
    planning_ms: float
    blocks: int
    rows_dropped: int
    scans: tuple[str, ...]

    @property
    def whole_tables(self) -> tuple[str, ...]:
        """Tables of many rows that were read from one end to the other."""
        return tuple(table for table in LARGE if f"Seq Scan {table}" in self.scans)


@dataclass
class Explaining:
    """Stands for a connection: what is fetched over it is explained as well."""

    connection: Connection
    plans: list[Plan] = field(default_factory=list)

    async def execute(self, statement: str, *arguments: object) -> str:
        """As of a connection."""
        return str(await self.connection.execute(statement, *arguments))

    async def fetch(self, statement: str, *arguments: object) -> Any:
        """As of a connection."""
        await self._explain(statement, arguments)
        return await self.connection.fetch(statement, *arguments)

    async def fetchrow(self, statement: str, *arguments: object) -> Any:
        """As of a connection."""
        await self._explain(statement, arguments)
        return await self.connection.fetchrow(statement, *arguments)

    async def _explain(self, statement: str, arguments: Sequence[object]) -> None:
        told = await self.connection.fetchval(f"explain (analyze, buffers, format json) {statement}", *arguments)
        [tree] = json.loads(told)
        self.plans.append(_plan(tree))


class ExplainedDatabase(Database):
    """A database that explains what is read of a tenant. `plans` are those since it was last cleared."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self.plans: list[Plan] = []

    @asynccontextmanager
    async def tenant(self, tenant_id: UUID, *, read_only: bool = True) -> AsyncIterator[Connection]:
        """As of every database."""
        async with super().tenant(tenant_id, read_only=read_only) as connection:
            explaining: Any = Explaining(connection, self.plans)
            yield explaining


def _plan(tree: Node) -> Plan:
    nodes = list(_nodes(tree["Plan"]))
    top = tree["Plan"]
    return Plan(
        tree["Execution Time"],
        tree["Planning Time"],
        top["Shared Hit Blocks"] + top["Shared Read Blocks"],
        sum(node.get("Rows Removed by Filter", 0) * node["Actual Loops"] for node in nodes),
        tuple(_scan(node) for node in nodes if "Scan" in node["Node Type"] and "Bitmap Heap" not in node["Node Type"]),
    )


def _scan(node: Node) -> str:
    return f"{node['Node Type']} {node.get('Index Name', node.get('Relation Name', ''))}".strip()


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    for inner in node.get("Plans", ()):
        yield from _nodes(inner)
