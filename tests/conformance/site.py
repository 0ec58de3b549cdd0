"""A whole server in this process, on a database of its own that can be taken away."""

import asyncio
import io
import itertools
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import asyncpg
import httpx
import structlog

from driftlock.accounts.keys import RANDOMNESS_BYTES, KeyKind, Scope, mint
from driftlock.engine.event import Signal
from driftlock.errors import Unavailable
from driftlock.storage.keys import Keys
from driftlock.storage.ledger import Ledgers
from driftlock.storage.pool import Database
from driftlock.storage.tenants import Tenants
from server.database import DatabaseUrls
from server.doors import Doors, open_doors
from server.firebase import CERTIFICATES_URL
from server.pipeline import Pipeline, open_pipeline
from server.settings import parse_settings
from tests.conformance import doors as clients
from tests.conformance.contract import Counted, Ledger
from tests.conftest import Urls

LEDGER = """
select (select coalesce(sum(j.records), 0)::bigint from driftlock.journal j join driftlock.streams s on s.id = j.stream_id
         where j.tenant_id = $1 and j.kind = 0 and s.service <> '_traces') as in_journal,
       (select coalesce(sum(m.records), 0)::bigint from driftlock.meter m where m.tenant_id = $1) as metered,
       coalesce(sum(l.received), 0)::bigint as received, coalesce(sum(l.journaled), 0)::bigint as journaled,
       coalesce(sum(l.rejected), 0)::bigint as rejected, coalesce(sum(l.refused), 0)::bigint as refused,
       coalesce(sum(l.deduplicated), 0)::bigint as deduplicated
  from driftlock.ledger l where l.tenant_id = $1
"""
COUNTERS = {
    "received": "driftlock_received_records_total",
    "accepted": "driftlock_accepted_records_total",
    "rejected": "driftlock_rejected_records_total",
    "refused": "driftlock_refused_records_total",
    "duplicate": "driftlock_duplicate_records_total",
    "refusals": "driftlock_refused_requests_total",
}
FLUSH_S = 10.0


class Wire:
    """Forwards to PostgreSQL; `cut` ends all connections and refuses new ones until `mend`. A `deaf` one loses all answers."""

    def __init__(self, dsn: str) -> None:
        self._target = urlsplit(dsn)
        self._whole = True
        self.deaf = False
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def dsn(self) -> str:
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return urlunsplit(self._target._replace(netloc=f"{self._target.netloc.rpartition('@')[0]}@127.0.0.1:{port}"))

    def cut(self) -> None:
        self._whole = self.deaf = False
        for writer in list(self._writers):
            writer.transport.abort()

    def mend(self) -> None:
        self._whole = True

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._whole:
            writer.transport.abort()
            return
        up_reader, up_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._writers |= {writer, up_writer}
        await asyncio.gather(_pump(reader, up_writer, lambda: False), _pump(up_reader, writer, lambda: self.deaf))
        self._writers -= {writer, up_writer}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: Callable[[], bool]) -> None:
    with suppress(OSError):
        while chunk := await reader.read(65536):
            if lost():
                continue
            writer.write(chunk)
            await writer.drain()
    writer.transport.abort()


