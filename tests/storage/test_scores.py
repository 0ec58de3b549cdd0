"""Scores by the minute: added up once, whatever is tried again, and let go of when they are old."""

from uuid import UUID

import pytest

from driftlock.engine.ports import FindingRow, Step, StreamStatus
from driftlock.engine.scores import SCORE_MINUTES_MAX, MinuteScore, ScoreRow
from driftlock.errors import InvalidArgument
from driftlock.storage import scores as module
from driftlock.storage.anomalies import Anomalies
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.journal import Journal
from driftlock.storage.pool import Database
from driftlock.storage.scores import Scores, Sparkline
from driftlock.storage.shard import Shard
from driftlock.storage.tenants import Tenants
from driftlock.storage.waitlist import Waitlist
from tests.storage.helpers import finding, submission

MINUTE_NS = 60_000_000_000


@pytest.fixture
async def stream(journal: Journal, tenant: UUID) -> UUID:
    return (await journal.submit(submission(tenant, "x"))).stream_ids[0]


def step(at: int, *rows: ScoreRow, to: int | None = None) -> Step:
    return Step(at, at if to is None else to, scores=rows)


async def test_minutes_are_added_up_and_a_step_that_is_tried_again_adds_nothing(
    database: Database, shard: Shard, tenant: UUID, stream: UUID
) -> None:
    checkpoints = Checkpoints(database, shard)
    one = ScoreRow(tenant, stream, MinuteScore(10, 5, 2, 1, 3.0, 0.4, 0.02))
    two = ScoreRow(tenant, stream, MinuteScore(11, 7, 1, 0, 9.0, 0.1, 0.5))
    await checkpoints.commit(step(0, one, two, to=1))
    checkpoints._in_doubt = (shard.epoch, 0, 1)  # as if the answer had been lost
    checkpoints._committed_seq = 0
    await checkpoints.commit(step(0, one, two, to=1))
    await checkpoints.commit(step(1, ScoreRow(tenant, stream, MinuteScore(10, 3, 1, 2, 1.0, 0.6, 0.3))))
    found = await Scores(database).list(tenant, stream, since_minute=0, until_minute=100)
    assert found == [MinuteScore(10, 8, 3, 3, 3.0, 0.6, 0.02), MinuteScore(11, 7, 1, 0, 9.0, 0.1, 0.5)]
    assert await Scores(database).list(tenant, stream, since_minute=11, until_minute=12) == found[1:]
    assert await Scores(database).list(tenant, stream, since_minute=0, until_minute=11) == found[:1]
    [together] = await Scores(database).list(tenant, stream, since_minute=0, until_minute=60, step_minutes=60)
    assert together == MinuteScore(0, 15, 4, 3, 9.0, 0.6, 0.02)
    with pytest.raises(InvalidArgument, match="points_max"):
        await Scores(database).list(tenant, stream, since_minute=0, until_minute=1_501)


async def test_a_stranger_sees_no_scores(database: Database, shard: Shard, tenant: UUID, stream: UUID) -> None:
    other = (await Tenants(database).create("other")).tenant_id
    await Checkpoints(database, shard).commit(step(0, ScoreRow(tenant, stream, MinuteScore(1, 1))))
    assert await Scores(database).list(other, stream, since_minute=0, until_minute=9) == []
    assert await Scores(database).sparklines(other, [stream], since_minute=0, parts=2, part_minutes=5) == {}
    await Checkpoints(database, shard).commit(step(0, ScoreRow(other, stream, MinuteScore(2, 1))))  # not its stream
    assert len(await Scores(database).list(tenant, stream, since_minute=0, until_minute=9)) == 1


async def test_one_query_has_the_lines_of_many_streams(database: Database, shard: Shard, tenant: UUID, stream: UUID) -> None:
    rows = [ScoreRow(tenant, stream, MinuteScore(minute, minute, 0, minute == 14)) for minute in (9, 10, 11, 14, 20)]
    await Checkpoints(database, shard).commit(step(0, *rows))
    lines = await Scores(database).sparklines(tenant, [stream, UUID(int=1)], since_minute=10, parts=3, part_minutes=3)
    assert lines == {stream: Sparkline((21, 14, 0), (0, 1, 0))}
    with pytest.raises(InvalidArgument):
        await Scores(database).sparklines(tenant, [stream], since_minute=0, parts=0, part_minutes=1)


async def test_what_is_older_than_a_fortnight_leaves(
    database: Database, shard: Shard, tenant: UUID, stream: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FORGOTTEN_AT_ONCE_MAX", 2)
    newest = SCORE_MINUTES_MAX + 50
    rows = [ScoreRow(tenant, stream, MinuteScore(minute, 1)) for minute in (1, 2, 49, 50, 51, newest)]
    status = StreamStatus(tenant, stream, 6, 0, 1, newest * MINUTE_NS + 5, "ok", 0)
    await Checkpoints(database, shard).commit(Step(0, 0, scores=tuple(rows), streams=(status,)))
    assert await Scores(database).forget() == 4
    left = await Scores(database).list(tenant, stream, since_minute=0, until_minute=newest + 1, step_minutes=100)
    assert sum(score.events for score in left) == 2


async def test_findings_are_found_by_the_row_that_brought_them(
    database: Database, shard: Shard, tenant: UUID, stream: UUID
) -> None:
    rows = [
        FindingRow(tenant, stream, UUID(int=number), finding(number), seq)
        for number, seq in ((1, 5), (2, 6), (3, 6), (4, 7), (5, 0))
    ]
    await Checkpoints(database, shard).commit(Step(0, 0, findings=tuple(rows)))
    found = await Anomalies(database).of_row(tenant, stream, 6, limit=9)
    assert [row.finding.window for row in found] == [2, 3]
    assert [row.finding.window for row in await Anomalies(database).of_row(tenant, stream, 6, limit=1)] == [2]
    other = (await Tenants(database).create("other")).tenant_id
    assert await Anomalies(database).of_row(other, stream, 6, limit=9) == []
    assert {row.finding.window for row in await Anomalies(database).by_ids(tenant, [UUID(int=1), UUID(int=77)])} == {1}


async def test_an_address_is_kept_once_and_the_list_is_bounded(database: Database, owner: object) -> None:
    await owner.execute("delete from driftlock.waitlist")  # type: ignore[attr-defined]
    waitlist = Waitlist(database, entries_max=2)
    for email in ("a@x.org", "a@x.org", "b@x.org", "c@x.org"):
        await waitlist.add(email)
    rows = await owner.fetch("select email from driftlock.waitlist order by email")  # type: ignore[attr-defined]
    assert [row["email"] for row in rows] == ["a@x.org", "b@x.org"]
