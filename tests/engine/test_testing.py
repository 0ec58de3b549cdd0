"""The journal in memory keeps the promises of the real one about profiles."""

from uuid import UUID

import pytest

from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.ports import RowKind, StreamBatch, Submission
from driftlock.engine.profile import PROFILES
from driftlock.engine.records import decode_config
from driftlock.engine.testing import MemoryJournal, memory_stream_id
from driftlock.errors import NotFound, Unavailable
from tests.engine.streams import batches

TENANT = UUID(int=1)
KEY = StreamKey(Signal.LOGS, "checkout")
STREAM = memory_stream_id(TENANT, KEY)
STRICT, SENSITIVE = PROFILES["strict"], PROFILES["sensitive"]


def submission() -> Submission:
    (batch,) = batches([b"a line"], 1)
    return Submission(TENANT, Signal.LOGS, 7, (StreamBatch(KEY, batch),))


async def test_a_configuration_stands_among_the_records_of_its_stream() -> None:
    journal = MemoryJournal()
    await journal.submit(submission())
    assert await journal.configure(TENANT, STREAM, STRICT) == 2
    assert await journal.configure(TENANT, STREAM, STRICT) == 2  # the same again leaves no row
    await journal.submit(submission())
    first, config, last = await journal.read(0, 1 << 20)
    assert (first.kind, config.kind, last.kind) == (RowKind.RECORDS, RowKind.CONFIG, RowKind.RECORDS)
    assert (config.seq, config.tenant_id, config.stream_id, config.stream_key) == (2, TENANT, STREAM, KEY)
    assert decode_config(config.body) == STRICT
    assert {first.configured, config.configured, last.configured} == {STRICT}


async def test_only_its_tenant_configures_a_stream() -> None:
    journal = MemoryJournal()
    await journal.submit(submission())
    for tenant_id, stream_id in ((UUID(int=2), STREAM), (TENANT, UUID(int=3))):
        with pytest.raises(NotFound):
            await journal.configure(tenant_id, stream_id, STRICT)
    assert len(journal.rows) == 1


async def test_a_stream_is_created_with_its_profile_once() -> None:
    journal = MemoryJournal()
    assert await journal.create_stream(TENANT, KEY, STRICT)
    assert not await journal.create_stream(TENANT, KEY, SENSITIVE)
    assert journal.profiles == {STREAM: STRICT}
    assert [row.kind for row in journal.rows] == [RowKind.CONFIG]


async def test_a_stream_with_records_is_not_created() -> None:
    journal = MemoryJournal()
    await journal.submit(submission())
    assert not await journal.create_stream(TENANT, KEY, STRICT)
    assert journal.profiles == {}


async def test_it_breaks_on_demand_before_anything_happens() -> None:
    journal = MemoryJournal()
    journal.fail_next(Unavailable("away"))
    with pytest.raises(Unavailable):
        await journal.create_stream(TENANT, KEY, STRICT)
    assert await journal.create_stream(TENANT, KEY, STRICT)
