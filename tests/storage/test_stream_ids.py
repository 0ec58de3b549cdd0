"""Streams are made on first sight, found again, and bounded in number and in memory."""

import asyncio
from uuid import UUID

import asyncpg
import pytest

from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.ports import StreamBatch, Submission
from driftlock.errors import NotFound
from driftlock.storage.journal import Journal
from driftlock.storage.pool import Database
from driftlock.storage.stream_ids import StreamIds
from driftlock.storage.streams import Streams
from driftlock.storage.tenants import Tenants
from tests.storage.helpers import NOW_NS, batch


def logs(*names: str) -> list[StreamKey]:
    return [StreamKey(Signal.LOGS, name) for name in names]


async def test_a_key_has_one_stream_for_ever(database: Database, tenant: UUID) -> None:
    keys = [
        StreamKey(signal, "a", namespace, environment)
        for signal in Signal
        for namespace in ("", "x")
        for environment in ("", "y")
    ]
    made = await StreamIds(database, entries_max=100).resolve(tenant, keys)
    assert len({stream.stream_id for stream in made}) == len(keys)
    assert await StreamIds(database, entries_max=100).resolve(tenant, keys[::-1]) == made[::-1]


async def test_a_key_twice_in_one_request_is_one_stream(database: Database, tenant: UUID) -> None:
    one, other, again = await StreamIds(database, entries_max=9).resolve(tenant, logs("a", "b", "a"))
    assert one == again != other


async def test_simultaneous_first_sights_make_one_stream(database: Database, tenant: UUID) -> None:
    resolvers = [StreamIds(database, entries_max=9) for _ in range(6)]
    orders = [("a", "b", "c"), ("c", "b", "a")]
    found = await asyncio.gather(
        *(resolver.resolve(tenant, logs(*orders[number % 2])) for number, resolver in enumerate(resolvers))
    )
    assert len({stream for streams in found for stream in streams}) == 3


async def test_slugs_that_collide_get_a_hash(database: Database, tenant: UUID) -> None:
    keys = [*logs("a b", "a/b"), StreamKey(Signal.METRICS, "c"), StreamKey(Signal.LOGS, "c-metrics")]
    await StreamIds(database, entries_max=9).resolve(tenant, keys)
    slugs = [stream.slug for stream in await Streams(database).list(tenant, limit=9)]
    assert len(slugs) == 4
    assert {"a-b", "c-metrics"} <= set(slugs)
    assert sum(slug.startswith("a-b-") for slug in slugs) == 1


async def test_streams_beyond_the_cap_share_the_overflow(database: Database, owner: asyncpg.Connection) -> None:
    tenant = (await Tenants(database).create("small", streams_max=2)).tenant_id
    resolver = StreamIds(database, entries_max=9)
    first = await resolver.resolve(tenant, logs("a", "b", "c", "d"))
    assert [stream.overflow for stream in first] == [False, False, True, True]
    assert first[2] == first[3]
    assert len(resolver) == 2
    metrics = (await resolver.resolve(tenant, [StreamKey(Signal.METRICS, "a")]))[0]
    assert metrics.overflow
    assert metrics != first[2]
    assert [stream.slug for stream in await Streams(database).list(tenant, limit=9)] == [
        "_overflow",
        "_overflow-metrics",
        "a",
        "b",
    ]
    await owner.execute("update driftlock.tenants set streams_max = 3 where id = $1", tenant)
    assert not (await resolver.resolve(tenant, logs("c")))[0].overflow


async def test_a_stream_called_overflow_by_its_sender_is_an_ordinary_one(database: Database) -> None:
    tenant = (await Tenants(database).create("small", streams_max=1)).tenant_id
    own, beyond = await StreamIds(database, entries_max=9).resolve(tenant, logs("_overflow", "x"))
    assert (own.overflow, beyond.overflow, own.stream_id) == (False, True, beyond.stream_id)


async def test_the_receipt_counts_what_overflowed(database: Database, journal: Journal) -> None:
    tenant = (await Tenants(database).create("small", streams_max=1)).tenant_id
    parts = (StreamBatch(*pair) for pair in zip(logs("a", "b", "c"), (batch("1"), batch("2", "3"), batch("4")), strict=True))
    receipt = await journal.submit(Submission(tenant, Signal.LOGS, NOW_NS, tuple(parts)))
    assert (receipt.records, receipt.overflowed) == (4, 3)
    assert receipt.stream_ids[1] == receipt.stream_ids[2]


async def test_memory_is_bounded(database: Database, tenant: UUID) -> None:
    resolver = StreamIds(database, entries_max=3)
    wanted = await resolver.resolve(tenant, logs("a", "b", "c", "d", "e"))
    assert len(resolver) == 3
    assert await resolver.resolve(tenant, logs("a", "b", "c", "d", "e")) == wanted


async def test_an_unknown_tenant_has_no_streams(database: Database) -> None:
    with pytest.raises(NotFound, match="tenant"):
        await StreamIds(database, entries_max=9).resolve(UUID(int=1), logs("a"))


async def test_a_forgotten_tenant_is_asked_for_again(database: Database, tenant: UUID) -> None:
    resolver = StreamIds(database, entries_max=9)
    await resolver.resolve(tenant, logs("a"))
    resolver.forget(UUID(int=1))
    assert len(resolver) == 1
    resolver.forget(tenant)
    assert len(resolver) == 0
