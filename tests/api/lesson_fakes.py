"""Feedback and tuning in memory, for the API's tests."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from api.tuning_ports import FeedbackRow, Opinion, Preview, TuningKind, TuningRow
from driftlock.accounts.actor import Actor
from driftlock.engine.lessons import Lessons, effect, lesson_of
from driftlock.errors import Conflict, NotFound, PreconditionFailed
from tests.api.fakes import FakeHouse

GIVEN_AT = datetime(2027, 2, 3, 4, 5, 6, tzinfo=UTC)


class FakeFeedback:
    """What is said of the anomalies of a house; `actors` are those who said or withdrew something, in order."""

    def __init__(self, house: FakeHouse) -> None:
        self.house = house
        self.rows: dict[tuple[UUID, UUID], FeedbackRow] = {}
        self.actors: list[Actor] = []

    async def get(self, tenant_id: UUID, anomaly_id: UUID) -> FeedbackRow | None:
        return self.rows.get((tenant_id, anomaly_id))

    async def give(self, tenant_id: UUID, anomaly_id: UUID, opinion: Opinion, actor: Actor) -> FeedbackRow:
        if self.house.failure is not None:
            raise self.house.failure
        for anomaly in self.house.anomaly_rows[tenant_id]:
            if anomaly.anomaly_id == anomaly_id:
                lesson = lesson_of(anomaly_id, anomaly.finding, (), opinion.verdict, opinion.until_ns)
                row = FeedbackRow(anomaly_id, anomaly.stream_id, opinion, lesson is not None, GIVEN_AT, actor.name)
                self.rows[tenant_id, anomaly_id] = row
                self.actors.append(actor)
                return row
        raise NotFound("there is no anomaly with this id; GET /v1/anomalies lists yours")

    async def withdraw(self, tenant_id: UUID, anomaly_id: UUID, actor: Actor) -> bool:
        self.actors.append(actor)
        return self.rows.pop((tenant_id, anomaly_id), None) is not None

    async def preview(self, tenant_id: UUID, anomaly_id: UUID, opinion: Opinion) -> Preview:
        rows = {row.anomaly_id: row for row in self.house.anomaly_rows[tenant_id]}
        if anomaly_id not in rows:
            raise NotFound("there is no anomaly with this id; GET /v1/anomalies lists yours")
        lesson = lesson_of(anomaly_id, rows[anomaly_id].finding, (), opinion.verdict, opinion.until_ns)
        after = Lessons([] if lesson is None else [lesson])
        changed = effect(((it, row.finding) for it, row in rows.items()), Lessons(), after, ())
        return Preview(tuple(rows[it] for it in changed.silences), (), len(rows), cut=False, learns=lesson is not None)


class FakeTuning:
    """Changes of profiles of a house's streams, and which of them follow feedback; `meanwhile`: just before one is switched."""

    def __init__(self, house: FakeHouse) -> None:
        self.house = house
        self.entries: dict[UUID, list[TuningRow]] = {}
        self.switched: set[UUID] = set()
        self.meanwhile: Callable[[], None] | None = None

    async def list(self, tenant_id: UUID, stream_id: UUID, *, limit: int, after: int | None) -> Sequence[TuningRow]:
        rows = self.entries.get(stream_id, []) if stream_id in self.house.stream_rows[tenant_id] else []
        return [row for row in reversed(rows) if after is None or row.n < after][:limit]

    async def automatic(self, tenant_id: UUID, stream_id: UUID) -> bool:
        return stream_id in self.switched and stream_id in self.house.stream_rows[tenant_id]

    async def switch(
        self,
        tenant_id: UUID,  # noqa: ARG002
        stream_id: UUID,
        actor: Actor,  # noqa: ARG002
        *,
        automatic: bool,
        expected: bool | None = None,
    ) -> None:
        if self.meanwhile is not None:
            self.meanwhile()
        if expected not in (None, stream_id in self.switched):
            raise PreconditionFailed("this was switched since you read it")
        (self.switched.add if automatic else self.switched.discard)(stream_id)

    async def undo(self, tenant_id: UUID, stream_id: UUID, number: int, actor: Actor) -> TuningRow:  # noqa: ARG002
        rows = self.entries.get(stream_id, [])
        entry = next((row for row in rows if row.n == number), None)
        if entry is None:
            raise NotFound("there is no such change of this stream's profile; GET /v1/streams/{id}/tuning lists them")
        if entry is not rows[-1]:
            raise Conflict("a later change of this stream's profile has taken the place of this one")
        made = TuningRow(
            number + 1, GIVEN_AT, TuningKind.UNDO, entry.after, entry.before, f"change {number} was undone", number
        )
        rows[-1] = replace(entry, undone_by=made.n)
        rows.append(made)
        return made
