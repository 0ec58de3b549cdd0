"""Rows that tell a stream the time, and streams whose spans are journaled to be put together to traces."""

from array import array
from uuid import UUID, uuid4

import asyncpg
import pytest

from driftlock.engine.event import RecordBatch, Signal, StreamKey, trace_stream_key
from driftlock.engine.ports import Checkpoint, RowKind, Step, StreamBatch, Submission
from driftlock.engine.records import decode, decode_clock
from driftlock.errors import Unavailable
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.journal import Journal, JournalLimits
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.pool import Database
from driftlock.storage.recovery import recovery_position
from driftlock.storage.shard import Shard
from driftlock.storage.slugs import slug
from driftlock.storage.stream_ids import StreamIds
from driftlock.storage.tenants import Tenants
from tests.storage.helpers import NOW_NS, batch, open_journal

CART = StreamKey(Signal.TRACES, "cart", "", "prod")


def spans(count: int) -> RecordBatch:
    return RecordBatch(
        lengths=array("I", [0] * count),
        times_ns=array("Q", range(NOW_NS, NOW_NS + count)),
        trace_ids=bytes(range(16)) * count,
        span_ids=b"".join(number.to_bytes(8, "big") for number in range(1, count + 1)),
        parent_ids=bytes(8 * count),
        durations_ns=array("Q", [2**64 - 1] * count),
        span_marks=bytes([10] * count),
        series=("cart\x1fGET /\x1f2",),
        series_index=array("I", [1] * count),
    )


def request(tenant: UUID, lines: int, environment: str = "prod") -> Submission:
    content = StreamBatch(CART, batch(*["SERVER GET /"] * lines))
    return Submission(
        tenant, Signal.TRACES, NOW_NS, (content, StreamBatch(trace_stream_key(environment), spans(lines))), bytes(16)
    )


async def test_spans_of_traces_come_back_as_they_were(database: Database, journal: Journal, tenant: UUID) -> None:
    await journal.submit(request(tenant, 3))
    content, traces = await JournalRows(database).read(0, 1 << 20)
    assert (content.stream_key, traces.stream_key) == (CART, trace_stream_key("prod"))
    assert decode(traces.body) == spans(3)


async def test_a_span_is_metered_and_counted_once(journal: Journal, tenant: UUID, owner: asyncpg.Connection) -> None:
    receipt = await journal.submit(request(tenant, 3))
    assert (receipt.records, receipt.seq) == (3, 2)
    meter = await owner.fetch("select signal, records, bytes from driftlock.meter")
    assert [tuple(row) for row in meter] == [("traces", 3, 3 * len("SERVER GET /"))]


async def test_a_stream_is_told_the_time_by_a_row_of_its_own(database: Database, journal: Journal, tenant: UUID) -> None:
    receipt = await journal.submit(request(tenant, 1))
    traces = receipt.stream_ids[1]
    assert await journal.append_time(tenant, traces, NOW_NS + 7) == 3
    row = (await JournalRows(database).read(2, 1 << 20))[0]
    assert (row.kind, row.tenant_id, row.stream_id, row.stream_key) == (RowKind.TIME, tenant, traces, trace_stream_key("prod"))
    assert decode_clock(row.body) == NOW_NS + 7


async def test_a_stream_that_is_gone_or_anothers_is_told_nothing(database: Database, journal: Journal, tenant: UUID) -> None:
    traces = (await journal.submit(request(tenant, 1))).stream_ids[1]
    other = await Tenants(database).create("other")
    assert await journal.append_time(tenant, uuid4(), NOW_NS) is None
    assert await journal.append_time(other.tenant_id, traces, NOW_NS) is None
    assert await JournalRows(database).last_seq() == 2


async def test_a_full_journal_still_lets_time_pass(database: Database, tenant: UUID) -> None:
    async with await open_journal(database, JournalLimits(journal_bytes_max=1500)) as journal:
        traces = (await journal.submit(request(tenant, 1))).stream_ids[1]
        with pytest.raises(Unavailable):
            await journal.submit(Submission(tenant, Signal.TRACES, NOW_NS, (StreamBatch(CART, batch(*map(str, range(2000)))),)))
        assert await journal.append_time(tenant, traces, NOW_NS) == 3


async def test_an_owner_that_was_replaced_tells_no_time(database: Database, journal: Journal, tenant: UUID) -> None:
    traces = (await journal.submit(request(tenant, 1))).stream_ids[1]
    await Shard(database).acquire()
    with pytest.raises(Unavailable):
        await journal.append_time(tenant, traces, NOW_NS)


async def test_recovery_begins_before_a_time_that_a_fold_has_not_taken(
    database: Database, shard: Shard, journal: Journal, tenant: UUID
) -> None:
    content, traces = (await journal.submit(request(tenant, 1))).stream_ids
    await journal.append_time(tenant, traces, NOW_NS)
    states = Checkpoints(database, shard)
    saved = {(tenant, content): Checkpoint(2, b"c"), (tenant, traces): Checkpoint(2, b"t")}
    await states.commit(Step(0, 3, stream_checkpoints=saved, tenant_checkpoints={tenant: Checkpoint(2, b"t")}))
    assert await recovery_position(database, states) == 2
    await states.commit(Step(3, 3, stream_checkpoints={(tenant, traces): Checkpoint(3, b"t")}))
    assert await recovery_position(database, states) == 2  # the tenant's fold lacks what the stream found then
    await states.commit(Step(3, 3, tenant_checkpoints={tenant: Checkpoint(3, b"t")}))
    assert await recovery_position(database, states) == 3


async def test_beyond_the_cap_traces_share_a_stream_of_traces(database: Database, owner: asyncpg.Connection) -> None:
    tenant = (await Tenants(database).create("small", streams_max=1)).tenant_id
    keys = [trace_stream_key("a"), trace_stream_key("b"), trace_stream_key("c"), CART]
    first, second, third, content = await StreamIds(database, entries_max=9).resolve(tenant, keys)
    assert (first.overflow, second.overflow, third.overflow, content.overflow) == (False, True, True, True)
    assert second.stream_id == third.stream_id != content.stream_id
    rows = await owner.fetch("select slug, service from driftlock.streams where tenant_id = $1 order by slug", tenant)
    assert [tuple(row) for row in rows] == [
        ("_overflow-traces", "_overflow"),
        ("_traces", "_traces"),
        ("_traces.a", "_traces"),
    ]


def test_streams_of_traces_have_names_that_no_service_can_have() -> None:
    assert slug(trace_stream_key("")) == "_traces"
    assert slug(trace_stream_key("prod eu")) == "_traces.prod-eu"
    assert slug(StreamKey(Signal.TRACES, "traces")) == "traces-traces"
