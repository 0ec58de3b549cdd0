"""What people say of findings, and what their streams learn of it: the journal's row and what is shown, in one transaction."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from driftlock.accounts.actor import Actor
from driftlock.engine.lesson_plan import plan
from driftlock.engine.lesson_record import lesson_bytes, lesson_read
from driftlock.engine.lessons import Lesson, LessonChange, Lessons, Verdict, effect, lesson_of
from driftlock.engine.ports import RowKind
from driftlock.engine.profile import DEFAULT_PROFILE, PROFILES
from driftlock.engine.records import Damaged, encode_lesson
from driftlock.engine.verdict import Finding
from driftlock.errors import NotFound, Unavailable
from driftlock.storage.anomalies import SELECT as ANOMALIES
from driftlock.storage.anomalies import AnomalyRow, anomaly_row
from driftlock.storage.audit import note
from driftlock.storage.columns import text
from driftlock.storage.controls import Controls
from driftlock.storage.pool import Connection, Database
from driftlock.storage.streams import stored_profile

PREVIEW_DAYS_MAX = 30
"""A preview looks at findings that are at most so old."""

PREVIEW_FINDINGS_MAX = 500
"""And at so many of them, the newest."""

NOTE_BYTES_MAX = 4096
"""Longest note, bytes of UTF-8."""

ATTEMPTS_MAX = 5
"""So often a change is tried that others change the stream's lessons under."""

ANOMALY = ANOMALIES + "where a.id = $1"
GET = """
select f.anomaly_id, f.stream_id, f.verdict, f.until_ns, f.note, f.lesson is not null as taught, f.given_at, f.given_by
  from driftlock.feedback f where f.anomaly_id = $1
"""
LESSONS = "select f.lesson from driftlock.feedback f where f.stream_id = $1 and f.lesson is not null order by f.seq"
OF_STREAM = """
select s.profile, coalesce(t.last_event_ns, 0) as last_event_ns
  from driftlock.streams s left join driftlock.stream_status t on t.stream_id = s.id where s.id = $1
"""
RECENT = (
    ANOMALIES
    + """
 where a.stream_id = $1 and a.detected_at > now() - make_interval(days => $2)
 order by a.detected_at desc, a.end_ns desc, a.id desc limit $3
"""
)
STANDING = """
select coalesce(max(f.seq), 0) as newest, count(*) filter (where f.lesson is not null) as lessons
  from driftlock.feedback f where f.stream_id = $1 and f.tenant_id = $2
"""
PUT = """
insert into driftlock.feedback
  (anomaly_id, tenant_id, stream_id, verdict, until_ns, note, lesson, seq, given_by, question, ncd, p_value, ncd_threshold,
   p_value_threshold)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
on conflict (anomaly_id) do update set
  verdict = excluded.verdict, until_ns = excluded.until_ns, note = excluded.note, lesson = excluded.lesson, seq = excluded.seq,
  given_at = clock_timestamp(), given_by = excluded.given_by
"""
FORGET = "update driftlock.feedback set lesson = null where stream_id = $1 and anomaly_id = any ($2)"
WITHDRAW = "delete from driftlock.feedback where anomaly_id = $1 and tenant_id = $2"


@dataclass(frozen=True, slots=True)
class Opinion:
    """What is said of a finding; `until_ns` is event time, 0 = for good."""

    verdict: Verdict
    until_ns: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class FeedbackRow:
    """An opinion as it stands. `taught`: the stream has learned from it, and not forgotten."""

    anomaly_id: UUID
    stream_id: UUID
    opinion: Opinion
    taught: bool
    given_at: datetime
    given_by: str


