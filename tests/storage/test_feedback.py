"""Feedback in the database and the journal: both or neither, one verdict a finding, and nobody else's."""

import asyncio
from uuid import UUID

import asyncpg
import pytest

from driftlock.accounts.actor import SYSTEM, Actor, ActorKind
from driftlock.engine.lessons import LESSONS_MAX, LessonChange, Verdict
from driftlock.engine.ports import FindingRow, RowKind, Step, StreamStatus
from driftlock.engine.records import decode_lesson
from driftlock.engine.verdict import NovelLine
from driftlock.errors import Conflict, NotFound
from driftlock.storage import feedback as feedback_module
from driftlock.storage.anomalies import Anomalies, AnomalyFilter
from driftlock.storage.audit import AuditLog
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.controls import Controls
from driftlock.storage.feedback import Feedbacks, Opinion
from driftlock.storage.journal import Journal
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.pool import Connection, Database
from driftlock.storage.shard import Shard
from driftlock.storage.tenants import Tenants
from tests.storage.helpers import NOW_NS, finding, submission

ANN = Actor(ActorKind.USER, "ann", "Ann")
FALSE = Opinion(Verdict.FALSE_POSITIVE, note="a release")
KNOWN, OTHER = UUID(int=90), UUID(int=91)


@pytest.fixture
async def stream(database: Database, shard: Shard, journal: Journal, tenant: UUID) -> UUID:
    """A stream with two findings about one line, and one about another."""
    stream_id = (await journal.submit(submission(tenant, "x"))).stream_ids[0]
    disk = (NovelLine(1, NOW_NS, "disk full", ((0, 9),), 9),)
    rows = [
        FindingRow(tenant, stream_id, UUID(int=90), finding(1, lines=disk, p_without=0.9)),
        FindingRow(tenant, stream_id, UUID(int=91), finding(2, lines=(NovelLine(1, NOW_NS, "gone", (), 9),), p_without=0.9)),
        FindingRow(tenant, stream_id, UUID(int=92), finding(3, lines=disk, p_without=0.9)),
    ]
    status = StreamStatus(tenant, stream_id, 9, 3, NOW_NS, NOW_NS, "ok", 0)
    await Checkpoints(database, shard).commit(Step(0, 1, findings=tuple(rows), streams=(status,)))
    return stream_id


@pytest.fixture
def feedbacks(database: Database, journal: Journal) -> Feedbacks:
    return Feedbacks(database, Controls(journal))


async def changes(database: Database) -> list[LessonChange]:
    rows = await JournalRows(database).read(0, 1 << 20)
    return [decode_lesson(row.body) for row in rows if row.kind is RowKind.LESSON]


async def test_feedback_is_journaled_shown_and_audited_at_once(
    database: Database, feedbacks: Feedbacks, stream: UUID, tenant: UUID
) -> None:
    assert await feedbacks.get(tenant, KNOWN) is None
    row = await feedbacks.give(tenant, KNOWN, FALSE, ANN)
    assert row == await feedbacks.get(tenant, KNOWN)
    assert (row.anomaly_id, row.stream_id, row.opinion, row.taught, row.given_by) == (KNOWN, stream, FALSE, True, "Ann")
    [change] = await changes(database)
    assert change.lesson is not None
    assert (change.finding_id, change.lesson.verdict) == (KNOWN, Verdict.FALSE_POSITIVE)
    assert [line.text for line in change.lesson.content.lines] == ["disk full"]
    [entry] = await AuditLog(database).list(tenant, limit=9)
    assert (entry.actor, entry.action, entry.target) == (ANN, "feedback.given", str(KNOWN))
    assert entry.detail == {"verdict": "false_positive", "until_ns": 0, "learned": True}


async def test_a_second_verdict_takes_the_place_of_the_first(
    database: Database, feedbacks: Feedbacks, stream: UUID, tenant: UUID
) -> None:
    await feedbacks.give(tenant, KNOWN, FALSE, ANN)
    row = await feedbacks.give(tenant, KNOWN, Opinion(Verdict.CONFIRMED), SYSTEM)
    assert (row.opinion, row.taught, row.stream_id) == (Opinion(Verdict.CONFIRMED), False, stream)
    assert (await changes(database))[1] == LessonChange(KNOWN)
    expected = Opinion(Verdict.EXPECTED, NOW_NS + 5)
    assert (await feedbacks.give(tenant, KNOWN, expected, ANN)).opinion == expected
    assert [change.lesson and change.lesson.until_ns for change in await changes(database)] == [0, None, NOW_NS + 5]


