"""Anchors and their hours in the database: changed through the journal, told by steps, bounded, and due for a reset."""

import asyncio
from dataclasses import replace
from uuid import UUID

import asyncpg
import pytest

from driftlock.accounts.actor import SYSTEM, Actor, ActorKind
from driftlock.engine.anchor import (
    AnchorCause,
    AnchorChange,
    AnchorEnd,
    AnchorNote,
    AnchorSettings,
    AnchorSource,
    AnchorStanding,
    Freeze,
)
from driftlock.engine.correlation.budget import DAY_NS
from driftlock.engine.drift import HOUR_NS, DriftHour
from driftlock.engine.ports import AnchorLoss, AnchorRow, DriftRow, IncidentRow, RowKind, Step, StreamStatus
from driftlock.engine.records import decode_anchor
from driftlock.engine.verdict import Incident, IncidentState
from driftlock.errors import InvalidArgument, NotFound, PreconditionFailed
from driftlock.storage import anchors as storage
from driftlock.storage import drift as hours_storage
from driftlock.storage.anchors import Anchors
from driftlock.storage.audit import AuditLog
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.controls import Controls
from driftlock.storage.drift import DriftHours, DueReset, due_resets
from driftlock.storage.journal import Journal
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.pool import Database
from driftlock.storage.shard import Shard
from driftlock.storage.tenants import Tenants
from server.anchor_resets import reset_drifted
from tests.storage.helpers import NOW_NS, submission

