"""Steps: everything or nothing, once, by the owner only; and states that are read back as they were."""

import dataclasses
import logging
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from driftlock.engine.ports import Checkpoint, FindingRow, IncidentRow, Step, StreamStatus
from driftlock.engine.verdict import Incident, IncidentState, Question
from driftlock.errors import Conflict, Unavailable
from driftlock.storage.anomalies import Anomalies, AnomalyFilter
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.incidents import Incidents
from driftlock.storage.journal import Journal
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.pool import Database
from driftlock.storage.shard import Shard
from driftlock.storage.streams import Streams
from driftlock.storage.tenants import Tenants
from tests.conftest import Urls
from tests.storage.helpers import NOW_NS, finding, submission
from tests.storage.proxy import Proxy

INCIDENT = Incident(UUID(int=77), (), IncidentState.OPEN, NOW_NS, NOW_NS + 5, 1, 0.5, 0.01, "disk full")


@pytest.fixture
def checkpoints(database: Database, shard: Shard) -> Checkpoints:
    return Checkpoints(database, shard)


@pytest_asyncio.fixture
async def stream(journal: Journal, tenant: UUID) -> AsyncIterator[UUID]:
    """A stream with three rows."""
    for number in range(3):
        receipt = await journal.submit(submission(tenant, f"line {number}"))
    yield receipt.stream_ids[0]


def row(tenant: UUID, stream: UUID, window: int, **changes: object) -> FindingRow:
    return FindingRow(tenant, stream, UUID(int=1000 + window), finding(window, **changes))


def status(tenant: UUID, stream: UUID, events: int) -> StreamStatus:
    return StreamStatus(tenant, stream, events, 1, NOW_NS, NOW_NS + 9, "ok", 0)


async def listed(database: Database, tenant: UUID) -> list[tuple[int, UUID | None]]:
    rows = await Anomalies(database).list(tenant, AnomalyFilter(), limit=200)
    return sorted((each.finding.window, each.incident_id) for each in rows)


async def test_a_step_commits_everything(database: Database, checkpoints: Checkpoints, tenant: UUID, stream: UUID) -> None:
    first = row(tenant, stream, 1)
    incident = dataclasses.replace(INCIDENT, stream_ids=(stream,))
    await checkpoints.commit(
        Step(
            0,
            2,
            findings=(first,),
            incidents=(IncidentRow(tenant, incident, (first.finding_id,)),),
            streams=(status(tenant, stream, 2),),
            stream_checkpoints={(tenant, stream): Checkpoint(2, b"stream")},
            tenant_checkpoints={tenant: Checkpoint(2, b"tenant")},
        )
    )
    assert await JournalRows(database).applied_seq() == 2
    stored = await Anomalies(database).get(tenant, first.finding_id)
    assert stored is not None
    assert (stored.finding, stored.incident_id, stored.stream_id) == (first.finding, incident.incident_id, stream)
    found = await Incidents(database).get(tenant, incident.incident_id)
    assert found is not None
    assert (found.incident, found.slugs) == (incident, ("shop.checkout.prod",))
    shown = await Streams(database).get(tenant, stream)
    assert shown is not None
    assert (shown.events, shown.pending, shown.calibration, shown.last_event_ns) == (2, 1, "ok", NOW_NS + 9)
    assert await checkpoints.load_streams([stream, UUID(int=0)]) == {stream: Checkpoint(2, b"stream")}
    assert await checkpoints.load_tenants([tenant]) == {tenant: Checkpoint(2, b"tenant")}


async def test_nothing_of_a_failed_step_remains(
    database: Database, checkpoints: Checkpoints, tenant: UUID, stream: UUID, owner: asyncpg.Connection
) -> None:
    await owner.execute("alter table driftlock.stream_status add constraint broken check (events < 5) not valid")
    try:
        with pytest.raises(Exception, match="constraint"):
            await checkpoints.commit(Step(0, 2, findings=(row(tenant, stream, 1),), streams=(status(tenant, stream, 5),)))
    finally:
        await owner.execute("alter table driftlock.stream_status drop constraint broken")
    assert await listed(database, tenant) == []
    assert await JournalRows(database).applied_seq() == 0


async def test_a_replayed_finding_is_said_once(
    database: Database, checkpoints: Checkpoints, tenant: UUID, stream: UUID
) -> None:
    await checkpoints.commit(Step(0, 1, findings=(row(tenant, stream, 1),)))
    await checkpoints.commit(Step(1, 2, findings=(row(tenant, stream, 1, explanation="again"), row(tenant, stream, 2))))
    assert [window for window, _ in await listed(database, tenant)] == [1, 2]
    stored = await Anomalies(database).get(tenant, UUID(int=1001))
    assert stored is not None
    assert stored.finding.explanation == "disk full appeared"