@dataclass
class Site:
    """A running server, its database behind the scenes, and a client at each door."""

    doors: dict[str, Any]
    listening: Doors
    pipeline: Pipeline
    database: Database  # not through the wire
    owner: "asyncpg.Connection[asyncpg.Record]"
    wire: Wire
    names: Iterator[int] = field(default_factory=itertools.count)

    @property
    def rest(self) -> httpx.AsyncClient:
        """A client of the REST door, for what the door has no words for."""
        client: httpx.AsyncClient = self.doors[clients.RestDoor.name].client
        return client

    async def tenant(self) -> UUID:
        """A new tenant."""
        return (await Tenants(self.database).create(f"tenant-{next(self.names)}", plan="enterprise")).tenant_id

    async def key(self, tenant_id: UUID, scope: Scope = Scope.INGEST, stream: str | None = None) -> str:
        """A key of the tenant, bound to a stream or not."""
        minted = mint(KeyKind.TEST, secrets.token_bytes(RANDOMNESS_BYTES))
        await Keys(self.database).insert(tenant_id, minted, kind=KeyKind.TEST, name="", scopes={scope}, stream=stream)
        return minted.text

    async def ledger(self, tenant_id: UUID) -> Ledger:
        """What the database says of the tenant, once the process has written down what only it knows."""
        await self.flush()
        row = await self.owner.fetchrow(LEDGER, tenant_id)
        assert row is not None
        differences = {each.name: each.differences for each in await Ledgers(self.database).read() if each.differences}
        assert not differences
        return Ledger(**row)

    async def flush(self) -> None:
        """Have the ledger written, as the process does every few seconds; it may not have a connection again yet."""
        end_s = asyncio.get_running_loop().time() + FLUSH_S
        while True:
            try:
                return await self.pipeline.ledger.flush()
            except Unavailable:
                assert asyncio.get_running_loop().time() < end_s
                await asyncio.sleep(0.05)

    async def streams(self, tenant_id: UUID) -> list[str]:
        """The services of the tenant's streams."""
        rows = await self.owner.fetch("select service from driftlock.streams where tenant_id = $1 order by 1", tenant_id)
        return [row["service"] for row in rows]

    def counted(self, name: str, signal: Signal) -> float:
        """A counter of `/metrics`, over all reasons."""
        return sum(each.value for each in self._samples(f"driftlock_{name}_total") if each.labels["signal"] == signal)

    def counters(self) -> Counted:
        """What the process has counted, over all signals and reasons, but for requests of no known signal."""
        return Counted(
            **{
                field_name: sum(each.value for each in self._samples(name) if each.labels["signal"] != "unknown")
                for field_name, name in COUNTERS.items()
            }
        )

    async def counted_since(self, before: Counted, refusals: int) -> Counted:
        """What was counted since then; a client may have its answer from the transport before the refusal is counted."""
        end_s = asyncio.get_running_loop().time() + FLUSH_S
        while (self.counters() - before).refusals < refusals and asyncio.get_running_loop().time() < end_s:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        return self.counters() - before

    def reasons(self, name: str) -> dict[tuple[str, str], float]:
        """A counter by signal and reason."""
        return {(each.labels["signal"], each.labels["reason"]): each.value for each in self._samples(f"driftlock_{name}_total")}

    def _samples(self, name: str) -> list[Any]:
        collected = self.pipeline.telemetry.registry.collect()
        return [sample for metric in collected for sample in metric.samples if sample.name == name]


def rules(folder: Path) -> Path:
    """A routing file."""
    path = folder / "routing.toml"
    path.write_text('[[rule]]\nmatch = {"service.name" = "ruled"}\nservice = "by-rule"\n')
    return path


@asynccontextmanager
async def open_site(
    urls: Urls, routing: Path, log: Any = None, *, certificates_url: str = CERTIFICATES_URL, **more: str
) -> AsyncIterator[Site]:
    """The server on an empty database, all doors on free ports; `routing` is its file of rules, `more` are settings."""
    quiet = structlog.make_filtering_bound_logger(50)
    log = log or structlog.wrap_logger(structlog.PrintLogger(io.StringIO()), wrapper_class=quiet)
    async with Wire(urls.app) as wire:
        settings = parse_settings(
            {
                "DATABASE_URL": wire.dsn,
                "DRIFTLOCK_MIGRATE_DATABASE_URL": urls.owner,
                "DRIFTLOCK_OTLP_GRPC_ADDR": "127.0.0.1:0",
                "DRIFTLOCK_OTLP_HTTP_ADDR": "127.0.0.1:0",
                "DRIFTLOCK_HTTP_ADDR": "127.0.0.1:0",
                "DRIFTLOCK_DEMO": "off",
                "DRIFTLOCK_ROUTING_FILE": str(routing),
                "DRIFTLOCK_WORKER_THREADS": "1",
                **more,
            }
        )
        async with (
            open_pipeline(settings, DatabaseUrls(wire.dsn, urls.owner), log) as pipeline,
            open_doors(settings, pipeline, log, certificates_url) as listening,
            Database(urls.app) as database,
        ):
            assert listening.otlp_grpc is not None
            assert listening.otlp_http is not None
            assert listening.rest is not None
            addresses = (listening.otlp_grpc.text, listening.otlp_http.text, listening.rest.text)
            await pipeline.take_over()
            await listening.serve()
            detecting = asyncio.create_task(pipeline.detection.run())
            async with clients.open_doors(*addresses) as doors:
                owner = await asyncpg.connect(urls.owner)
                try:
                    yield Site(doors, listening, pipeline, database, owner, wire)
                finally:
                    await owner.close()
                    detecting.cancel()
                    await asyncio.wait([detecting])
