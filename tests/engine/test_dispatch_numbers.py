"""Metrics streams in the applier: series leave memory, are read back, and are forgotten, and none of it changes a finding."""

import math
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from driftlock.engine.dispatch import Dispatcher
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.limits import MINUTE_NS, SECOND_NS, DispatchLimits, Limits
from driftlock.engine.ports import StreamBatch, Submission
from driftlock.engine.testing import MemoryJournal, memory_stream_id
from driftlock.engine.verdict import Question
from tests.engine.dispatching import TENANT, applier

BASE_NS = 1_700_000_000 * SECOND_NS
KEY = StreamKey(Signal.METRICS, "shop")
SERIES, MINUTES, JUMP = 6, 420, 400
NAMES = tuple(f"load{{core={number}}}" for number in range(SERIES))


@asynccontextmanager
async def dispatcher(journal: MemoryJournal, limits: Limits) -> AsyncIterator[Dispatcher]:
    running = applier(journal, DispatchLimits(threads=2, inline_bytes=0, checkpoint_bytes=1, read_bytes_max=1), limits=limits)
    async with running:
        await running.scored(len(journal.rows))
        yield running


def value(series: int, minute: int) -> float:
    jump = 60.0 if series == 3 and minute >= JUMP else 0.0
    return 40 + series + 2 * math.sin(12.9898 * (minute * SERIES + series)) + jump


async def filled(minutes: int = MINUTES) -> MemoryJournal:
    """A point a minute of each series, those of odd numbers in requests of their own."""
    journal = MemoryJournal()
    for minute in range(minutes):
        for parity in (0, 1):
            numbers = range(parity, SERIES, 2)
            text = "".join(NAMES[number] for number in numbers)
            batch = RecordBatch(
                text.encode(),
                array("I", (len(NAMES[number]) for number in numbers)),
                array("Q", [BASE_NS + minute * MINUTE_NS] * len(numbers)),
                series=NAMES,
                series_index=array("I", (number + 1 for number in numbers)),
                values=array("d", (value(number, minute) for number in numbers)),
            )
            received_ns = BASE_NS + minute * MINUTE_NS + SECOND_NS
            await journal.submit(Submission(TENANT, Signal.METRICS, received_ns, (StreamBatch(KEY, batch),)))
    return journal


def found(journal: MemoryJournal) -> dict[UUID, bytes]:
    return {known: row.finding.canonical() for known, row in journal.findings.items()}


async def test_series_out_of_memory_are_judged_as_those_in_it() -> None:
    whole, small = await filled(), await filled()
    async with dispatcher(whole, Limits()):
        pass
    async with dispatcher(small, Limits(series_resident_max=2)):
        pass
    [jump, *_] = [row.finding for row in whole.findings.values() if row.finding.question is Question.VALUE]
    assert jump.series[0].series == NAMES[3]
    assert found(small) == found(whole)


@pytest.mark.parametrize("cut", [1, 401 * 2])
async def test_a_restart_goes_on_where_the_series_stood(cut: int) -> None:
    whole, pieces = await filled(), await filled()
    async with dispatcher(whole, Limits()):
        pass
    rows, pieces.rows = pieces.rows, []
    for part in (rows[:cut], rows[cut:]):
        pieces.rows.extend(part)
        async with dispatcher(pieces, Limits(series_resident_max=3)):
            pass
    assert found(whole)
    assert found(pieces) == found(whole)


async def test_series_beyond_the_limit_are_forgotten_in_the_database_too() -> None:
    journal = await filled(40)
    async with dispatcher(journal, Limits(series_max=4)):
        pass
    [status] = journal.statuses.values()
    assert status.events == 40 * SERIES
    stream_id = memory_stream_id(TENANT, KEY)
    assert 0 < len([known for known in journal.series_checkpoints if known[0] == stream_id]) <= 4 + SERIES
