"""The work on one partition, on a real database; the consumer is one that only notes what it is told."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import pytest
import structlog
from prometheus_client import CollectorRegistry

from collector.kafka.consumer import Missing, Taken
from collector.kafka.message import encode
from driftlock.errors import Conflict
from driftlock.storage.controls import Controls
from driftlock.storage.journal_limits import JournalLimits
from driftlock.storage.pool import Database
from driftlock.storage.shard_standing import read_standings
from driftlock.storage.shared_journal import SharedJournal
from server.ownership import Share
from server.settings import parse_settings
from server.shard_owner import ShardOwner, WorkerParts
from server.shards import KafkaPlacement
from server.telemetry import Telemetry
from server.worker_metrics import WorkerCounters
from tests.kafka.workers import Outcome, submissions, template, tenant

__all__ = ["template"]


class Consumer:
    """Notes where a partition was opened."""

    def __init__(self) -> None:
        self.opened: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def open(self, _partition: int, _generation: int, offset: int) -> None:
        self.opened.set_result(offset)

    def __getattr__(self, _name: str) -> Any:
        return lambda *_arguments, **_options: None


def parts(database: Database, decoding: ThreadPoolExecutor) -> WorkerParts:
    return WorkerParts(
        settings=parse_settings({}),
        database=database,
        controls=Controls(SharedJournal(database, journal_bytes_max=2**30)),
        telemetry=Telemetry(version="", codec="", codec_version=""),
        counters=WorkerCounters(CollectorRegistry()),
        topic="records",
        placement=KafkaPlacement(1, 1),
        share=lambda partition: Share(partition + 1, 1, 100, 2**30, JournalLimits()),
        on_step=lambda _step: None,
        evidence=False,
        decoding=decoding,
        log=structlog.get_logger(),
    )


@pytest.mark.parametrize("to_offset", [70, 0])
async def test_a_gap_is_written_down_and_what_comes_after_it_is_journaled(cluster: Any, template: str, to_offset: int) -> None:
    urls = cluster.urls(f"owner_{to_offset}")
    await cluster.administer(f"create database owner_{to_offset} template {template}")
    outcome = Outcome(urls)
    await outcome.ask("insert into driftlock.source_position values (1, 'records', 0, 3)")
    values = [message for it in submissions(await tenant(urls, 0), "after", 300) for message in encode(it)]
    taken = [Taken(to_offset + at, it.key, it.value, it.headers, 1) for at, it in enumerate(values)]
    with ThreadPoolExecutor(1) as decoding:
        async with Database(urls.app) as database:
            consumer = Consumer()
            owner = ShardOwner(parts(database, decoding), consumer, 0, 1)  # type: ignore[arg-type]
            working = asyncio.create_task(owner.run())
            assert await consumer.opened == 3
            owner.take([Missing(3, to_offset, "it is gone"), *taken])
            found = await outcome.until("all is scored", scored=300, behind=0)
            working.cancel()
            await asyncio.wait({working})
    assert found["offsets"] == to_offset + len(taken)
    assert await outcome.ask("select shard, from_offset, to_offset, reason from driftlock.source_gap") == [
        (1, 3, to_offset, "it is gone")
    ]
    await cluster.drop(urls)


async def test_a_shard_that_another_process_takes_is_left_to_it(cluster: Any, template: str) -> None:
    urls = cluster.urls("owner_fenced")
    await cluster.administer(f"create database owner_fenced template {template}")
    with ThreadPoolExecutor(1) as decoding:
        async with Database(urls.app) as database:
            consumer = Consumer()
            owner = ShardOwner(parts(database, decoding), consumer, 1, 1)  # type: ignore[arg-type]
            working = asyncio.create_task(owner.run())
            await consumer.opened
            known = owner.standing()
            assert known is not None
            connection = await asyncpg.connect(urls.owner)
            await connection.fetchval("select driftlock.journal_acquire(2)")
            await connection.close()
            owner.noticed(known, (await read_standings(database, [2]))[2])
            with pytest.raises(Conflict):
                await working
            assert owner.fenced
    await cluster.drop(urls)