@pytest.mark.usefixtures("stream")
async def test_withdrawing_takes_it_back_once(database: Database, feedbacks: Feedbacks, tenant: UUID) -> None:
    await feedbacks.give(tenant, KNOWN, FALSE, ANN)
    assert await feedbacks.withdraw(tenant, KNOWN, ANN)
    assert await feedbacks.get(tenant, KNOWN) is None
    assert (await changes(database))[-1] == LessonChange(KNOWN)
    assert not await feedbacks.withdraw(tenant, KNOWN, ANN)
    assert len(await changes(database)) == 2
    assert [it.action for it in await AuditLog(database).list(tenant, limit=9)] == ["feedback.withdrawn", "feedback.given"]


@pytest.mark.usefixtures("stream")
async def test_a_preview_stores_nothing_and_says_both_ways(database: Database, feedbacks: Feedbacks, tenant: UUID) -> None:
    said = await feedbacks.preview(tenant, KNOWN, FALSE)
    assert {row.anomaly_id for row in said.silences} == {UUID(int=90), UUID(int=92)}
    assert (said.brings_back, said.examined, said.cut, said.learns) == ((), 3, False, True)
    assert await feedbacks.get(tenant, KNOWN) is None
    assert await changes(database) == []
    await feedbacks.give(tenant, KNOWN, FALSE, ANN)
    again = await feedbacks.preview(tenant, KNOWN, Opinion(Verdict.CONFIRMED))
    assert {row.anomaly_id for row in again.brings_back} == {UUID(int=90), UUID(int=92)}
    assert (again.silences, again.learns) == ((), False)


@pytest.mark.usefixtures("stream")
async def test_a_preview_says_when_it_does_not_look_at_all(
    feedbacks: Feedbacks, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback_module, "PREVIEW_FINDINGS_MAX", 2)
    said = await feedbacks.preview(tenant, KNOWN, FALSE)
    assert (said.examined, said.cut) == (2, True)


@pytest.mark.usefixtures("stream")
async def test_a_preview_looks_thirty_days_back(feedbacks: Feedbacks, tenant: UUID, owner: asyncpg.Connection) -> None:
    await owner.execute("update driftlock.anomalies set detected_at = now() - interval '31 days' where id = $1", UUID(int=92))
    said = await feedbacks.preview(tenant, KNOWN, FALSE)
    assert ([row.anomaly_id for row in said.silences], said.examined) == ([KNOWN], 2)


@pytest.mark.usefixtures("stream")
async def test_another_tenants_finding_is_not_there(database: Database, feedbacks: Feedbacks, tenant: UUID) -> None:
    other = (await Tenants(database).create("other")).tenant_id
    await feedbacks.give(tenant, KNOWN, FALSE, ANN)
    for call in (feedbacks.give(other, OTHER, FALSE, ANN), feedbacks.preview(other, OTHER, FALSE)):
        with pytest.raises(NotFound, match="no anomaly"):
            await call
    assert await feedbacks.get(other, KNOWN) is None
    assert not await feedbacks.withdraw(other, KNOWN, ANN)
    assert len(await changes(database)) == 1


