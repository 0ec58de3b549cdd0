"""What stays in memory: streams by their weight, of which one of traces has more the more traces are open."""

import os
from array import array
from uuid import UUID

import pytest

from driftlock.engine.event import RecordBatch, Signal, StreamKey, trace_stream_key
from driftlock.engine.folding import Resident
from driftlock.engine.kinds import Kinds
from driftlock.engine.limits import SECOND_NS, DispatchLimits, Limits
from driftlock.engine.numbers.detector import NumberDetector
from driftlock.engine.ports import StreamBatch, Submission
from driftlock.engine.profile import DEFAULT_PROFILE, PROFILES
from driftlock.engine.residents import SERIES_BYTES, STREAM_BYTES, TRACE_TABLES_BYTES, weight
from driftlock.engine.testing import MemoryJournal
from driftlock.engine.traces.detector import TraceDetector
from tests.engine.dispatching import TENANT, applier
from tests.engine.streams import BASE_NS

PROFILE = PROFILES[DEFAULT_PROFILE]
FRESH = 1 + TRACE_TABLES_BYTES // STREAM_BYTES


def open_traces(count: int) -> RecordBatch:
    """So many traces of a span each, whose roots are still to come."""
    return RecordBatch(
        lengths=array("I", bytes(4 * count)),
        times_ns=array("Q", [BASE_NS] * count),
        trace_ids=os.urandom(16 * count),
        span_ids=os.urandom(8 * count),
        parent_ids=b"\1" * (8 * count),
        durations_ns=array("Q", [1000] * count),
        span_marks=b"\2" * count,
        series=("a\x1fx\x1f2",),
        series_index=array("I", [1] * count),
    )


def resident(key: StreamKey) -> Resident:
    return Resident(TENANT, UUID(int=1), Kinds(1, Limits()).fresh(key, PROFILE), 0, saved_ns=0)


@pytest.mark.parametrize("signal", [Signal.LOGS, Signal.TRACES, Signal.METRICS])
def test_an_ordinary_stream_weighs_one(signal: Signal) -> None:
    assert weight(resident(StreamKey(signal, "shop"))) == 1


def test_a_stream_of_traces_weighs_what_its_tables_and_open_traces_take() -> None:
    it = resident(trace_stream_key("prod"))
    assert weight(it) == FRESH == 4
    assert isinstance(it.fold, TraceDetector)
    it.fold.fold(open_traces(10_000), BASE_NS, Kinds(1, Limits()).codec(PROFILE))
    assert it.fold.traces.bytes > 2 * STREAM_BYTES
    assert weight(it) == 1 + (TRACE_TABLES_BYTES + it.fold.traces.bytes) // STREAM_BYTES > FRESH + 1


async def send(journal: MemoryJournal, key: StreamKey, count: int = 1) -> None:
    await journal.submit(Submission(TENANT, Signal.TRACES, BASE_NS, (StreamBatch(key, open_traces(count)),)))


@pytest.mark.parametrize(("room", "stay"), [(2 * FRESH - 1, 1), (2 * FRESH, 2), (4 * FRESH, 4), (10 * FRESH, 6)])
async def test_streams_leave_memory_by_their_weight(room: int, stay: int) -> None:
    journal = MemoryJournal()
    for number in range(6):
        await send(journal, trace_stream_key(f"e{number}"))
    bounds = DispatchLimits(threads=2, read_bytes_max=1, resident_streams_max=room)
    async with applier(journal, bounds) as running:
        await running.scored(len(journal.rows))
        assert running.resident_streams == stay
    assert len(journal.stream_checkpoints) == 6


async def test_what_is_sent_to_now_stays_however_heavy_and_leaves_for_what_comes_next() -> None:
    journal = MemoryJournal()
    await send(journal, trace_stream_key("large"), 5000)
    bounds = DispatchLimits(threads=2, read_bytes_max=1, resident_streams_max=2, clock_period_ns=SECOND_NS // 100)
    async with applier(journal, bounds) as running:
        for _ in range(3):
            await running.scored(len(journal.rows))
            assert running.resident_streams == 1
            assert journal.stream_checkpoints == {}
            await send(journal, trace_stream_key("large"))
        await send(journal, StreamKey(Signal.TRACES, "small"))
        await running.scored(len(journal.rows))
        assert len(journal.stream_checkpoints) == 1
        assert running.resident_streams == 1


def test_a_metrics_stream_weighs_what_its_series_take() -> None:
    it = resident(StreamKey(Signal.METRICS, "shop"))
    assert isinstance(it.fold, NumberDetector)
    count = 3 * STREAM_BYTES // SERIES_BYTES
    batch = RecordBatch(
        lengths=array("I", bytes(4 * count)),
        times_ns=array("Q", [BASE_NS] * count),
        series=tuple(f"s{number}" for number in range(count)),
        series_index=array("I", range(1, count + 1)),
        values=array("d", [1.0] * count),
    )
    it.fold.fold(batch, BASE_NS, Kinds(1, Limits()).codec(PROFILE))
    assert weight(it) == 1 + SERIES_BYTES * len(it.fold.memory.table) // STREAM_BYTES > 2
