"""How profiles change: by hand, by feedback, and back; each change in the history, with its reason, in its transaction."""

import asyncio
from dataclasses import replace
from uuid import UUID

import asyncpg
import pytest

from driftlock.accounts.actor import SYSTEM, Actor, ActorKind
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.profile import PROFILES, custom
from driftlock.engine.tuning import LABELS_MIN
from driftlock.errors import Conflict, NotFound, Unavailable
from driftlock.storage import tuning as tuning_module
from driftlock.storage.audit import AuditLog
from driftlock.storage.journal import Journal
from driftlock.storage.pool import Database
from driftlock.storage.streams import Streams
from driftlock.storage.tenants import Tenants
from driftlock.storage.tuning import Tuning, TuningKind
from tests.storage.helpers import submission

ANN = Actor(ActorKind.USER, "ann", "Ann")
BALANCED, STRICT = PROFILES["balanced"], PROFILES["strict"]
TUNED = custom(BALANCED, {"ncd_threshold": 0.33})
DAY_NS = 24 * 3600 * 10**9
LABEL = """
insert into driftlock.feedback (anomaly_id, tenant_id, stream_id, verdict, seq, question, ncd, p_value, ncd_threshold,
  p_value_threshold)
select md5(g::text)::uuid, $1, $2, 'false_positive', 1, 'novelty', .32, .001, .3, .05 from generate_series(1, $3) g
"""


@pytest.fixture
async def stream(journal: Journal, tenant: UUID) -> UUID:
    return (await journal.submit(submission(tenant, "x"))).stream_ids[0]


@pytest.fixture
def tuning(database: Database, journal: Journal) -> Tuning:
    return Tuning(database, journal)


async def now_ns(owner: asyncpg.Connection) -> int:
    return int(await owner.fetchval("select (extract(epoch from clock_timestamp()) * 1000000000)::bigint"))


async def profile_of(database: Database, tenant: UUID, stream: UUID) -> object:
    row = await Streams(database).get(tenant, stream)
    assert row is not None
    return row.profile


async def test_every_change_by_hand_is_in_the_history(tuning: Tuning, journal: Journal, tenant: UUID, stream: UUID) -> None:
    for profile in (STRICT, STRICT, TUNED):
        await journal.configure(tenant, stream, profile)
    rows = await tuning.list(tenant, stream, limit=9)
    assert [(row.n, row.kind, row.before, row.after, row.reason) for row in rows] == [
        (2, TuningKind.MANUAL, STRICT, TUNED, ""),
        (1, TuningKind.MANUAL, BALANCED, STRICT, ""),
    ]
    assert await tuning.list(tenant, stream, limit=1) == rows[:1]
    assert await tuning.list(tenant, stream, limit=1, after=2) == rows[1:]
    assert await tuning.list(tenant, stream, limit=1, after=1) == []


async def test_streams_follow_feedback_only_when_they_are_told_to(
    database: Database, tuning: Tuning, tenant: UUID, stream: UUID, owner: asyncpg.Connection
) -> None:
    await owner.execute(LABEL, tenant, stream, LABELS_MIN)
    assert not await tuning.automatic(tenant, stream)
    assert await tuning.tuned(UUID(int=0), 9) == []
    assert await tuning.step(tenant, stream, await now_ns(owner)) is None
    await tuning.switch(tenant, stream, ANN, automatic=True)
    await tuning.switch(tenant, stream, ANN, automatic=True)
    assert await tuning.automatic(tenant, stream)
    assert await tuning.tuned(UUID(int=0), 9) == [(tenant, stream)]
    step = await tuning.step(tenant, stream, await now_ns(owner))
    assert step is not None
    assert step.profile == TUNED == await profile_of(database, tenant, stream)
    [row] = await tuning.list(tenant, stream, limit=9)
    assert (row.kind, row.reason, row.after) == (TuningKind.AUTOMATIC, step.reason, TUNED)
    stepped, switched = await AuditLog(database).list(tenant, limit=9)
    assert (stepped.actor, stepped.action, stepped.detail["after"]) == (SYSTEM, "tuning.stepped", 0.33)
    assert (switched.actor, switched.action, switched.detail) == (ANN, "tuning.switched", {"automatic": True})


