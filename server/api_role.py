"""`driftlock api`: REST alone, over a database whose journal other processes own. It keeps nothing, so any number may run.

    REST -> the shared journal (records to score, what people say) -> the owners of shards, workers or a server, read it there
    REST <- PostgreSQL (findings, incidents, states)                  wherever something was committed, all see it

What `POST /v1/detect` is asked is scored by the owner of the stream's shard: this process looks whether it has come past it.
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID

from structlog.typing import FilteringBoundLogger

import driftlock
from cbad_cy.codec import Codec
from driftlock.engine.profile import DEFAULT_CODEC
from driftlock.errors import NotFound
from driftlock.storage.controls import Controls
from driftlock.storage.journal_limits import JournalLimits
from driftlock.storage.key_directory import KeyUse
from driftlock.storage.placement import OneShard, Placement
from driftlock.storage.pool import Database
from driftlock.storage.shared_intake import SharedIntake
from driftlock.storage.shared_journal import SharedJournal
from driftlock.storage.startup import StartupRefused
from server.addresses import Address
from server.database import DatabaseUrls, prepare
from server.doors import open_doors
from server.evidence import open_evidence
from server.ledger import keep_ledger
from server.local import open_access
from server.outage import OutageReport
from server.ownership import fold_limits
from server.pipeline import Served
from server.process import StopSignals, until
from server.redaction import take_care
from server.settings import Settings
from server.shards import check_shards, check_spread, shard_limits
from server.telemetry import Telemetry, TimedIntake
from server.traffic import keep_traffic
from server.tuning import teach
from server.views import open_hub

NOTICE_S = 1.0  # between "not ready" and closing the doors, for load balancers to notice
LOOK_PERIOD_S = 0.05  # how soon a request that waits for its score sees it
APPLIED = "select p.applied_seq from driftlock.streams s join driftlock.journal_position p using (shard) where s.id = $1"
WATCHED = ("the use of API keys", "the watch of redaction rules", "the ledger", "the tuning of thresholds")


@dataclass(frozen=True, slots=True)
class ApiRole:
    """REST as it runs; `watched` must not end while it serves."""

    served: Served
    watched: dict[str, Callable[[], Awaitable[None]]]


async def run_api(settings: Settings, log: FilteringBoundLogger, announce: Callable[[str], None]) -> None:
    """Run until SIGINT or SIGTERM. `announce` prints for people. Raises the reason of a failed start or run."""
    began_s = time.monotonic()
    with StopSignals(announce) as signals:
        serving = asyncio.create_task(_run(settings, log, announce, signals.requested, began_s))
        interrupted = asyncio.create_task(signals.requested.wait())
        await asyncio.wait({serving, interrupted}, return_when=asyncio.FIRST_COMPLETED)
        interrupted.cancel()
        await serving


async def _run(
    settings: Settings, log: FilteringBoundLogger, announce: Callable[[str], None], stop: asyncio.Event, began_s: float
) -> None:
    alone = replace(settings, otlp_grpc=None, otlp_http=None)
    async with open_api(alone, log) as role, open_doors(alone, role.served, log) as doors:
        if stop.is_set():
            return
        await doors.serve()
        address: Address | None = doors.rest
        startup_ms = round((time.monotonic() - began_s) * 1000)
        where = "" if address is None else address.text
        announce(f"Driftlock {driftlock.__version__} api is ready after {startup_ms} ms.\n\n  rest  http://{where}\n")
        log.info("ready", startup_ms=startup_ms, rest=where)
        try:
            ending = await until(stop, {**doors.watched, **role.watched})
        finally:
            log.info("draining")
            await doors.drain()
        if address is not None and not address.loopback:
            await asyncio.sleep(NOTICE_S)
    log.info(ending.value)


@asynccontextmanager
async def open_api(settings: Settings, log: FilteringBoundLogger) -> AsyncIterator[ApiRole]:
    """Everything that REST is made with. Raises `StartupRefused`, `Unavailable`."""
    urls = _needed(settings)
    codec = Codec(DEFAULT_CODEC)
    telemetry = Telemetry(version=driftlock.__version__, codec=codec.name, codec_version=codec.version)
    async with AsyncExitStack() as stack:
        schema_version = await prepare(urls, settings.unsafe_database, lambda what: log.warning("unsafe database", what=what))
        keeps, outages = not settings.may_forget, OutageReport(telemetry, log)
        database = await stack.enter_async_context(Database(urls.app, on_change=outages, keeps_commits=keeps))
        limits, placement = await _shards(settings, database)
        meter, ledger = keep_ledger(database, telemetry, log, by_tenant=settings.metrics_tenants)
        stack.push_async_callback(ledger.close)
        key_use, draining = KeyUse(database), asyncio.Event()
        access, _ = await open_access(settings, database, key_use.note)
        shared = SharedJournal(database, journal_bytes_max=limits.journal_bytes_max, placement=placement)
        intake = SharedIntake(database, node=socket.gethostname(), limits=limits, placement=placement)
        controls = Controls(shared)
        care, teaching = take_care(database, shared, controls, log), teach(database, shared, controls, log)
        served = Served(
            database=database,
            intake=TimedIntake(intake, telemetry, time.monotonic),
            configurator=shared,
            controls=controls,
            care=care,
            live=open_hub(database, draining),
            teaching=teaching,
            telemetry=telemetry,
            meter=meter,
            access=access,
            evidence=open_evidence(settings, database, fold_limits(settings), log),
            schema_version=schema_version,
            codec=codec,
            scored=partial(_scored, database),
            draining=draining,
        )
        # What a database needs from time to time is done by the owners of its shards.
        watched = {**care.watched, **teaching.watched, "the ledger": ledger.run}
        watched["the use of API keys"] = partial(keep_traffic, database, key_use, log)
        yield ApiRole(served, {name: watched[name] for name in WATCHED})


def _needed(settings: Settings) -> DatabaseUrls:
    """What it can not do without. Raises `StartupRefused`."""
    if settings.database_url is None:
        raise StartupRefused(
            "DATABASE_URL is not set: `driftlock api` shares its database with workers or a server, so it needs a PostgreSQL "
            "that all of them reach, not the embedded one"
        )
    if settings.http is None:
        raise StartupRefused("DRIFTLOCK_HTTP_ADDR is off: nothing could come in")
    return DatabaseUrls(settings.database_url, settings.migrate_database_url)


async def _shards(settings: Settings, database: Database) -> tuple[JournalLimits, Placement]:
    """Of workers, where Kafka is named; else the one shard of a server."""
    if settings.kafka is None:
        window_ms = settings.dedup_window_seconds * 1000
        return JournalLimits(journal_bytes_max=settings.journal_bytes_max, dedup_window_ms=window_ms), OneShard()
    await check_shards(database, settings.kafka_partitions)
    return shard_limits(settings), await check_spread(database, settings)


async def _scored(database: Database, stream_id: UUID, seq: int) -> None:
    """Return when the owner of the stream's shard has come past the position. Raises `NotFound`, `Unavailable`."""
    while True:
        applied: int | None = await database.node(lambda connection: connection.fetchval(APPLIED, stream_id))
        if applied is None:
            raise NotFound("there is no such stream")
        if applied >= seq:
            return
        await asyncio.sleep(LOOK_PERIOD_S)
