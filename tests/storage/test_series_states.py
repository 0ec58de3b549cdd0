"""States of series: as of a position, by their numbers, for as long as a checkpoint may ask for them."""

import logging
from uuid import UUID

import asyncpg
import pytest

from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.ports import Checkpoint, Step
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.journal import Journal
from driftlock.storage.pool import Database
from driftlock.storage.shard import Shard
from tests.storage.helpers import submission

LARGE = 2**64 - 1
SMALL = 1


@pytest.fixture
def checkpoints(database: Database, shard: Shard) -> Checkpoints:
    return Checkpoints(database, shard)


@pytest.fixture
async def stream(journal: Journal, tenant: UUID) -> UUID:
    receipt = await journal.submit(submission(tenant, "line"))
    return receipt.stream_ids[0]


async def save(checkpoints: Checkpoints, tenant: UUID, stream: UUID, seq: int, states: dict[int, bytes]) -> None:
    """A step to `seq` with a checkpoint of the stream and of some of its series."""
    await checkpoints.commit(
        Step(
            seq - 1,
            seq,
            stream_checkpoints={(tenant, stream): Checkpoint(seq, b"stream")},
            series_checkpoints={(tenant, stream, series): Checkpoint(seq, state) for series, state in states.items()},
        )
    )


async def kept(owner: asyncpg.Connection) -> list[tuple[int, int]]:
    return [
        (row["series"], row["seq"])
        for row in await owner.fetch("select series, seq from driftlock.series_states order by 1, 2")
    ]


async def test_the_newest_state_as_of_a_position_is_read(checkpoints: Checkpoints, tenant: UUID, stream: UUID) -> None:
    await save(checkpoints, tenant, stream, 1, {SMALL: b"one", LARGE: b"large"})
    await save(checkpoints, tenant, stream, 2, {SMALL: b"two"})
    assert await checkpoints.load_series(stream, 2, [SMALL, LARGE, 5]) == {SMALL: b"two", LARGE: b"large"}
    assert await checkpoints.load_series(stream, 1, [SMALL]) == {SMALL: b"one"}
    assert await checkpoints.load_series(stream, 0, [SMALL]) == {}
    assert await checkpoints.load_series(UUID(int=9), 2, [SMALL]) == {}


async def test_what_no_checkpoint_can_ask_for_goes(
    checkpoints: Checkpoints, tenant: UUID, stream: UUID, owner: asyncpg.Connection
) -> None:
    for seq in range(1, 6):
        await save(checkpoints, tenant, stream, seq, {SMALL: b"%d" % seq} if seq != 4 else {LARGE: b"other"})
    # Checkpoints are kept at 4 and 5: as of 4 the state of 3 is the newest.
    assert await kept(owner) == [(-1, 4), (1, 3), (1, 5)]
    assert await checkpoints.load_series(stream, 4, [SMALL, LARGE]) == {SMALL: b"3", LARGE: b"other"}


async def test_forgotten_series_lose_every_state(
    checkpoints: Checkpoints, tenant: UUID, stream: UUID, owner: asyncpg.Connection
) -> None:
    await save(checkpoints, tenant, stream, 1, {SMALL: b"one", LARGE: b"large"})
    await checkpoints.commit(Step(1, 1, series_dropped={(tenant, stream): (LARGE,)}))
    assert await kept(owner) == [(1, 1)]


async def test_a_damaged_state_is_left_out_and_told(
    checkpoints: Checkpoints, tenant: UUID, stream: UUID, owner: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    await save(checkpoints, tenant, stream, 1, {SMALL: b"one", LARGE: b"large"})
    await owner.execute("update driftlock.series_states set state = '\\x00' where series = 1")
    with caplog.at_level(logging.ERROR):
        assert await checkpoints.load_series(stream, 1, [SMALL, LARGE]) == {LARGE: b"large"}
    assert "learns anew" in caplog.text


async def test_states_go_with_their_tenant(
    database: Database, checkpoints: Checkpoints, tenant: UUID, stream: UUID, owner: asyncpg.Connection
) -> None:
    await save(checkpoints, tenant, stream, 1, {SMALL: b"one"})
    await owner.execute("delete from driftlock.tenants where id = $1", tenant)
    assert await kept(owner) == []


async def test_a_checkpoint_of_a_series_beyond_the_step_is_refused(
    checkpoints: Checkpoints, tenant: UUID, stream: UUID
) -> None:
    with pytest.raises(ValueError, match="ends before"):
        await checkpoints.commit(Step(0, 1, series_checkpoints={(tenant, stream, 1): Checkpoint(2, b"")}))


async def test_keys_of_streams_are_found(checkpoints: Checkpoints, stream: UUID) -> None:
    found = await checkpoints.stream_keys([stream, UUID(int=4)])
    assert list(found) == [stream]
    assert isinstance(found[stream], StreamKey)
    assert found[stream].signal is Signal.LOGS
