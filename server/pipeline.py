"""The middle of a serving process: database, journal and dispatcher, joined and kept clean. Receivers hand over to it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from structlog.typing import FilteringBoundLogger

import driftlock
from api.live import LiveHub
from cbad_cy.codec import Codec
from driftlock.accounts.access import Access
from driftlock.accounts.metering import IngestMeter
from driftlock.engine.ports import Configurator, Step
from driftlock.engine.profile import DEFAULT_CODEC
from driftlock.errors import DriftlockError, Unavailable
from driftlock.storage.anchors import Anchors
from driftlock.storage.controls import Controls
from driftlock.storage.deletion import Deletions
from driftlock.storage.journal import Journal
from driftlock.storage.key_directory import KeyUse
from driftlock.storage.pool import Database, Lane
from server.anchor_resets import reset_drifted
from server.database import DatabaseUrls, prepare
from server.database_debt import DebtMetrics, watch_debt, watch_safety
from server.detection import Detection
from server.evidence import EvidenceKeeper, open_evidence
from server.ledger import LedgerKeeper, keep_ledger
from server.local import LocalTenant, open_access
from server.outage import OutageReport
from server.ownership import Ownership, fold_limits, whole_journal
from server.redaction import StreamCare, take_care
from server.settings import Settings
from server.telemetry import Telemetry, TimedIntake
from server.traffic import keep_traffic
from server.tuning import Teaching, teach
from server.views import forget_views, open_hub, wake_listeners

RETENTION_PERIOD_S = 10.0
DELETION_PERIOD_S = 20.0  # how soon a deletion that a command did not finish goes on
OWNER_POLL_S = 1.0  # how soon an idle process notices that another one has taken over; a busy one is told by its next append
CONNECT_PATIENCE_S = 20.0  # what a start waits for logins of a database that has answered before
CONNECT_PAUSE_S = 0.2
TAKE_OVER_PATIENCE_S = 30.0
TAKE_OVER_PAUSE_S = 0.5
DRAIN_TIMEOUT_MS = 2000
DISPATCH_STOP_S = 3.0
STEP_PAUSE_S = 0.02  # what a verdict may wait for others when records come in small requests


@dataclass(frozen=True, slots=True)
class Served:
    """What receivers and REST are made with.

    `scored` returns when a position of the journal of a stream is scored. Nothing new is taken once `draining` is set.
    """

    database: Database
    intake: TimedIntake
    configurator: Configurator
    controls: Controls
    care: StreamCare
    live: LiveHub
    teaching: Teaching
    telemetry: Telemetry
    meter: IngestMeter
    access: Access
    evidence: EvidenceKeeper | None
    schema_version: int
    codec: Codec
    scored: Callable[[UUID, int], Awaitable[None]]
    draining: asyncio.Event


@dataclass(frozen=True, slots=True)
class Pipeline(Served):
    """All of a process that owns the journal and detects. `watched` must not end while it serves.

    Nothing is taken, and nothing changes for a process that serves now, before `take_over`; afterwards `fenced` is set when
    another process has done the same. `not_replaced` raises `Conflict` when the database is an older one.
    """

    detection: Detection
    ledger: LedgerKeeper
    local: LocalTenant | None
    watched: dict[str, Callable[[], Awaitable[None]]]
    take_over: Callable[[], Awaitable[None]]
    not_replaced: Callable[[], Awaitable[None]]
    fenced: asyncio.Event


@asynccontextmanager
async def open_pipeline(settings: Settings, urls: DatabaseUrls, log: FilteringBoundLogger) -> AsyncIterator[Pipeline]:
    """Everything between the database and the receivers, ready to take over. Raises `StartupRefused`, `Unavailable`."""
    codec = Codec(DEFAULT_CODEC)
    telemetry = Telemetry(version=driftlock.__version__, codec=codec.name, codec_version=codec.version)
    async with AsyncExitStack() as stack:
        schema_version = await prepare(urls, settings.unsafe_database, lambda what: log.warning("unsafe database", what=what))
        database = await stack.enter_async_context(_database(settings, urls, telemetry, log))
        meter, ledger = keep_ledger(database, telemetry, log, by_tenant=settings.metrics_tenants)
        stack.push_async_callback(ledger.close)
        key_use = KeyUse(database)
        access, local = await open_access(settings, database, key_use.note)
        draining = asyncio.Event()
        live = open_hub(database, draining)
        evidence = open_evidence(settings, database, fold_limits(settings), log)
        on_step = partial(_stepped, telemetry, evidence, live)
        making = whole_journal(database)
        owned = Ownership(settings, database, telemetry, log, stack, on_step, making, evidence=evidence is not None)
        controls = Controls(owned.journal)
        care = take_care(database, owned.journal, controls, log)
        teaching = teach(database, owned.journal, controls, log)
        _publish(telemetry, owned)
        await connect(database)
        yield Pipeline(
            database=database,
            intake=TimedIntake(owned.journal, telemetry, time.monotonic),
            configurator=owned.journal,
            controls=controls,
            care=care,
            live=live,
            teaching=teaching,
            detection=owned.detection,
            scored=partial(_scored, owned.detection),
            telemetry=telemetry,
            meter=meter,
            ledger=ledger,
            access=access,
            local=local,
            evidence=evidence,
            schema_version=schema_version,
            codec=codec,
            watched={
                **owned.watched,
                "the retention of views": partial(forget_views, database, log),
                "the use of API keys": partial(keep_traffic, database, key_use, log),
                "the deletion of tenants": partial(finish_deletions, Deletions(database), log),
                "the reset of anchors": partial(reset_drifted, Anchors(database, controls), log),
                **_watches_of_database(settings, database, telemetry, log),
                "the ledger": ledger.run,
                **care.watched,
                **teaching.watched,
                **({} if evidence is None else {"evidence": evidence.run}),
            },
            take_over=partial(_take_over, owned, stack),
            not_replaced=owned.not_replaced,
            fenced=owned.shard.fenced,
            draining=draining,
        )


def _database(settings: Settings, urls: DatabaseUrls, telemetry: Telemetry, log: FilteringBoundLogger) -> Database:
    return Database(urls.app, on_change=OutageReport(telemetry, log), keeps_commits=not settings.may_forget)


def _watches_of_database(
    settings: Settings, database: Database, telemetry: Telemetry, log: FilteringBoundLogger
) -> dict[str, Callable[[], Awaitable[None]]]:
    registry, strict = telemetry.registry, not settings.may_forget
    return {
        "the debt of the database": partial(watch_debt, database, DebtMetrics(registry), log),
        "the safety of the database": partial(watch_safety, database, registry, log, strict=strict),
    }


async def _take_over(owned: Ownership[Journal], stack: AsyncExitStack) -> None:
    """The process before is fenced, and records are taken from here on."""
    await owned.take_over()
    await stack.enter_async_context(owned.journal)


async def _scored(detection: Detection, _stream_id: UUID, seq: int) -> None:
    """All streams are in the one journal."""
    await detection.scored(seq)


async def connect(database: Database) -> None:
    """Open connections of each kind: what takes time comes before another process has to stop for us.

    On a busy machine logins take longer than a call waits. Attempts go on in the background, so asking again meets them.
    """
    kinds = (Lane.APPLY, *(2 * (Lane.NODE, Lane.KEYS)), *(3 * (Lane.APPEND,)))  # spare ones of those that senders wait for
    until_s = time.monotonic() + CONNECT_PATIENCE_S
    while True:
        try:
            await asyncio.gather(*(database.reserved(lane).ping() for lane in kinds))
        except Unavailable:
            if time.monotonic() > until_s:
                raise
            await asyncio.sleep(CONNECT_PAUSE_S)
        else:
            return


def _stepped(telemetry: Telemetry, evidence: EvidenceKeeper | None, live: LiveHub, step: Step) -> None:
    """What a committed step changes for those who watch."""
    telemetry.committed(step)
    wake_listeners(live, step)
    if evidence is not None:
        evidence.stepped(step)


async def finish_deletions(deletions: Deletions, log: FilteringBoundLogger, period_s: float = DELETION_PERIOD_S) -> None:
    """Empty tenants that were closed by a command which ended before it was done. It never returns."""
    while True:
        await asyncio.sleep(period_s)
        try:
            for tenant_id in await deletions.closed():
                await deletions.empty(tenant_id)
        except DriftlockError as error:  # no reason to take no more records
            log.warning("a tenant is not being deleted", why=error.message)


def _publish(telemetry: Telemetry, owned: Ownership[Journal]) -> None:
    """What is read from its owner whenever metrics are collected."""
    journal, detection, progress, backlog = owned.journal, owned.detection, owned.progress, owned.backlog
    telemetry.gauge("queued_requests", "Requests waiting for a commit.", lambda: journal.queued_requests)
    telemetry.gauge("queued_bytes", "Compressed bytes waiting for a commit.", lambda: journal.queued_bytes)
    telemetry.gauge("journal_position", "Position of the newest journal row.", lambda: progress.last_seq)
    telemetry.gauge(
        "journal_lag_rows", "Journal rows that are not scored yet.", lambda: max(0, progress.last_seq - detection.applied_seq)
    )
    telemetry.gauge("journal_lag_bytes", "Bytes of journal rows that are not scored yet.", lambda: backlog.bytes)
    telemetry.gauge(
        "journal_lag_seconds",
        "How long ago the first record that is not scored yet was received.",
        lambda: backlog.seconds(time.time_ns()),
    )
    telemetry.gauge(
        "alert_budget_spent_ratio",
        "Share of its alert budget that the tenant with the largest one has spent in 24 hours.",
        detection.alert_budget_spent_share,
    )
    telemetry.gauge("resident_streams", "Streams with their state in memory.", lambda: detection.resident_streams)
