"""A tenant whose streams lie in several shards: the same incidents as in one, told once, however the shards take turns."""

import random
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.engine.correlation.derived import derived_from
from driftlock.engine.correlation.flag import Flag, Progress
from driftlock.engine.correlation.tenants import Tenants
from driftlock.engine.folding import NO_CLOCKS, Emitted
from driftlock.engine.limits import MINUTE_NS, DispatchLimits, Limits
from driftlock.engine.losses import Losses
from driftlock.engine.ports import Checkpoint, JournalRow, RowKind
from driftlock.engine.testing import MemoryJournal
from driftlock.engine.verdict import IncidentState
from tests.engine.correlation.shards import Shards
from tests.engine.correlation.shop import LOGS, MAIL, METRICS, PAY, SPANS, START_NS, TENANT, TEXTS, flag
from tests.engine.correlation.test_across import BLAMES, LINES
from tests.engine.correlation.test_pooling import PODS, summary
from tests.engine.correlation.test_pooling import quiet as usual
from tests.engine.streams import SECOND_NS

CLOSED, OPEN = IncidentState.CLOSED, IncidentState.OPEN
STREAMS = LOGS, PAY, MAIL, METRICS, SPANS
FIRST_MINUTE = START_NS // MINUTE_NS
SERVICES = LOGS, PAY, MAIL
ALONE = dict.fromkeys(STREAMS, 0)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.one_of(BLAMES, LINES), max_size=30, unique_by=lambda it: it.finding_id),
    st.lists(st.integers(0, 3), min_size=len(STREAMS), max_size=len(STREAMS)),
    st.integers(0, 10**6),
    st.booleans(),
)
async def test_incidents_do_not_depend_on_the_shards(flags: list[Flag], homes: list[int], seed: int, kills: bool) -> None:
    flags = sorted(flags, key=lambda it: (it.window, it.end_ns, it.finding_id))
    chance = random.Random(seed)

    async def run(shards: Shards, steps: int) -> object:
        for stream in STREAMS:
            await shards.moves(stream, 0)
        await shards.settle()
        queue = {stream: list(range(0, 3600, 3600 // steps)) for stream in STREAMS}
        while any(queue.values()):
            stream = chance.choice([stream for stream in STREAMS if queue[stream]])
            begin = START_NS + queue[stream].pop(0) * SECOND_NS
            end = begin + 3600 // steps * SECOND_NS
            part = [it for it in flags if it.stream_id == stream and begin < it.end_ns <= end]
            await shards.moves(stream, (end - START_NS) // SECOND_NS, *part)
        for seconds in (3 * 3600, 3 * 3600 + 1):
            for stream in STREAMS:
                await shards.moves(stream, seconds)
        await shards.settle()
        assert all(row.incident.state is CLOSED for row in shards.rows.values())
        assert shards.joined.keys() == {it.finding_id for it in flags}
        return shards.results

    whole = await run(Shards(ALONE), 1)
    assert await run(Shards(dict(zip(STREAMS, homes, strict=True)), chance, kills=kills), 12) == whole


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.tuples(st.sampled_from(SERVICES), st.integers(1, 15), st.booleans()), max_size=20),
    st.lists(st.integers(0, 2), min_size=len(SERVICES), max_size=len(SERVICES)),
    st.integers(0, 10**6),
    st.booleans(),
)
async def test_silences_are_told_once_wherever_the_streams_are(
    spoken: list[tuple[UUID, int, bool]], homes: list[int], seed: int, kills: bool
) -> None:
    """Streams say something in some minutes, are silent three minutes later, and hear what time it is every minute.

    Silences are told as they come, so of several in one story the one that begins it depends on who asks first: here each
    stream is of a service of its own.
    """

    async def run(shards: Shards) -> object:
        for minute in range(20):
            for stream in SERVICES:
                odd = [odd for who, when, odd in spoken if (who, when) == (stream, minute)]
                if odd or not minute:
                    found = [flag(stream, 60 * minute)] if any(odd) else []
                    await shards.moves(stream, 60 * minute, *found, due_s=60 * minute + 180)
            await shards.clock(60 * minute + 59)
        return shards.results

    whole = await run(Shards(ALONE))
    assert await run(Shards(dict(zip(SERVICES, homes, strict=True)), random.Random(seed), kills=kills)) == whole


@pytest.mark.parametrize("kills", [False, True])
async def test_the_incident_of_a_silence_elsewhere_stays_open_until_the_stream_is_back(kills: bool) -> None:
    shards = Shards({LOGS: 0, PAY: 1}, random.Random(1), kills=kills)
    await shards.moves(LOGS, 0)
    await shards.moves(PAY, 0, due_s=180)
    for minute in range(60):
        await shards.moves(LOGS, 60 * minute)
        await shards.clock(60 * minute + 59)
    [row] = shards.rows.values()
    assert (row.incident.state, row.incident.stream_ids, row.incident.findings) == (OPEN, (PAY,), 1)
    assert shards.findings == list(row.joined) == list(shards.joined)
    for minute in range(60, 90):
        await shards.moves(LOGS, 60 * minute)
        await shards.moves(PAY, 60 * minute, due_s=60 * minute + 180)
        await shards.clock(60 * minute + 59)
    assert [row.incident.state for row in shards.rows.values()] == [CLOSED]


async def test_the_home_asks_nothing_of_streams_of_other_shards() -> None:
    shards = Shards({LOGS: 0, PAY: 1})
    await shards.moves(LOGS, 0)
    await shards.moves(PAY, 0, due_s=180)
    home, other = (it.tenants for it in shards.shards)
    far_ns = START_NS + 10**15
    assert (home.waiting_at(far_ns), home.before_silence(far_ns), home.closing(far_ns)) == (False, far_ns, [])
    assert other.waiting_at(far_ns)
    assert other.before_silence(far_ns) == START_NS + 180 * SECOND_NS - 1


async def test_who_tells_a_stream_the_time_is_its_own_shard() -> None:
    shards = Shards({LOGS: 0, SPANS: 1})
    progress = Progress(START_NS, 1, START_NS, stream=TEXTS[SPANS], closes_ns=START_NS + 1)
    shards.shards[1].says(SPANS, progress, (), ())
    await shards.settle()
    assert [it.tenants.closing(START_NS + 1) for it in shards.shards] == [[], [(TENANT, SPANS)]]
    await shards.shards[1].step(0, save=True)
    await shards.shards[1].kill()
    assert shards.shards[1].tenants.closing(START_NS + 1) == [(TENANT, SPANS)]


async def test_a_derived_row_that_can_not_be_read_is_passed_and_put_into_quarantine() -> None:
    shards, faults, losses = Shards({LOGS: 0, PAY: 1}), list[str](), Losses()
    await shards.moves(PAY, 0)
    [row] = shards.shards[0].journal.rows
    tenants = Tenants(MemoryJournal(), limits=Limits(), bounds=DispatchLimits(), on_fault=faults.append, losses=losses)
    await tenants.load([TENANT], START_NS)
    for body in (b"", row.body[:-1]):
        assert tenants.correlate([replace(row, body=body)], NO_CLOCKS, {}).incidents == ()
        ((lost,), ()) = losses.take(0)
        assert (lost.seq, lost.kind, lost.tenant_id) == (row.seq, RowKind.DERIVED, TENANT)
    assert [f"derived row {row.seq} of tenant {TENANT} is skipped" in fault for fault in faults] == [True, True]


@pytest.mark.parametrize(("now_ns", "everything", "due"), [(0, False, False), (0, True, True), (31 * SECOND_NS, False, True)])
async def test_progress_elsewhere_is_saved_now_and_then(now_ns: int, everything: bool, due: bool) -> None:
    shards = Shards({LOGS: 0, PAY: 1})
    await shards.moves(PAY, 0)
    tenants = shards.shards[0].tenants
    assert set(tenants.save([], 1, START_NS + now_ns, everything=everything)) == ({TENANT} if due else set())
    assert (tenants.save([], 1, START_NS + now_ns, everything=True) == {}) is due


async def test_a_relay_that_lost_its_state_watches_from_the_next_records_on() -> None:
    states, faults = MemoryJournal(), list[str]()
    states.homes[TENANT] = MemoryJournal()
    states.tenant_checkpoints[TENANT] = Checkpoint(1, b"")
    tenants = Tenants(states, limits=Limits(), bounds=DispatchLimits(), on_fault=faults.append)
    await tenants.load([TENANT], START_NS)
    assert [f"what this shard knows of tenant {TENANT} is lost" in fault for fault in faults] == [True]
    row = JournalRow(2, RowKind.RECORDS, START_NS, b"", TENANT, PAY)
    entry = Emitted(PAY, Progress(START_NS, 1, START_NS, due_ns=START_NS + 1, stream=TEXTS[PAY]), (), ())
    [body] = tenants.correlate([row], NO_CLOCKS, {(2, PAY): entry}).derived.values()
    assert [it.stream_id for it in derived_from(body)] == [PAY]
    assert tenants.waiting_at(START_NS + 1)


async def test_what_series_say_is_added_up_over_shards() -> None:
    async def run(shards: Shards) -> object:
        chance = random.Random(5)
        for stream in (LOGS, METRICS):
            await shards.moves(stream, 0)
        await shards.settle()
        for minute in range(203):
            for stream in (LOGS, METRICS):
                said = [usual(chance) if minute < 200 or pod != "pod-3" else 12.5 for pod in PODS]
                told = (summary(FIRST_MINUTE + minute, pod, digits) for pod, digits in zip(PODS, said, strict=True))
                summaries = tuple(replace(it, window=minute) for it in told)
                await shards.moves(stream, 60 * (minute + 1), summaries=summaries)
        await shards.settle()
        assert shards.findings
        assert shards.rows
        return shards.results

    assert await run(Shards({LOGS: 0, METRICS: 1}, random.Random(2), kills=True)) == await run(Shards(ALONE))
