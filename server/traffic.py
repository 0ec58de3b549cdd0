"""What REST leaves behind, kept small: when keys were used, answers for Idempotency-Keys, and keys that are over."""

import asyncio
import contextlib

from structlog.typing import FilteringBoundLogger

from driftlock.errors import DriftlockError, Unavailable
from driftlock.storage.idempotency import forget_requests
from driftlock.storage.key_directory import KeyUse
from driftlock.storage.keys import forget_keys
from driftlock.storage.pool import Database

PERIOD_S = 60.0
PERIODS_PER_FORGETTING = 60
"""Keys are looked through for old ones once an hour."""
LAST_WRITE_S = 1.0


async def keep_traffic(database: Database, use: KeyUse, log: FilteringBoundLogger, period_s: float = PERIOD_S) -> None:
    """Write down the use of keys once in a period, and forget what is over. It never returns; a stop writes a last time."""
    periods = 0
    try:
        while True:
            await asyncio.sleep(period_s)
            try:
                await use.write()
                await forget_requests(database)
                if periods % PERIODS_PER_FORGETTING == 0:
                    await forget_keys(database)
            except DriftlockError as error:  # no reason to serve no more requests
                log.warning("what is over is not being forgotten", why=error.message)
            periods += 1
    finally:
        with contextlib.suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(LAST_WRITE_S):
                await use.write()