async def test_of_two_who_switch_by_what_they_have_read_one_does(tuning: Tuning, tenant: UUID, stream: UUID) -> None:
    found = await asyncio.gather(
        *(tuning.switch(tenant, stream, ANN, automatic=True, expected=False) for _ in range(2)), return_exceptions=True
    )
    assert sorted(type(it).__name__ for it in found) == ["NoneType", "PreconditionFailed"]
    await tuning.switch(tenant, stream, ANN, automatic=True, expected=True)
    assert await tuning.automatic(tenant, stream)


async def test_a_day_passes_between_steps_and_labels_count_once(
    tuning: Tuning, tenant: UUID, stream: UUID, owner: asyncpg.Connection
) -> None:
    await owner.execute(LABEL, tenant, stream, LABELS_MIN)
    await tuning.switch(tenant, stream, ANN, automatic=True)
    now = await now_ns(owner)
    assert await tuning.step(tenant, stream, now) is not None
    await owner.execute("update driftlock.feedback set ncd_threshold = .33, ncd = .35")  # new ones
    assert await tuning.step(tenant, stream, now + DAY_NS // 2) is None
    assert await tuning.step(tenant, stream, now + 2 * DAY_NS) is not None
    assert await tuning.step(tenant, stream, now + 9 * DAY_NS) is None


async def test_undoing_puts_the_profile_back(
    database: Database, tuning: Tuning, journal: Journal, tenant: UUID, stream: UUID
) -> None:
    await journal.configure(tenant, stream, TUNED)
    await journal.configure(tenant, stream, STRICT)
    with pytest.raises(Conflict, match="later change"):
        await tuning.undo(tenant, stream, 1, ANN)
    assert await profile_of(database, tenant, stream) == STRICT
    undone = await tuning.undo(tenant, stream, 2, ANN)
    assert (undone.n, undone.kind, undone.undoes, undone.before, undone.after) == (3, TuningKind.UNDO, 2, STRICT, TUNED)
    assert await profile_of(database, tenant, stream) == TUNED
    assert [row.undone_by for row in await tuning.list(tenant, stream, limit=9)] == [None, 3, None]
    [entry] = await AuditLog(database).list(tenant, limit=9)
    assert (entry.action, entry.detail) == ("tuning.undone", {"n": 2, "by": 3})
    with pytest.raises(Conflict, match="undone already"):
        await tuning.undo(tenant, stream, 2, ANN)
    assert (await tuning.undo(tenant, stream, 1, ANN)).after == BALANCED  # what it made holds again


async def test_undoing_leaves_what_was_changed_since(
    database: Database, tuning: Tuning, journal: Journal, tenant: UUID, stream: UUID
) -> None:
    await journal.configure(tenant, stream, TUNED)
    later = custom(TUNED, {"alerts_per_day_max": 3})
    await journal.configure(tenant, stream, later)
    undone = await tuning.undo(tenant, stream, 1, ANN)
    assert (undone.before, undone.after, undone.undoes) == (later, custom(BALANCED, {"alerts_per_day_max": 3}), 1)
    assert await profile_of(database, tenant, stream) == undone.after


async def test_undoing_names_the_values_that_were_changed_since(
    database: Database, tuning: Tuning, journal: Journal, tenant: UUID, stream: UUID
) -> None:
    both = custom(TUNED, {"p_value_threshold": 0.02})
    await journal.configure(tenant, stream, both)
    for changes, told in (
        ({"ncd_threshold": 0.4}, "ncd_threshold"),
        ({"ncd_threshold": 0.4, "p_value_threshold": 0.03, "window_size": 60}, "ncd_threshold, p_value_threshold"),
    ):
        now = custom(both, changes)
        await journal.configure(tenant, stream, now)
        with pytest.raises(Conflict, match=f"later change .*: {told};"):
            await tuning.undo(tenant, stream, 1, ANN)
        assert await profile_of(database, tenant, stream) == now


async def test_undoing_makes_no_profile_that_can_not_be(
    database: Database, tuning: Tuning, journal: Journal, tenant: UUID, stream: UUID
) -> None:
    wide = custom(BALANCED, {"window_size": 100})
    await journal.configure(tenant, stream, wide)
    now = custom(wide, {"hop_size": 80})
    await journal.configure(tenant, stream, now)
    with pytest.raises(Conflict, match="does not go with later changes: hop_size"):
        await tuning.undo(tenant, stream, 1, ANN)
    assert await profile_of(database, tenant, stream) == now


async def test_undoing_keeps_a_level_that_was_set_since(tuning: Tuning, journal: Journal, tenant: UUID, stream: UUID) -> None:
    gzip = custom(BALANCED, {"codec": "gzip"})
    await journal.configure(tenant, stream, custom(BALANCED, {"codec": "zstd"}))
    await journal.configure(tenant, stream, gzip)
    await journal.configure(tenant, stream, custom(gzip, {"codec_level": 7}))
    assert (await tuning.undo(tenant, stream, 2, ANN)).after == custom(BALANCED, {"codec": "zstd", "codec_level": 7})


async def test_what_is_not_there_is_not_undone(
    database: Database, tuning: Tuning, journal: Journal, tenant: UUID, stream: UUID
) -> None:
    await journal.configure(tenant, stream, STRICT)
    other = (await Tenants(database).create("other")).tenant_id
    for who, number in ((tenant, 7), (other, 1)):
        with pytest.raises(NotFound):
            await tuning.undo(who, stream, number, ANN)
    assert await tuning.list(other, stream, limit=9) == []
    await tuning.switch(other, stream, ANN, automatic=True)
    assert not await tuning.automatic(tenant, stream)
    assert await AuditLog(database).list(other, limit=9) == []


async def test_a_step_and_its_reason_are_one(
    database: Database,
    tuning: Tuning,
    tenant: UUID,
    stream: UUID,
    owner: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await owner.execute(LABEL, tenant, stream, LABELS_MIN)
    await tuning.switch(tenant, stream, ANN, automatic=True)

    async def broken(*_: object) -> None:
        raise Unavailable("the way to the database is gone")

    monkeypatch.setattr(tuning_module, "note", broken)
    with pytest.raises(Unavailable):
        await tuning.step(tenant, stream, await now_ns(owner))
    assert await profile_of(database, tenant, stream) == BALANCED
    assert await tuning.list(tenant, stream, limit=9) == []
    monkeypatch.undo()
    assert await tuning.step(tenant, stream, await now_ns(owner)) is not None


async def test_a_stream_of_numbers_has_one_threshold(
    tuning: Tuning, journal: Journal, tenant: UUID, owner: asyncpg.Connection
) -> None:
    key = StreamKey(Signal.METRICS, "shop")
    stream = (await journal.submit(submission(tenant, "m", key=key))).stream_ids[0]
    await owner.execute(LABEL, tenant, stream, LABELS_MIN)
    await owner.execute("update driftlock.feedback set question = 'value', ncd_threshold = .5, p_value = .04")
    await tuning.switch(tenant, stream, ANN, automatic=True)
    step = await tuning.step(tenant, stream, await now_ns(owner))
    assert step is not None
    assert step.profile == replace(BALANCED, name="custom", p_value_threshold=0.045)


async def test_the_newest_thousand_changes_stay(
    tuning: Tuning, journal: Journal, tenant: UUID, stream: UUID, owner: asyncpg.Connection
) -> None:
    await journal.configure(tenant, stream, STRICT)
    await owner.execute("update driftlock.tuning set n = $1", tuning_module.ENTRIES_MAX)
    await journal.configure(tenant, stream, TUNED)
    assert len(await tuning.list(tenant, stream, limit=9)) == 2
    await owner.execute("update driftlock.tuning set n = 1 where n = $1", tuning_module.ENTRIES_MAX)
    await journal.configure(tenant, stream, STRICT)
    assert [row.n for row in await tuning.list(tenant, stream, limit=9)] == [1002, 1001]
