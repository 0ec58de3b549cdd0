"""Redaction rules and streams' settings in a serving process, and what goes on in the background for both."""

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from structlog.typing import FilteringBoundLogger

from driftlock.errors import DriftlockError
from driftlock.storage.control_journal import ControlJournal
from driftlock.storage.controls import Controls
from driftlock.storage.expiry import FindingExpiry
from driftlock.storage.pool import Database, Lane
from driftlock.storage.redaction import RedactionRules, RedactionTable
from driftlock.storage.stream_deletion import StreamDeletions
from driftlock.storage.stream_settings import StreamSettings

REFRESH_PERIOD_S = 1.0  # before the rules are too old to be used, even where the database is far away
DELETION_PERIOD_S = 2.0
EXPIRY_PERIOD_S = 600.0


@dataclass(frozen=True, slots=True)
class StreamCare:
    """What receivers and REST need, and what must not end while the process serves."""

    redaction: RedactionRules
    settings: StreamSettings
    watched: dict[str, Callable[[], Awaitable[None]]] = field(repr=False)


def take_care(database: Database, journal: ControlJournal, controls: Controls, log: FilteringBoundLogger) -> StreamCare:
    """Made of the journal of the owner, or of one that writes for owners elsewhere; nothing runs yet."""
    # Beside the keys: what has to be known before records are taken waits for nobody's other work.
    table = RedactionTable(database.reserved(Lane.KEYS), time.monotonic)
    return StreamCare(
        RedactionRules(database, controls, table, os.urandom),
        StreamSettings(database, journal),
        {
            "the watch of redaction rules": partial(watch_rules, table),
            "the deletion of streams": partial(finish_streams, StreamDeletions(database), log),
            "the expiry of findings": partial(expire_findings, FindingExpiry(database), log),
        },
    )


async def watch_rules(table: RedactionTable, period_s: float = REFRESH_PERIOD_S) -> None:
    """Know of rules that another process has changed. It never returns."""
    while True:
        with contextlib.suppress(DriftlockError):  # whoever needs rules that are not known refuses, and says so
            await table.refresh()
        await asyncio.sleep(period_s)


async def finish_streams(deletions: StreamDeletions, log: FilteringBoundLogger, period_s: float = DELETION_PERIOD_S) -> None:
    """Empty streams that were deleted. It never returns, and says once why it can not go on."""
    told = False
    while True:
        await asyncio.sleep(period_s)
        try:
            for stream_id in await deletions.closed():
                await deletions.empty(stream_id)
            told = False
        except DriftlockError as error:  # no reason to take no more records
            if not told:
                log.warning("a stream is not being deleted", why=error.message)
            told = True


async def expire_findings(expiry: FindingExpiry, log: FilteringBoundLogger, period_s: float = EXPIRY_PERIOD_S) -> None:
    """Delete findings that nobody keeps any longer. It never returns."""
    while True:
        await asyncio.sleep(period_s)
        try:
            gone = await expiry.expire()
            if gone:
                log.info("findings are over", rows=gone)
        except DriftlockError as error:  # no reason to take no more records
            log.warning("findings that are over stay", why=error.message)