async def test_several_things_may_be_found_by_the_time_of_one_window(
    database: Database, checkpoints: Checkpoints, tenant: UUID, stream: UUID
) -> None:
    first = row(tenant, stream, 1)
    second = dataclasses.replace(first, finding_id=UUID(int=7), finding=finding(1, question=Question.INTERACTION, subject="t"))
    await checkpoints.commit(Step(0, 1, findings=(first, second)))
    stored = await Anomalies(database).list(tenant, AnomalyFilter(), limit=9)
    assert sorted((each.finding.window, each.finding.subject) for each in stored) == [(1, ""), (1, "t")]


async def test_an_incident_grows_and_takes_in_findings_of_earlier_steps(
    database: Database, checkpoints: Checkpoints, tenant: UUID, stream: UUID
) -> None:
    await checkpoints.commit(Step(0, 1, findings=(row(tenant, stream, 1),)))
    first = dataclasses.replace(INCIDENT, stream_ids=(stream,))
    opened = IncidentRow(tenant, first, (UUID(int=1001),))
    closed = dataclasses.replace(first, state=IncidentState.CLOSED, findings=2, end_ns=NOW_NS + 99)
    await checkpoints.commit(Step(1, 2, incidents=(opened,)))
    await checkpoints.commit(
        Step(2, 3, findings=(row(tenant, stream, 2),), incidents=(IncidentRow(tenant, closed, (UUID(int=1002),)),))
    )
    assert await listed(database, tenant) == [(1, INCIDENT.incident_id), (2, INCIDENT.incident_id)]
    found = await Incidents(database).get(tenant, INCIDENT.incident_id)
    assert found is not None
    assert found.incident == closed


async def test_what_a_step_says_twice_counts_as_said_last(
    database: Database, checkpoints: Checkpoints, tenant: UUID, stream: UUID
) -> None:
    rows = tuple(row(tenant, stream, window) for window in (1, 2))
    grown = dataclasses.replace(INCIDENT, findings=2)
    incidents = tuple(IncidentRow(tenant, form, (each.finding_id,)) for form, each in zip((INCIDENT, grown), rows, strict=True))
    statuses = (status(tenant, stream, 1), status(tenant, stream, 2))
    await checkpoints.commit(Step(0, 1, findings=(*rows, rows[0]), incidents=incidents, streams=statuses))
    assert await listed(database, tenant) == [(1, INCIDENT.incident_id), (2, INCIDENT.incident_id)]
    found, shown = await Incidents(database).get(tenant, INCIDENT.incident_id), await Streams(database).get(tenant, stream)
    assert found is not None
    assert shown is not None
    assert (found.incident.findings, shown.events) == (2, 2)


async def test_text_and_times_that_columns_can_not_hold_are_stored(
    database: Database, checkpoints: Checkpoints, tenant: UUID, stream: UUID
) -> None:
    odd = row(tenant, stream, 1, explanation="a\x00b \ud800", start_ns=-1, end_ns=2**64 - 1)
    title = dataclasses.replace(INCIDENT, title="\x00", end_ns=2**64 - 1)
    await checkpoints.commit(Step(0, 1, findings=(odd,), incidents=(IncidentRow(tenant, title, (odd.finding_id,)),)))
    stored = await Anomalies(database).get(tenant, odd.finding_id)
    assert stored is not None
    assert stored.finding == odd.finding  # the finding itself is kept to the byte


@pytest.mark.parametrize(("from_seq", "to_seq"), [(1, 2), (0, 2)])
async def test_a_step_that_does_not_follow_is_refused(
    checkpoints: Checkpoints, database: Database, tenant: UUID, stream: UUID, from_seq: int, to_seq: int
) -> None:
    if from_seq == 0:
        await checkpoints.commit(Step(0, to_seq))
    with pytest.raises(Conflict, match="does not follow"):
        await checkpoints.commit(Step(from_seq, to_seq, findings=(row(tenant, stream, 1),)))
    assert await listed(database, tenant) == []


async def test_a_step_may_stand_still(checkpoints: Checkpoints, tenant: UUID, stream: UUID) -> None:
    await checkpoints.commit(Step(0, 3))
    for state in (b"one", b"two"):
        await checkpoints.commit(Step(3, 3, stream_checkpoints={(tenant, stream): Checkpoint(3, state)}))
    assert await checkpoints.load_streams([stream]) == {stream: Checkpoint(3, b"two")}


async def test_a_checkpoint_beyond_its_step_is_a_bug(checkpoints: Checkpoints, tenant: UUID) -> None:
    with pytest.raises(ValueError, match="checkpoints"):
        await checkpoints.commit(Step(0, 1, tenant_checkpoints={tenant: Checkpoint(2, b"")}))
    with pytest.raises(ValueError, match="before it begins"):
        await checkpoints.commit(Step(2, 1))


