"""What happened to a stream: stored with the step that brought it, once, and not for ever."""

from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.ports import Step, StreamEventRow
from driftlock.engine.verdict import StreamEvent, StreamEventKind
from driftlock.errors import InvalidArgument
from driftlock.storage import checkpoints as steps
from driftlock.storage.checkpoints import STREAM_EVENTS_MAX, Checkpoints
from driftlock.storage.journal import Journal
from driftlock.storage.paging import PAGE_ITEMS_MAX
from driftlock.storage.pool import Database
from driftlock.storage.shard import Shard
from driftlock.storage.stream_events import StreamEvents
from driftlock.storage.tenants import Tenants
from tests.storage.helpers import NOW_NS, submission


@pytest.fixture
def checkpoints(database: Database, shard: Shard) -> Checkpoints:
    return Checkpoints(database, shard)


@pytest_asyncio.fixture
async def stream(journal: Journal, tenant: UUID) -> AsyncIterator[UUID]:
    yield (await journal.submit(submission(tenant, "x"))).stream_ids[0]


def event(number: int, kind: StreamEventKind = StreamEventKind.REBASELINED, reason: str = "a new normal") -> StreamEvent:
    return StreamEvent(kind, number, number // 10, NOW_NS + number // 2, reason)


async def listed(database: Database, tenant: UUID, stream: UUID) -> list[int]:
    return [row.event.event for row in await StreamEvents(database).list(tenant, stream, limit=200)]


async def test_events_come_with_their_step_newest_first_in_pages(
    database: Database, checkpoints: Checkpoints, tenant: UUID, stream: UUID
) -> None:
    rows = tuple(StreamEventRow(tenant, stream, event(number)) for number in range(7))
    await checkpoints.commit(Step(0, 1, events=rows))
    seen, after = [], None
    while page := await StreamEvents(database).list(tenant, stream, limit=2, after=after):
        seen += page
        after = (page[-1].event.time_ns, page[-1].event.event, page[-1].event_id)
    assert [(row.event, row.event_id) for row in seen] == [(row.event, row.event_id) for row in reversed(rows)]
    assert len({row.recorded_at for row in seen}) == 1


async def test_a_replayed_event_is_said_once(database: Database, checkpoints: Checkpoints, tenant: UUID, stream: UUID) -> None:
    first = StreamEventRow(tenant, stream, event(1))
    again = StreamEventRow(tenant, stream, event(1, reason="in other words"))
    await checkpoints.commit(Step(0, 1, events=(first, first)))
    await checkpoints.commit(Step(1, 1, events=(again, StreamEventRow(tenant, stream, event(1, StreamEventKind.RECOVERED)))))
    rows = await StreamEvents(database).list(tenant, stream, limit=9)
    assert sorted((row.event.kind.value, row.event.reason) for row in rows) == [
        ("rebaselined", "a new normal"),
        ("recovered", "a new normal"),
    ]


async def test_the_newest_events_of_each_stream_are_kept(
    database: Database,
    checkpoints: Checkpoints,
    journal: Journal,
    tenant: UUID,
    stream: UUID,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert STREAM_EVENTS_MAX == 1000
    monkeypatch.setattr(steps, "STREAM_EVENTS_MAX", 3)
    other = (await journal.submit(submission(tenant, "y", key=StreamKey(Signal.LOGS, "other")))).stream_ids[0]
    for start in (0, 2, 4):
        rows = [StreamEventRow(tenant, stream, event(number)) for number in (start, start + 1)]
        await checkpoints.commit(Step(0, 0, events=tuple(rows)))
    await checkpoints.commit(Step(0, 0, events=(StreamEventRow(tenant, other, event(0)),)))
    assert await listed(database, tenant, stream) == [5, 4, 3]
    assert await listed(database, tenant, other) == [0]


async def test_events_of_a_stream_that_is_not_the_tenants_are_not_stored_nor_shown(
    database: Database, checkpoints: Checkpoints, tenant: UUID, stream: UUID
) -> None:
    other = (await Tenants(database).create("other")).tenant_id
    rows = (StreamEventRow(other, stream, event(1)), StreamEventRow(tenant, UUID(int=5), event(2)))
    await checkpoints.commit(Step(0, 1, events=(*rows, StreamEventRow(tenant, stream, event(3)))))
    assert await listed(database, tenant, stream) == [3]
    assert await listed(database, other, stream) == []


async def test_text_and_times_that_columns_can_not_hold_are_stored(
    database: Database, checkpoints: Checkpoints, tenant: UUID, stream: UUID
) -> None:
    odd = StreamEvent(StreamEventKind.DEGRADED, 1, 0, 2**64 - 1, "a\x00b \ud800")
    await checkpoints.commit(Step(0, 1, events=(StreamEventRow(tenant, stream, odd),)))
    (row,) = await StreamEvents(database).list(tenant, stream, limit=9)
    assert (row.event.time_ns, row.event.reason) == (2**63 - 1, "a\u2400b ?")


@pytest.mark.parametrize("limit", [0, PAGE_ITEMS_MAX + 1])
async def test_no_page_is_longer_than_a_page(database: Database, tenant: UUID, stream: UUID, limit: int) -> None:
    with pytest.raises(InvalidArgument, match="limit must be"):
        await StreamEvents(database).list(tenant, stream, limit=limit)


async def test_events_go_with_their_tenant(
    database: Database, checkpoints: Checkpoints, tenant: UUID, stream: UUID, owner: asyncpg.Connection
) -> None:
    await checkpoints.commit(Step(0, 1, events=(StreamEventRow(tenant, stream, event(1)),)))
    await Tenants(database).delete(tenant)
    assert await owner.fetchval("select count(*) from driftlock.stream_events") == 0
