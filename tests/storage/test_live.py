"""The feed: in the order of commits, each event once, and nothing is skipped however long a transaction takes."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

import asyncpg
import pytest

from driftlock.accounts.actor import Actor, ActorKind
from driftlock.engine.ports import FindingRow, IncidentRow, Step
from driftlock.engine.verdict import Incident, IncidentState
from driftlock.errors import Conflict
from driftlock.storage import live
from driftlock.storage.audit import AuditLog
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.incident_actions import IncidentActions, IncidentStatus, Said
from driftlock.storage.incidents import IncidentFilter, Incidents
from driftlock.storage.journal import Journal
from driftlock.storage.live import Live, LiveKind, LiveRange, tell_incident
from driftlock.storage.pool import Database
from driftlock.storage.shard import Shard
from driftlock.storage.tenants import Tenants
from tests.storage.helpers import finding, submission

ACTOR = Actor(ActorKind.KEY, "k1", "of a test", "r1", "127.0.0.0/24")
NAMES = UUID(int=99)


class Feed:
    """A stream whose steps a test makes."""

    def __init__(self, database: Database, shard: Shard, tenant: UUID, stream: UUID) -> None:
        self.database, self.tenant, self.stream = database, tenant, stream
        self.checkpoints = Checkpoints(database, shard)
        self.applied = 0

    def found(self, window: int, **changes: object) -> FindingRow:
        row = FindingRow(self.tenant, self.stream, uuid5(NAMES, str(window)), finding(window))
        return replace(row, **changes)  # type: ignore[arg-type]

    def incident(self, number: int, findings: int, joined: int, **changes: object) -> IncidentRow:
        made = Incident(UUID(int=number), (self.stream,), IncidentState.OPEN, 1, 2, findings, 0.5, 0.01, "x")
        return IncidentRow(self.tenant, replace(made, **changes), tuple(UUID(int=500 + it) for it in range(joined)))  # type: ignore[arg-type]

    async def step(self, *findings: FindingRow, incidents: tuple[IncidentRow, ...] = ()) -> None:
        await self.checkpoints.commit(Step(self.applied, self.applied, findings=findings, incidents=incidents))

    async def kinds(self, after: int = 0) -> list[tuple[int, str]]:
        return [(row.seq, row.kind.value) for row in await Live(self.database).after(self.tenant, after, limit=100)]


@pytest.fixture
async def feed(database: Database, shard: Shard, journal: Journal, tenant: UUID) -> Feed:
    stream = (await journal.submit(submission(tenant, "x"))).stream_ids[0]
    return Feed(database, shard, tenant, stream)


async def test_steps_are_told_in_their_order_and_each_finding_once(feed: Feed) -> None:
    assert await Live(feed.database).range(feed.tenant) == LiveRange(1, 0)
    await feed.step(feed.found(1), feed.found(2), incidents=(feed.incident(1, findings=2, joined=2),))
    await feed.step(feed.found(2), feed.found(3), incidents=(feed.incident(1, findings=3, joined=1),))
    await feed.step(incidents=(feed.incident(1, findings=3, joined=0, state=IncidentState.CLOSED),))
    await feed.step(incidents=(feed.incident(2, findings=1, joined=1, state=IncidentState.CLOSED),))
    told = await feed.kinds()
    assert [kind for _, kind in told] == [
        "anomaly",
        "anomaly",
        "incident.opened",
        "anomaly",
        "incident.changed",
        "incident.closed",
        "incident.opened",
        "incident.closed",
    ]
    numbers = [seq for seq, _ in told]
    assert numbers == sorted(set(numbers))
    assert await feed.kinds(after=numbers[3]) == told[4:]
    assert (await Live(feed.database).heads([feed.tenant, UUID(int=1)])) == {feed.tenant: numbers[-1]}


async def test_what_people_have_silenced_is_not_told(feed: Feed) -> None:
    await feed.step(feed.found(1, silenced_by=UUID(int=7)), feed.found(2))
    [event] = await Live(feed.database).after(feed.tenant, 0, limit=9)
    assert event.anomaly_id == feed.found(2).finding_id


async def test_a_later_event_is_never_seen_before_an_earlier_one(feed: Feed) -> None:
    """A transaction that has taken a number and is slow makes the next one wait, so no reader can pass its number."""
    await feed.step(incidents=(feed.incident(1, 1, 1),))
    head = (await Live(feed.database).range(feed.tenant)).head
    slow = asyncio.Event()
    told = asyncio.Event()

    async def acts_slowly() -> None:
        async with feed.database.tenant(feed.tenant, read_only=False) as connection:
            await tell_incident(connection, feed.tenant, LiveKind.ACKNOWLEDGED, UUID(int=1))
            told.set()
            await slow.wait()

    first = asyncio.create_task(acts_slowly())
    await told.wait()
    second = asyncio.create_task(feed.step(feed.found(5)))
    done, _ = await asyncio.wait({second}, timeout=0.2)
    assert not done
    assert await feed.kinds(after=head) == []
    slow.set()
    await asyncio.gather(first, second)
    assert await feed.kinds(after=head) == [(head + 1, "incident.acknowledged"), (head + 2, "anomaly")]


async def test_what_is_rolled_back_leaves_no_hole_that_a_reader_could_wait_for(feed: Feed) -> None:
    await feed.step(incidents=(feed.incident(1, 1, 1),))
    head = (await Live(feed.database).range(feed.tenant)).head

    async def fails() -> None:
        async with feed.database.tenant(feed.tenant, read_only=False) as connection:
            await tell_incident(connection, feed.tenant, LiveKind.RESOLVED, UUID(int=1))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fails()
    await feed.step(feed.found(9))
    assert await feed.kinds(after=head) == [(head + 1, "anomaly")]


async def test_writers_at_the_same_time_lose_and_double_nothing(feed: Feed) -> None:
    """Readers go on after what they have seen, while people and steps write: at the end they have seen everything, once."""
    await feed.step(incidents=tuple(feed.incident(it, 1, 1) for it in range(1, 6)))
    begin = (await Live(feed.database).range(feed.tenant)).head
    writing = True

    async def people(number: int) -> None:
        actions = IncidentActions(feed.database)
        for version in range(6):
            said = Said(IncidentStatus.ACKNOWLEDGED if version % 2 else IncidentStatus.RESOLVED, None)
            await actions.act(feed.tenant, UUID(int=number), said, ACTOR, version=version)

    async def steps() -> None:
        for window in range(100, 130):
            await feed.step(feed.found(window))

    async def reader() -> list[int]:
        seen: list[int] = []
        at = begin
        while writing or (await Live(feed.database).range(feed.tenant)).head > at:
            for row in await Live(feed.database).after(feed.tenant, at, limit=3):
                seen.append(row.seq)
                at = row.seq
            await asyncio.sleep(0)
        return seen

    readers = [asyncio.create_task(reader()) for _ in range(2)]
    await asyncio.gather(steps(), *(people(number) for number in range(1, 6)))
    writing = False
    for seen in await asyncio.gather(*readers):
        assert seen == list(range(begin + 1, begin + 1 + 30 + 5 * 6))


async def test_tenants_have_feeds_of_their_own(feed: Feed, database: Database) -> None:
    other = (await Tenants(database).create("other")).tenant_id
    await feed.step(feed.found(1))
    assert await Live(database).after(other, 0, limit=9) == []
    assert await Live(database).range(other) == LiveRange(1, 0)


async def test_old_events_leave_a_bite_at_a_time(
    feed: Feed, owner: "asyncpg.Connection[asyncpg.Record]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "FORGOTTEN_AT_ONCE_MAX", 2)
    monkeypatch.setattr(live, "EVENTS_KEPT_MAX", 4)
    await feed.step(*(feed.found(window) for window in range(9)))
    feeds = Live(feed.database)
    assert await feeds.forget(datetime.now(UTC) - timedelta(hours=1)) == 5
    assert await feeds.range(feed.tenant) == LiveRange(6, 9)
    await owner.execute("update driftlock.live_events set at = at - interval '1 day' where seq < 8")
    assert await feeds.forget(datetime.now(UTC) - timedelta(hours=1)) == 2
    assert await feeds.forget(datetime.now(UTC) + timedelta(hours=1)) == 2
    assert await feeds.range(feed.tenant) == LiveRange(10, 9)


async def test_people_acknowledge_and_resolve_and_the_feed_and_the_log_know_it(feed: Feed) -> None:
    await feed.step(incidents=(feed.incident(1, 2, 2), feed.incident(2, 1, 1)))
    actions, incidents = IncidentActions(feed.database), Incidents(feed.database)
    await actions.act(feed.tenant, UUID(int=1), Said(IncidentStatus.ACKNOWLEDGED, "looking"), ACTOR, version=0)
    with pytest.raises(Conflict):
        await actions.act(feed.tenant, UUID(int=1), Said(IncidentStatus.RESOLVED, None), ACTOR, version=0)
    await actions.act(feed.tenant, UUID(int=1), Said(IncidentStatus.RESOLVED, None), ACTOR, version=1)
    row = await incidents.get(feed.tenant, UUID(int=1))
    assert row is not None
    assert row.action is not None
    assert (row.status, row.reopened, row.action.note, row.action.version) == (IncidentStatus.RESOLVED, False, "looking", 2)
    assert (row.action.actor_kind, row.action.actor_id, row.action.actor_name) == ("key", "k1", "of a test")
    log = await AuditLog(feed.database).list(feed.tenant, limit=9)
    assert [entry.action for entry in log] == ["incident.resolved", "incident.acknowledged"]
    assert [kind for _, kind in await feed.kinds()][-2:] == ["incident.acknowledged", "incident.resolved"]


async def test_a_resolved_incident_with_more_findings_is_open_again(feed: Feed) -> None:
    await feed.step(incidents=(feed.incident(1, 2, 2), feed.incident(2, 1, 1)))
    actions, incidents = IncidentActions(feed.database), Incidents(feed.database)
    await actions.act(feed.tenant, UUID(int=1), Said(IncidentStatus.RESOLVED, None), ACTOR, version=0)

    async def of_status(status: IncidentStatus) -> list[int]:
        return [
            row.incident.incident_id.int for row in await incidents.list(feed.tenant, IncidentFilter(status=status), limit=9)
        ]

    assert (await of_status(IncidentStatus.RESOLVED), await of_status(IncidentStatus.OPEN)) == ([1], [2])
    await feed.step(incidents=(feed.incident(1, 3, 1),))
    assert (await of_status(IncidentStatus.RESOLVED), await of_status(IncidentStatus.OPEN)) == ([], [2, 1])
    row = await incidents.get(feed.tenant, UUID(int=1))
    assert row is not None
    assert row.reopened
    await actions.act(feed.tenant, UUID(int=1), Said(None, "still"), ACTOR, version=1)  # a note resolves nothing
    assert await of_status(IncidentStatus.RESOLVED) == []
    await actions.act(feed.tenant, UUID(int=1), Said(IncidentStatus.RESOLVED, None), ACTOR, version=2)
    assert await of_status(IncidentStatus.RESOLVED) == [1]


async def test_incidents_are_filtered(feed: Feed) -> None:
    await feed.step(
        incidents=(
            feed.incident(1, 1, 1, start_ns=10, end_ns=20),
            feed.incident(2, 1, 1, start_ns=30, end_ns=40, state=IncidentState.CLOSED, alerted=False),
            feed.incident(3, 1, 1, start_ns=50, end_ns=60, stream_ids=(UUID(int=5),)),
        )
    )

    async def listed(**filters: object) -> list[int]:
        rows = await Incidents(feed.database).list(feed.tenant, IncidentFilter(**filters), limit=9)  # type: ignore[arg-type]
        return [row.incident.incident_id.int for row in rows]

    assert await listed() == [3, 2, 1]
    assert await listed(state=IncidentState.CLOSED) == [2]
    assert await listed(alerted=False) == [2]
    assert await listed(stream_id=feed.stream) == [2, 1]
    assert await listed(since=40) == [3, 2]
    assert await listed(until=30) == [1]
    assert await listed(status=IncidentStatus.ACKNOWLEDGED) == []
    rows = await Incidents(feed.database).list(feed.tenant, limit=2, after=(50, UUID(int=3)))
    assert [row.incident.incident_id.int for row in rows] == [2, 1]