async def test_a_new_owner_fences_the_old_applier(
    database: Database, checkpoints: Checkpoints, shard: Shard, tenant: UUID, stream: UUID
) -> None:
    newer = Shard(database)
    await newer.acquire()
    with pytest.raises(Conflict, match="taken over"):
        await checkpoints.commit(Step(0, 2, findings=(row(tenant, stream, 1),)))
    assert shard.fenced.is_set()
    assert await listed(database, tenant) == []
    await Checkpoints(database, newer).commit(Step(0, 2))


async def test_a_commit_whose_answer_was_lost_is_recognised(
    database_urls: Urls, database: Database, shard: Shard, tenant: UUID, stream: UUID
) -> None:
    async with Proxy(database_urls.app) as proxy, Database(proxy.dsn) as shaky:
        checkpoints = Checkpoints(shaky, shard)
        step = Step(0, 2, findings=(row(tenant, stream, 1),), stream_checkpoints={(tenant, stream): Checkpoint(2, b"s")})
        proxy.lose_answer_to(b"COMMIT")
        with pytest.raises(Unavailable):
            await checkpoints.commit(step)
        assert not proxy.armed
        assert await JournalRows(database).applied_seq() == 2
        await checkpoints.commit(step)
        await checkpoints.commit(Step(2, 3))
        with pytest.raises(Conflict):
            await checkpoints.commit(step)
    assert [window for window, _ in await listed(database, tenant)] == [1]


async def test_a_commit_that_was_lost_before_the_server_is_done_again(
    database_urls: Urls, database: Database, shard: Shard, tenant: UUID, stream: UUID
) -> None:
    async with Proxy(database_urls.app) as proxy, Database(proxy.dsn) as shaky:
        checkpoints = Checkpoints(shaky, shard)
        step = Step(0, 2, findings=(row(tenant, stream, 1),))
        proxy.lose_answer_to(b"BEGIN")
        with pytest.raises(Unavailable):
            await checkpoints.commit(step)
        assert await JournalRows(database).applied_seq() == 0
        await checkpoints.commit(step)
    assert [window for window, _ in await listed(database, tenant)] == [1]


async def test_the_last_two_checkpoints_are_kept(
    checkpoints: Checkpoints, tenant: UUID, stream: UUID, owner: asyncpg.Connection
) -> None:
    for seq in (1, 2, 3):
        saved = Checkpoint(seq, b"%d" % seq)
        await checkpoints.commit(
            Step(seq - 1, seq, stream_checkpoints={(tenant, stream): saved}, tenant_checkpoints={tenant: saved})
        )
    for table in ("stream_checkpoints", "tenant_checkpoints"):
        rows = await owner.fetch(f"select seq from driftlock.{table} order by seq")  # noqa: S608  # names above
        assert [each["seq"] for each in rows] == [2, 3]


async def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    checkpoints: Checkpoints, tenant: UUID, stream: UUID, owner: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    for seq in (1, 2):
        saved = Checkpoint(seq, b"state %d" % seq)
        await checkpoints.commit(
            Step(seq - 1, seq, stream_checkpoints={(tenant, stream): saved}, tenant_checkpoints={tenant: saved})
        )
    for table in ("stream_checkpoints", "tenant_checkpoints"):
        await owner.execute(f"update driftlock.{table} set state = '\\x00' where seq = 2")  # noqa: S608
    with caplog.at_level(logging.ERROR):
        assert await checkpoints.load_streams([stream]) == {stream: Checkpoint(1, b"state 1", instead_of=2)}
        assert await checkpoints.load_tenants([tenant]) == {tenant: Checkpoint(1, b"state 1", instead_of=2)}
        await owner.execute("update driftlock.stream_checkpoints set state = '\\x00'")
        assert await checkpoints.load_streams([stream]) == {stream: Checkpoint(2, b"")}
    assert "starting from its checkpoint at 1" in caplog.text
    assert "its past is lost" in caplog.text


async def test_what_belongs_to_a_deleted_tenant_falls_away(
    database: Database, checkpoints: Checkpoints, tenant: UUID, stream: UUID, journal: Journal
) -> None:
    gone = (await Tenants(database).create("gone")).tenant_id
    lost = (await journal.submit(submission(gone, "x"))).stream_ids[0]
    await Tenants(database).delete(gone)
    saved = Checkpoint(4, b"s")
    await checkpoints.commit(
        Step(
            0,
            4,
            findings=(row(gone, lost, 1), row(tenant, stream, 2)),
            incidents=(IncidentRow(gone, INCIDENT, (UUID(int=1001),)),),
            streams=(status(gone, lost, 1), status(tenant, stream, 3)),
            stream_checkpoints={(gone, lost): saved, (tenant, stream): saved},
            tenant_checkpoints={gone: saved, tenant: saved},
        )
    )
    assert [window for window, _ in await listed(database, tenant)] == [2]
    assert await checkpoints.load_streams([lost, stream]) == {stream: saved}