@pytest.mark.usefixtures("stream")
async def test_what_is_written_beside_the_row_is_there_with_it_or_not_at_all(
    database: Database, feedbacks: Feedbacks, journal: Journal, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise Conflict("the request has been repeated elsewhere")

    monkeypatch.setattr(feedback_module, "note", broken)
    with pytest.raises(Conflict, match="repeated elsewhere"):
        await feedbacks.give(tenant, KNOWN, FALSE, ANN)
    monkeypatch.undo()
    assert await feedbacks.get(tenant, KNOWN) is None
    assert await changes(database) == []
    await journal.submit(submission(tenant, "y"))  # a refusal of what goes with a row is no take-over of the journal
    await feedbacks.give(tenant, KNOWN, FALSE, ANN)
    assert len(await changes(database)) == 1


@pytest.mark.usefixtures("stream")
async def test_feedback_at_the_same_time_all_counts(database: Database, feedbacks: Feedbacks, tenant: UUID) -> None:
    ids = [UUID(int=number) for number in (90, 91, 92)]
    await asyncio.gather(*(feedbacks.give(tenant, it, FALSE, ANN) for it in ids))
    assert {change.finding_id for change in await changes(database)} == set(ids)
    assert all([await feedbacks.get(tenant, it) for it in ids])


async def test_the_expired_make_room_and_are_forgotten_with_it(
    database: Database, feedbacks: Feedbacks, stream: UUID, tenant: UUID, owner: asyncpg.Connection
) -> None:
    await feedbacks.give(tenant, OTHER, Opinion(Verdict.EXPECTED, NOW_NS - 1), ANN)
    await owner.execute(
        "insert into driftlock.feedback (anomaly_id, tenant_id, stream_id, verdict, lesson, seq, question, ncd, p_value, "
        "ncd_threshold, p_value_threshold) select md5(g::text)::uuid, f.tenant_id, f.stream_id, f.verdict, "
        "$1::bytea || decode(substr(md5(g::text), 1, 32), 'hex'), f.seq, f.question, 0, 0, 0, 0 "
        "from driftlock.feedback f, generate_series(1, $2) g",
        b"\x12\x08expected\x1a\x07novelty\x0a\x10",
        LESSONS_MAX - 1,
    )
    await feedbacks.give(tenant, KNOWN, FALSE, ANN)
    assert (await changes(database))[-1].forgotten == (OTHER,)
    gone = await feedbacks.get(tenant, OTHER)
    assert gone is not None
    assert not gone.taught
    with pytest.raises(Conflict, match="lessons_max"):
        await feedbacks.give(tenant, UUID(int=92), FALSE, ANN)
    assert await owner.fetchval(
        "select count(*) from driftlock.feedback where stream_id = $1 and lesson is not null", stream
    ) == (LESSONS_MAX)


async def test_silenced_findings_are_listed_when_asked_for(
    database: Database, shard: Shard, stream: UUID, tenant: UUID
) -> None:
    row = FindingRow(tenant, stream, UUID(int=93), finding(4), silenced_by=KNOWN)
    await Checkpoints(database, shard).commit(Step(1, 2, findings=(row,)))
    anomalies = Anomalies(database)
    assert len(await anomalies.list(tenant, AnomalyFilter(), limit=9)) == 3
    [found] = await anomalies.list(tenant, AnomalyFilter(silenced=True), limit=9)
    assert (found.anomaly_id, found.silenced_by) == (UUID(int=93), KNOWN)
    assert (await anomalies.get(tenant, UUID(int=93))) == found


async def test_who_judges_wakes_who_tunes(database: Database, journal: Journal, stream: UUID, tenant: UUID) -> None:
    judged: list[tuple[UUID, UUID]] = []
    feedbacks = Feedbacks(database, Controls(journal), lambda *ids: judged.append(ids))
    await feedbacks.preview(tenant, KNOWN, FALSE)
    assert judged == []
    await feedbacks.give(tenant, KNOWN, FALSE, ANN)
    assert judged == [(tenant, stream)]


async def test_a_change_under_way_is_noticed(
    database: Database, feedbacks: Feedbacks, stream: UUID, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else teaches the stream between what is read and what is written: it is read again."""
    read, tries = feedback_module._standing, []

    async def meanwhile(connection: Connection, tenant_id: UUID, stream_id: UUID) -> tuple[int, int]:
        tries.append(stream_id)
        newest, count = await read(connection, tenant_id, stream_id)
        return (newest, count + 1) if len(tries) == 2 else (newest, count)

    monkeypatch.setattr(feedback_module, "_standing", meanwhile)
    await feedbacks.give(tenant, KNOWN, FALSE, ANN)
    assert tries == [stream] * 4
    assert len(await changes(database)) == 1