@dataclass(frozen=True, slots=True)
class Preview:
    """What an opinion would change of the findings of the last `PREVIEW_DAYS_MAX` days, the newest first.

    `examined` findings were looked at; `cut`: there are more than that. `learns`: it has parts that can be known again.
    """

    silences: tuple[AnomalyRow, ...]
    brings_back: tuple[AnomalyRow, ...]
    examined: int
    cut: bool
    learns: bool


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a finding's stream: lessons in the order in which they were taught, masks, event time.

    `standing` is another one whenever somebody has changed them.
    """

    lessons: Lessons
    masks: tuple[str, ...]
    last_event_ns: int
    standing: tuple[int, int]


class _Moved(Exception):
    """Somebody else has changed the lessons of the stream meanwhile."""


class Feedbacks:
    """Feedback of one tenant at a time. Raises `Unavailable` when nothing can be made durable, or read, now."""

    def __init__(
        self, database: Database, controls: Controls, on_given: Callable[[UUID, UUID], None] = lambda _tenant, _stream: None
    ) -> None:
        """`database` must be entered before use. `on_given(tenant_id, stream_id)` is called after each; it must not raise."""
        self._database = database
        self._controls = controls
        self._on_given = on_given

    async def get(self, tenant_id: UUID, anomaly_id: UUID) -> FeedbackRow | None:
        """What was said of a finding, even of one that is not kept any more."""
        async with self._database.tenant(tenant_id) as connection:
            row = await connection.fetchrow(GET, anomaly_id)
        return None if row is None else _feedback(row)

    async def give(self, tenant_id: UUID, anomaly_id: UUID, opinion: Opinion, actor: Actor) -> FeedbackRow:
        """Say it, in place of what was said before. The stream has learned it with its next record.

        Raises `NotFound` for a finding that the tenant does not have, `Conflict` where the stream can learn no more.
        """
        for _ in range(ATTEMPTS_MAX):
            anomaly, known = await self._read(tenant_id, anomaly_id)
            change = plan(_lesson(anomaly, known, opinion), anomaly_id, known.lessons, known.last_event_ns)
            if await self._changed(tenant_id, anomaly, known, change, opinion, actor):
                given = await self.get(tenant_id, anomaly_id)
                if given is None:
                    break  # it was withdrawn in the same moment
                self._on_given(tenant_id, anomaly.stream_id)
                return given
        raise Unavailable("feedback on this stream is changing; retry", retry_after_ms=1000)

    async def withdraw(self, tenant_id: UUID, anomaly_id: UUID, actor: Actor) -> bool:
        """Take back what was said; False when nothing was. What happened so far stays as it was told."""
        row = await self.get(tenant_id, anomaly_id)
        if row is None:
            return False

        async def beside(connection: Connection, _: int) -> None:
            await connection.execute(WITHDRAW, anomaly_id, tenant_id)
            await note(connection, tenant_id, actor, "feedback.withdrawn", str(anomaly_id), {"verdict": row.opinion.verdict})

        body = encode_lesson(LessonChange(anomaly_id))
        await self._controls.append(tenant_id, row.stream_id, RowKind.LESSON, body, beside)
        return True

    async def preview(self, tenant_id: UUID, anomaly_id: UUID, opinion: Opinion) -> Preview:
        """What an opinion would change, had it been there all the time. Raises as `give` does, and stores nothing."""
        anomaly, known = await self._read(tenant_id, anomaly_id)
        change = plan(_lesson(anomaly, known, opinion), anomaly_id, known.lessons, known.last_event_ns)
        async with self._database.tenant(tenant_id) as connection:
            rows = await connection.fetch(RECENT, anomaly.stream_id, PREVIEW_DAYS_MAX, PREVIEW_FINDINGS_MAX + 1)
        return await asyncio.to_thread(_preview, rows, known, change)

    async def _read(self, tenant_id: UUID, anomaly_id: UUID) -> tuple[AnomalyRow, _Known]:
        async with self._database.tenant(tenant_id) as connection:
            found = await connection.fetchrow(ANOMALY, anomaly_id)
            if found is None:
                raise NotFound("there is no anomaly with this id; GET /v1/anomalies lists yours")
            anomaly = anomaly_row(found)
            stream = await connection.fetchrow(OF_STREAM, anomaly.stream_id)
            if stream is None:
                raise NotFound("there is no anomaly with this id; GET /v1/anomalies lists yours")
            lessons = await connection.fetch(LESSONS, anomaly.stream_id)
            standing = await _standing(connection, tenant_id, anomaly.stream_id)
        profile = PROFILES[DEFAULT_PROFILE] if stream["profile"] is None else stored_profile(stream["profile"])
        known = Lessons(_stored_lesson(row["lesson"]) for row in lessons)
        return anomaly, _Known(known, profile.masks, stream["last_event_ns"], standing)

    async def _changed(
        self,
        tenant_id: UUID,
        anomaly: AnomalyRow,
        known: _Known,
        change: LessonChange,
        opinion: Opinion,
        actor: Actor,
    ) -> bool:
        """Whether the change was made; False when the lessons were not those that are `known` any more."""
        lesson = None if change.lesson is None else lesson_bytes(change.lesson)

        async def beside(connection: Connection, seq: int) -> None:
            if await _standing(connection, tenant_id, anomaly.stream_id) != known.standing:
                raise _Moved
            await connection.execute(
                PUT,
                anomaly.anomaly_id,
                tenant_id,
                anomaly.stream_id,
                opinion.verdict.value,
                opinion.until_ns,
                text(opinion.note),
                lesson,
                seq,
                text(actor.name or actor.id),
                *_numbers(anomaly.finding),
            )
            if change.forgotten:
                await connection.execute(FORGET, anomaly.stream_id, list(change.forgotten))
            detail: Mapping[str, object] = {
                "verdict": opinion.verdict,
                "until_ns": opinion.until_ns,
                "learned": lesson is not None,
            }
            await note(connection, tenant_id, actor, "feedback.given", str(anomaly.anomaly_id), detail)

        try:
            await self._controls.append(tenant_id, anomaly.stream_id, RowKind.LESSON, encode_lesson(change), beside)
        except _Moved:
            return False
        return True


async def _standing(connection: Connection, tenant_id: UUID, stream_id: UUID) -> tuple[int, int]:
    """Position of the newest feedback on a stream, and how many lessons it has."""
    row = await connection.fetchrow(STANDING, stream_id, tenant_id)
    return (0, 0) if row is None else (row["newest"], row["lessons"])


def _lesson(anomaly: AnomalyRow, known: _Known, opinion: Opinion) -> Lesson | None:
    return lesson_of(anomaly.anomaly_id, anomaly.finding, known.masks, opinion.verdict, opinion.until_ns)


def _preview(rows: Sequence[asyncpg.Record], known: _Known, change: LessonChange) -> Preview:
    found = [anomaly_row(row) for row in rows[:PREVIEW_FINDINGS_MAX]]
    changed = effect(((it.anomaly_id, it.finding) for it in found), known.lessons, known.lessons.changed(change), known.masks)
    by_id = {it.anomaly_id: it for it in found}
    return Preview(
        tuple(by_id[it] for it in changed.silences),
        tuple(by_id[it] for it in changed.brings_back),
        len(found),
        len(rows) > len(found),
        change.lesson is not None,
    )


def _stored_lesson(body: bytes) -> Lesson:
    try:
        return lesson_read(body)
    except ValueError as error:
        raise Damaged("a stored lesson can not be read; restore the database from a backup") from error


def _numbers(finding: Finding) -> tuple[object, ...]:
    return finding.question.value, finding.ncd, finding.p_value, finding.ncd_threshold, finding.p_value_threshold


def _feedback(row: asyncpg.Record) -> FeedbackRow:
    opinion = Opinion(Verdict(row["verdict"]), row["until_ns"], row["note"])
    return FeedbackRow(row["anomaly_id"], row["stream_id"], opinion, row["taught"], row["given_at"], row["given_by"])
