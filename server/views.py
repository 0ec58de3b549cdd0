"""What is shown of what happens: the parts of REST that do so, and how their tables stay small."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

from structlog.typing import FilteringBoundLogger

from api.live import LiveHub
from api.ratelimit import RateLimiter
from api.view_deps import ViewDeps
from driftlock.engine.ports import Step
from driftlock.errors import DriftlockError
from driftlock.storage.incident_actions import IncidentActions
from driftlock.storage.live import EVENTS_KEPT_S, Live
from driftlock.storage.pool import Database
from driftlock.storage.scores import Scores
from driftlock.storage.waitlist import Waitlist

FORGET_PERIOD_S = 60.0
WAITLIST_PER_MINUTE = 5
GLOBAL_WAITLIST_PER_MINUTE = 120
WAITLIST_NETWORKS_MAX = 1_000


def open_hub(database: Database, draining: asyncio.Event) -> LiveHub:
    """The listeners of this process, until it drains."""
    return LiveHub(Live(database), draining)


def wake_listeners(hub: LiveHub, step: Step) -> None:
    """A step has been committed: whoever listens to one of its tenants may read what it brought."""
    if len(hub):
        hub.wake({row.tenant_id for row in step.findings} | {row.tenant_id for row in step.incidents})


def view_deps(database: Database, hub: LiveHub) -> ViewDeps:
    """What REST is given."""
    return ViewDeps(
        live=hub,
        scores=Scores(database),
        incident_actions=IncidentActions(database),
        waitlist=Waitlist(database),
        waitlist_limiter=RateLimiter(
            calls_per_minute=WAITLIST_PER_MINUTE,
            global_calls_per_minute=GLOBAL_WAITLIST_PER_MINUTE,
            networks_max=WAITLIST_NETWORKS_MAX,
        ),
        monotonic_ns=time.monotonic_ns,
    )


async def forget_views(database: Database, log: FilteringBoundLogger, period_s: float = FORGET_PERIOD_S) -> None:
    """Let go of old events of the feed and of old scores, in bites. It never returns."""
    live, scores = Live(database), Scores(database)
    while True:
        await asyncio.sleep(period_s)
        try:
            await live.forget(datetime.now(UTC) - timedelta(seconds=EVENTS_KEPT_S))
            await scores.forget()
        except DriftlockError as error:  # no reason to take no more records
            log.warning("old events and scores are not being deleted", why=error.message)
