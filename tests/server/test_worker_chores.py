"""What a worker publishes of all workers, and of its own partitions."""

import asyncio
from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry

from driftlock.storage.dead_letters import DeadLetter, save_dead_letters
from driftlock.storage.pool import Connection, Database
from driftlock.storage.source_positions import SourceGap, save_gaps
from server.worker_chores import watch_left_out
from server.worker_metrics import WorkerCounters


def _noted(publish: Callable[[float], None], published: asyncio.Event, value: float) -> None:
    publish(value)
    published.set()


async def test_dead_letters_and_gaps_of_all_workers_are_published(database: Database) -> None:
    async def leave_out(connection: Connection) -> None:
        await save_dead_letters(connection, [DeadLetter("topic", 0, offset, "damaged") for offset in range(3)])
        await save_gaps(connection, 0, "topic", 0, [SourceGap(0, 10, "retention"), SourceGap(20, 30, "retention")])

    await database.node(leave_out)
    registry, published = CollectorRegistry(), asyncio.Event()
    counters = WorkerCounters(registry)
    counters.gaps.set = partial(_noted, counters.gaps.set, published)  # type: ignore[method-assign]  # the last of a turn
    watching = asyncio.create_task(watch_left_out(database, counters))
    await asyncio.wait_for(published.wait(), 10)
    watching.cancel()
    assert registry.get_sample_value("driftlock_source_gaps") == 2
    assert registry.get_sample_value("driftlock_dead_letters") == 3


def test_the_time_of_the_last_rebalance_is_there_once_there_was_one() -> None:
    registry = CollectorRegistry()
    counters = WorkerCounters(registry)
    assert registry.get_sample_value("driftlock_worker_rebalance_timestamp_seconds") == 0
    counters.begin(3)
    came_s = registry.get_sample_value("driftlock_worker_rebalance_timestamp_seconds")
    counters.end(3)
    went_s = registry.get_sample_value("driftlock_worker_rebalance_timestamp_seconds")
    assert came_s is not None
    assert went_s is not None
    assert 0 < came_s <= went_s