WHO = Actor(ActorKind.KEY, "abcd", "ci", "r-1", "192.0.2.0/24")
FREEZE = AnchorChange(freeze=Freeze())
NOTE = AnchorNote(
    anchor_id=UUID(int=50),
    seq=2,
    standing=AnchorStanding.IN_FORCE,
    source=AnchorSource.BASELINE,
    cause=AnchorCause.REQUEST,
    frozen_ns=NOW_NS,
    event=400,
    codec="statistical",
    codec_level=1,
    codec_version="1",
    window=50,
    lines=400,
    size_bytes=40_000,
    ratio_normal=0.25,
)
HOUR = DriftHour(NOTE.anchor_id, NOW_NS // HOUR_NS * HOUR_NS, 0.1, 12, None, 0)


@pytest.fixture
async def stream(journal: Journal, tenant: UUID) -> UUID:
    return (await journal.submit(submission(tenant, "line"))).stream_ids[0]


@pytest.fixture
def anchors(database: Database, journal: Journal) -> Anchors:
    return Anchors(database, Controls(journal))


@pytest.fixture
def checkpoints(database: Database, shard: Shard) -> Checkpoints:
    return Checkpoints(database, shard)


def ended(note: AnchorNote, because: AnchorEnd = AnchorEnd.RESET) -> AnchorNote:
    return replace(
        note, standing=AnchorStanding.ENDED, ended_seq=note.seq + 1, ended_ns=NOW_NS, ended_because=because, reason="so"
    )


async def test_a_change_is_journaled_shown_and_audited_together(
    database: Database, anchors: Anchors, checkpoints: Checkpoints, journal: Journal, shard: Shard, tenant: UUID, stream: UUID
) -> None:
    nothing = await anchors.get(tenant, stream)
    assert (nothing.settings, nothing.seq, nothing.applied, nothing.anchor) == (AnchorSettings(), 0, True, None)
    change = AnchorChange(AnchorSettings(0.5, reset_on_drift=True), freeze=Freeze())
    seq = await anchors.change(tenant, stream, change, actor=WHO, action="anchor.set", detail={"a": 1})
    row = (await JournalRows(database, recent=journal.recent, owner=shard).read(seq - 1, 1 << 20))[0]
    assert (row.kind, row.tenant_id, row.stream_id) == (RowKind.ANCHOR, tenant, stream)
    assert decode_anchor(row.body) == change
    [entry] = await AuditLog(database).list(tenant, limit=9, action="anchor.set")
    assert (entry.actor, entry.target, entry.detail) == (WHO, str(stream), {"a": 1})
    pending = await anchors.get(tenant, stream)
    assert (pending.settings, pending.seq, pending.applied) == (change.settings, seq, False)
    assert await anchors.of_row(tenant, stream, seq) is None
    note = replace(NOTE, seq=seq)
    await checkpoints.commit(Step(0, seq, anchors=(AnchorRow(tenant, stream, note),)))
    view = await anchors.get(tenant, stream)
    assert view.applied
    assert view.anchor is not None
    assert view.anchor.note == note
    assert await anchors.of_row(tenant, stream, seq) == view.anchor
    # Settings that are not named stay.
    await anchors.change(tenant, stream, AnchorChange(drop=True), actor=WHO, action="anchor.dropped", detail={})
    assert (await anchors.get(tenant, stream)).settings == change.settings


async def test_a_change_that_is_refused_leaves_nothing(
    database: Database, anchors: Anchors, tenant: UUID, stream: UUID, owner: asyncpg.Connection
) -> None:
    first = await anchors.change(tenant, stream, FREEZE, actor=WHO, action="anchor.reset", detail={}, expected_seq=0)
    before = await owner.fetchval("select max(seq) from driftlock.journal")
    for wrong in (0, first - 1):
        with pytest.raises(PreconditionFailed):
            await anchors.change(tenant, stream, FREEZE, actor=WHO, action="anchor.reset", detail={}, expected_seq=wrong)
    other = (await Tenants(database).create("other")).tenant_id
    with pytest.raises(NotFound):
        await anchors.change(other, stream, FREEZE, actor=WHO, action="anchor.reset", detail={})
    assert await owner.fetchval("select max(seq) from driftlock.journal") == before
    assert len(await AuditLog(database).list(tenant, limit=9, action="anchor.reset")) == 1
    assert (
        await anchors.change(tenant, stream, FREEZE, actor=WHO, action="anchor.reset", detail={}, expected_seq=first)
        == first + 1
    )
    assert (await anchors.get(other, stream)).seq == 0


async def test_the_history_is_kept_without_the_oldest_and_with_what_is_in_force(
    anchors: Anchors, checkpoints: Checkpoints, tenant: UUID, stream: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "ANCHORS_MAX", 3)
    notes = [replace(NOTE, anchor_id=UUID(int=60 + n), seq=2 + n) for n in range(8)]
    refused = [replace(note, standing=AnchorStanding.REFUSED, reason="too few") for note in notes[1:]]
    for number, note in enumerate([notes[0], *refused]):
        await checkpoints.commit(Step(number, number + 1, anchors=(AnchorRow(tenant, stream, note),)))
    kept = await anchors.list(tenant, stream, limit=99)
    assert [row.note for row in kept] == [*refused[:-5:-1], notes[0]]
    page = await anchors.list(tenant, stream, limit=2)
    assert [row.note for row in await anchors.list(tenant, stream, limit=2, after=page[-1].note.seq)] == [*refused[-3:-5:-1]]
    view = await anchors.get(tenant, stream)
    assert view.anchor is not None
    assert view.anchor.note == notes[0]
    with pytest.raises(InvalidArgument):
        await anchors.list(tenant, stream, limit=0)


async def test_an_anchor_that_is_frozen_and_ended_in_one_step_is_ended(
    anchors: Anchors, checkpoints: Checkpoints, tenant: UUID, stream: UUID
) -> None:
    await checkpoints.commit(Step(0, 1, anchors=tuple(AnchorRow(tenant, stream, note) for note in (NOTE, ended(NOTE)))))
    [row] = await anchors.list(tenant, stream, limit=9)
    assert row.note == ended(NOTE)
    assert (await anchors.get(tenant, stream)).anchor is None


async def test_a_lost_state_ends_anchors_but_for_the_one_that_is_known(
    anchors: Anchors, checkpoints: Checkpoints, tenant: UUID, stream: UUID
) -> None:
    seq = await anchors.change(tenant, stream, AnchorChange(AnchorSettings(0.5)), actor=WHO, action="anchor.set", detail={})
    other = replace(NOTE, anchor_id=UUID(int=51))
    rows = tuple(AnchorRow(tenant, stream, note) for note in (NOTE, other))
    await checkpoints.commit(Step(0, seq, anchors=rows))
    loss = AnchorLoss(tenant, stream, seq + 1, other.anchor_id, AnchorSettings(0.6))
    await checkpoints.commit(Step(seq, seq + 1, anchors_lost=(loss,)))
    found = {row.note.anchor_id: row.note for row in await anchors.list(tenant, stream, limit=9)}
    assert (found[NOTE.anchor_id].ended_because, found[NOTE.anchor_id].ended_seq) == (AnchorEnd.LOST, seq + 1)
    assert found[other.anchor_id] == other
    assert (await anchors.get(tenant, stream)).settings == AnchorSettings(0.6)


async def test_hours_are_listed_by_time_within_bounds_and_once(
    database: Database, anchors: Anchors, checkpoints: Checkpoints, tenant: UUID, stream: UUID
) -> None:
    hours = [
        replace(HOUR, hour_ns=HOUR.hour_ns + n * HOUR_NS, distance=n / 10, recent=None if n < 5 else 0.2) for n in range(7)
    ]
    later = [replace(hour, anchor_id=UUID(int=51)) for hour in hours[5:]]
    rows = [AnchorRow(tenant, stream, ended(NOTE)), AnchorRow(tenant, stream, replace(NOTE, anchor_id=UUID(int=51), seq=3))]
    drift = tuple(DriftRow(tenant, stream, hour) for hour in [*hours, *later])
    await checkpoints.commit(Step(0, 1, anchors=tuple(rows), drift=drift))
    await checkpoints.commit(Step(1, 2, drift=(DriftRow(tenant, stream, replace(hours[0], distance=0.9)),)))
    listed = DriftHours(database)
    every = await listed.list(tenant, stream, limit=99)
    assert every == sorted([*hours, *later], key=lambda it: (it.hour_ns, it.anchor_id), reverse=True)
    walked: list[DriftHour] = []
    while page := await listed.list(
        tenant, stream, limit=2, after=(walked[-1].hour_ns, walked[-1].anchor_id) if walked else None
    ):
        walked += page
    assert walked == every
    bounded = await listed.list(
        tenant, stream, limit=99, since_ns=hours[1].hour_ns, until_ns=hours[3].hour_ns, anchor_id=NOTE.anchor_id
    )
    assert bounded == [hours[2], hours[1]]
    assert await listed.list(tenant, stream, limit=99, anchor_id=UUID(int=9)) == []
    newest = (await anchors.get(tenant, stream)).hour
    assert newest == later[-1]


async def test_old_hours_go(
    database: Database, checkpoints: Checkpoints, tenant: UUID, stream: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hours_storage, "HOURS_MAX", 3)
    hours = [replace(HOUR, hour_ns=HOUR.hour_ns + n * HOUR_NS) for n in range(6)]
    await checkpoints.commit(Step(0, 1, anchors=(AnchorRow(tenant, stream, NOTE),)))
    for number, hour in enumerate(hours, 1):
        await checkpoints.commit(Step(number, number + 1, drift=(DriftRow(tenant, stream, hour),)))
    assert await DriftHours(database).list(tenant, stream, limit=99) == hours[:2:-1]


# ---- resets by themselves ------------------------------------------------------------------------------------------------


def drifted(
    tenant: UUID, stream: UUID, *, since_ns: int, last_ns: int, incident: tuple[IncidentState, int] | None = None
) -> Step:
    hour = replace(HOUR, since_ns=since_ns, recent=0.9)
    status = StreamStatus(tenant, stream, 1, 1, NOW_NS, last_ns, "ok", 0)
    incidents: tuple[IncidentRow, ...] = ()
    if incident is not None:
        state, end_ns = incident
        incidents = (IncidentRow(tenant, Incident(UUID(int=70), (stream,), state, 1, end_ns, 1, 0.5, 0.01, "x"), ()),)
    return Step(
        0,
        2,
        anchors=(AnchorRow(tenant, stream, NOTE),),
        drift=(DriftRow(tenant, stream, hour),),
        streams=(status,),
        incidents=incidents,
    )


END = NOW_NS + 2 * DAY_NS


@pytest.mark.parametrize(
    ("wants", "since_ns", "incident", "due"),
    [
        (True, END - DAY_NS, None, True),
        (True, END - DAY_NS + 1, None, False),
        (True, 0, None, False),
        (False, END - DAY_NS, None, False),
        (True, NOW_NS, (IncidentState.OPEN, NOW_NS), False),
        (True, NOW_NS, (IncidentState.CLOSED, END - DAY_NS + 1), False),
        (True, NOW_NS, (IncidentState.CLOSED, END - DAY_NS), True),
    ],
    ids=["a day", "not yet", "no drift", "not wanted", "open", "closed within the day", "closed before it"],
)
async def test_a_reset_is_due_after_a_day_of_drift_without_open_incidents(
    database: Database,
    anchors: Anchors,
    checkpoints: Checkpoints,
    tenant: UUID,
    stream: UUID,
    wants: bool,
    since_ns: int,
    incident: tuple[IncidentState, int] | None,
    due: bool,
) -> None:
    change = AnchorChange(AnchorSettings(reset_on_drift=wants))
    assert await anchors.change(tenant, stream, change, actor=WHO, action="anchor.set", detail={}) == 2
    await checkpoints.commit(drifted(tenant, stream, since_ns=since_ns, last_ns=END, incident=incident))
    assert await due_resets(database) == ([DueReset(tenant, stream, NOTE.anchor_id)] if due else [])


class Counted(Anchors):
    """Says when it was asked for the third time what is due."""

    def __init__(self, database: Database, controls: Controls) -> None:
        super().__init__(database, controls)
        self.asked, self.thrice = 0, asyncio.Event()

    async def due(self) -> list[DueReset]:
        self.asked += 1
        if self.asked == 3:
            self.thrice.set()
        return await super().due()


async def test_what_is_due_is_journaled_once_and_audited(
    database: Database, journal: Journal, shard: Shard, anchors: Anchors, checkpoints: Checkpoints, tenant: UUID, stream: UUID
) -> None:
    change = AnchorChange(AnchorSettings(reset_on_drift=True))
    await anchors.change(tenant, stream, change, actor=WHO, action="anchor.set", detail={})
    await checkpoints.commit(drifted(tenant, stream, since_ns=NOW_NS, last_ns=END))
    counted = Counted(database, Controls(journal))
    task = asyncio.create_task(reset_drifted(counted, None, period_s=0.01))  # type: ignore[arg-type]  # nothing to warn of
    await counted.thrice.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    rows = await JournalRows(database, recent=journal.recent, owner=shard).read(2, 1 << 20)
    assert [decode_anchor(row.body) for row in rows] == [AnchorChange(freeze=Freeze(instead_of=NOTE.anchor_id))]
    [entry] = await AuditLog(database).list(tenant, limit=9, action="anchor.reset")
    assert entry.actor == SYSTEM
