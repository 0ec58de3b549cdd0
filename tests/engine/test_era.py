"""Eras: where other versions take over, and that it is the same place however often the journal is read."""

import asyncio
import random
from array import array
from dataclasses import replace
from uuid import UUID

import pytest

from cbad_cy.codec import Codec
from driftlock.engine.era import Change, Era, Eras, changes, versions
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.fold import StreamFold
from driftlock.engine.folding import Clocks, Folder
from driftlock.engine.kinds import Kinds
from driftlock.engine.limits import DispatchLimits, Limits
from driftlock.engine.ports import Checkpoint, JournalRow, RowKind, StreamBatch, Submission
from driftlock.engine.profile import DEFAULT_CODEC, PROFILES, custom
from driftlock.engine.records import Damaged, decode_era, encode, encode_clock, encode_era
from driftlock.engine.state import pack, unpack
from driftlock.engine.testing import MemoryJournal, memory_stream_id
from driftlock.engine.verdict import StreamEventKind
from driftlock.errors import Internal
from driftlock.v1 import state_pb2
from tests.engine.dispatching import TENANT, applier
from tests.engine.streams import BASE_NS, FAR_NS, SECOND_NS, batches
from tests.engine.test_detector import with_burst
from tests.engine.test_dispatch import results

LINES, OTHER, NUMBERS, TRACES = (
    StreamKey(Signal.LOGS, "checkout"),
    StreamKey(Signal.LOGS, "cart"),
    StreamKey(Signal.METRICS, "host"),
    StreamKey(Signal.TRACES, "_traces"),
)
ZSTD = Change("zstd", "1.5.4", "1.5.7")


def fold(key: StreamKey, codec: str = DEFAULT_CODEC) -> StreamFold:
    return Kinds(7, Limits()).fresh(key, custom(PROFILES["balanced"], {"codec": codec}))


def test_versions_name_all_that_judges() -> None:
    assert versions().keys() == {"algorithm", "statistical", "zstd", "lz4", "gzip", "numeric", "traces"}
    assert all(versions().values())


def test_changes_are_new_gone_and_other_versions() -> None:
    assert changes({"a": "1", "b": "1", "c": "1"}, {"b": "1", "c": "2", "d": "1"}) == (
        Change("a", "1", ""),
        Change("c", "1", "2"),
        Change("d", "", "1"),
    )


@pytest.mark.parametrize(
    ("name", "touched"),
    [
        ("algorithm", [LINES, NUMBERS, TRACES]),
        (DEFAULT_CODEC, [LINES]),
        ("numeric", [NUMBERS]),
        ("traces", [TRACES]),
        ("lz4", []),
    ],
)
def test_an_era_touches_what_was_learned_with_what_changed(name: str, touched: list[StreamKey]) -> None:
    era = Era(5, (Change(name, "1", "2"),))
    assert [key for key in (LINES, NUMBERS, TRACES) if era.touches(fold(key))] == touched


def test_a_stream_has_the_codec_of_its_profile() -> None:
    assert Era(5, (ZSTD,)).touches(fold(LINES, "zstd"))
    assert "zstd 1.5.4 -> 1.5.7" in Era(5, (ZSTD, Change("lz4", "1", "2"))).reason(fold(LINES, "zstd"))
    assert "lz4" not in Era(5, (ZSTD, Change("lz4", "1", "2"))).reason(fold(LINES, "zstd"))


def test_each_era_is_entered_once_and_by_those_who_have_a_past() -> None:
    known, learned = Eras([Era(9, (ZSTD,)), Era(5, (ZSTD,)), Era(7, (), "restored")]), fold(LINES, "zstd")
    assert known.passed(3, 20, learned) == []
    learned.fold(batches([b"a line"], 1)[0], FAR_NS, Codec("zstd"))
    assert [era.since_seq for era in known.passed(3, 20, learned)] == [5, 9]
    assert [era.since_seq for era in known.passed(5, 6, learned)] == [5]
    assert [era.since_seq for era in known.passed(3, 9, learned)] == [5]
    assert known.passed(10, 20, learned) == known.passed(3, 5, learned) == known.passed(6, 9, learned) == []
    assert (known.judged_until(learned), known.judged_until(fold(NUMBERS))) == (9, 0)


def test_an_era_record_is_read_back() -> None:
    era = Era(5, (ZSTD, Change("new", "", "1")), "its timeline changed")
    assert decode_era(encode_era(era)) == era
    assert decode_era(encode_era(Era(0))) == Era(0)
    with pytest.raises(Damaged, match="not an era"):
        decode_era(encode_clock(1))


# ---- the applier ---------------------------------------------------------------------------------------------------

BOUNDS = DispatchLimits(threads=2, inline_bytes=10**9, retry_delay_s=0.001, read_bytes_max=6000, checkpoint_bytes=9000)
SIZE = 100


async def send(journal: MemoryJournal, first: int, last: int) -> None:
    """Batches first..last-1 of two streams with something new in each, early and late."""
    lines = with_burst(2600, 3600)
    for batch in batches([*lines, *lines], SIZE)[first:last]:
        for key in (LINES, OTHER):
            await journal.submit(Submission(TENANT, Signal.LOGS, BASE_NS + 10**15, (StreamBatch(key, batch),)))


async def kill(journal: MemoryJournal, until: int, bounds: DispatchLimits = BOUNDS) -> None:
    """Let an applier come to a position, and end it there without its stop."""
    part = applier(journal, bounds)
    journal.on_commit = part.wake
    await part.__aenter__()
    async with asyncio.timeout(30):
        await part.scored(until)
    for task in part._tasks:
        task.cancel()
    await asyncio.gather(*part._tasks, return_exceptions=True)
    part._residents.close()
    journal.on_commit = lambda: None


async def before(journal: MemoryJournal, applied: int) -> None:
    """What an earlier version scored, and what it left."""
    await send(journal, 0, 36)
    await kill(journal, applied)


def told(journal: MemoryJournal, kind: StreamEventKind) -> list[tuple[object, str]]:
    return sorted((it.stream_id, it.event.reason) for it in journal.events.values() if it.event.kind is kind)


ALGORITHM = Change("algorithm", "1", "2")


async def upgraded(applied: int, cuts: list[int], bounds: DispatchLimits = BOUNDS) -> tuple[MemoryJournal, set[UUID]]:
    """A journal whose second half is judged by another version, killed at `cuts`; and the findings from before."""
    journal = MemoryJournal()
    await before(journal, applied)
    old = set(journal.findings)
    journal.begin_era(ALGORITHM)
    await send(journal, 36, 72)
    for cut in cuts:
        await kill(journal, max(cut, journal.applied_seq), bounds)
    await kill(journal, len(journal.rows), bounds)
    return journal, old


async def test_a_new_era_is_told_once_a_stream_and_everything_is_learned_anew() -> None:
    journal, old = await upgraded(72, [])
    assert {stream for stream, _ in told(journal, StreamEventKind.NEW_ERA)} == {
        memory_stream_id(TENANT, key) for key in (LINES, OTHER)
    }
    assert len(told(journal, StreamEventKind.NEW_ERA)) == 2
    assert all("algorithm 1 -> 2" in reason for _, reason in told(journal, StreamEventKind.NEW_ERA))
    assert old
    assert set(journal.findings) - old  # the burst of the second half
    assert {status.events for status in journal.statuses.values()} == {7200}
    [event] = [it.event for it in journal.events.values() if it.event.kind is StreamEventKind.NEW_ERA][:1]
    assert event.event == 3600


@pytest.mark.parametrize("seed", range(5))
async def test_wherever_it_is_cut_the_findings_are_the_same(seed: int) -> None:
    rng = random.Random(seed)
    calm, old = await upgraded(72, [])
    cuts = sorted(rng.sample(range(72, 146), 6))
    bounds = replace(BOUNDS, checkpoint_bytes=rng.choice([1, 9000, 10**9]), resident_streams_max=rng.choice([1, 1000]))
    cut, _ = await upgraded(72, cuts, bounds)
    assert results(cut) == results(calm)
    assert told(cut, StreamEventKind.NEW_ERA) == told(calm, StreamEventKind.NEW_ERA)
    assert old < set(cut.findings)


@pytest.mark.parametrize("applied", [40, 61])
async def test_what_waited_is_judged_by_the_new_version_and_nothing_is_found_twice(applied: int) -> None:
    calm, old = await upgraded(applied, [])
    cut, _ = await upgraded(applied, [applied, applied + 3, applied + 17, 100])
    assert results(cut) == results(calm)
    assert {status.events for status in cut.statuses.values()} == {7200}
    since = calm.eras[0].since_seq
    assert since >= applied
    # Whatever is new is about events after the boundary, and what was found before stays as it was.
    for finding_id in set(calm.findings) - old:
        assert calm.findings[finding_id].finding.first_event >= (since // 2) * SIZE
    assert old <= set(calm.findings)


async def test_rows_before_it_are_read_again_without_a_word() -> None:
    """No checkpoint of the version before: all its rows are folded again, to be counted."""
    journal = MemoryJournal()
    bounds = replace(BOUNDS, checkpoint_bytes=10**9)
    await send(journal, 0, 36)
    await kill(journal, 72, bounds)
    findings, incidents = dict(journal.findings), dict(journal.incidents)
    assert findings
    journal.stream_checkpoints.clear()
    journal.begin_era(ALGORITHM)
    await send(journal, 36, 37)
    await kill(journal, len(journal.rows), bounds)
    assert journal.findings == findings
    assert journal.incidents.keys() == incidents.keys()
    assert len(told(journal, StreamEventKind.NEW_ERA)) == 2
    assert {status.events for status in journal.statuses.values()} == {3700}


async def test_a_stream_that_slept_through_eras_enters_them_when_it_wakes() -> None:
    journal = MemoryJournal()
    await before(journal, 72)
    journal.begin_era(ALGORITHM)
    await kill(journal, len(journal.rows))
    journal.begin_era(Change("algorithm", "2", "3"))
    journal.begin_era(Change("lz4", "1", "2"))
    await kill(journal, len(journal.rows))
    assert told(journal, StreamEventKind.NEW_ERA) == []
    await send(journal, 36, 37)
    await kill(journal, len(journal.rows))
    reasons = [reason for _, reason in told(journal, StreamEventKind.NEW_ERA)]
    assert sorted(reason.split(": ")[1].split(";")[0] for reason in reasons) == 2 * ["algorithm 1 -> 2"] + 2 * [
        "algorithm 2 -> 3"
    ]


async def test_what_no_version_of_it_changed_goes_on() -> None:
    undisturbed, journal = MemoryJournal(), MemoryJournal()
    for each in (undisturbed, journal):
        await before(each, 72)
        if each is journal:
            each.begin_era(Change("lz4", "1", "2"))
            each.begin_era(database="restored")
        else:
            await each.append_clock(BASE_NS)
            await each.append_clock(BASE_NS)
        await send(each, 36, 72)
        await kill(each, len(each.rows))
    assert results(journal) == results(undisturbed)
    assert told(journal, StreamEventKind.NEW_ERA) == []


async def test_a_stream_that_begins_after_it_is_as_any_other() -> None:
    journal = MemoryJournal()
    journal.begin_era(ALGORITHM)
    await send(journal, 0, 1)
    await kill(journal, len(journal.rows))
    assert told(journal, StreamEventKind.NEW_ERA) == []
    assert {status.windows for status in journal.statuses.values()} == {0}


async def test_a_damaged_era_row_is_kept_and_the_list_of_eras_holds() -> None:
    journal, faults = MemoryJournal(), list[str]()
    await before(journal, 72)
    journal.begin_era(ALGORITHM)
    journal.rows[-1] = replace(journal.rows[-1], body=b"")
    await send(journal, 36, 37)
    part = applier(journal, BOUNDS, on_fault=faults.append)
    async with part:
        await part.scored(len(journal.rows))
    assert [(row.seq, row.kind, row.tenant_id) for row in journal.quarantined.values()] == [(73, RowKind.ERA, None)]
    assert len(told(journal, StreamEventKind.NEW_ERA)) == 2
    assert len(faults) == 1


async def test_an_era_that_nobody_knows_of_stops_the_applier() -> None:
    journal = MemoryJournal()
    await before(journal, 72)
    journal.begin_era(ALGORITHM)
    journal.eras.clear()
    part = applier(journal, BOUNDS)
    with pytest.raises(Internal, match="not in the list of eras"):
        async with part:
            await part.failed()


@pytest.mark.parametrize("cuts", [[], [80], [75, 90, 120]], ids=str)
async def test_states_of_a_codec_that_is_gone_give_what_comparable_ones_give(cuts: list[int]) -> None:
    """After the boundary nothing depends on where the version before left its states, nor on what they hold."""
    change, found = Change(DEFAULT_CODEC, "0", "1"), []
    for gone in (False, True):
        journal = MemoryJournal()
        await before(journal, 60)
        if gone:
            for stream_id, saved in journal.stream_checkpoints.items():
                state = unpack(state_pb2.StreamState(), saved.state)
                state.codec_version = "0"
                journal.stream_checkpoints[stream_id] = Checkpoint(saved.seq, pack(state))
        old = set(journal.findings)
        since = journal.begin_era(change).since_seq
        await send(journal, 36, 72)
        for cut in [since + 1, *cuts] if gone else []:
            await kill(journal, max(cut, journal.applied_seq))
        await kill(journal, len(journal.rows))
        found.append((results(journal), told(journal, StreamEventKind.NEW_ERA), old))
        assert len(journal.findings) > len(old) > 0
    assert found[0] == found[1]


def lines_row(seq: int, first: int, last: int) -> JournalRow:
    body = encode(batches(with_burst(2600, 6000), 1000)[first:last][0])
    return JournalRow(seq, RowKind.RECORDS, FAR_NS, body, TENANT, UUID(int=2), LINES)


def test_a_row_that_was_judged_before_is_counted_and_nothing_is_said_of_it() -> None:
    rows = [lines_row(seq, seq - 1, seq) for seq in range(1, 7)]
    said = []
    for known in (Eras(), Eras([Era(6, (ALGORITHM,))])):
        folder = Folder(7, Limits(), pytest.fail, eras=known)
        resident = folder.load(rows[0], None, 0)
        emitted = folder.fold(resident, rows)
        said.append([(len(it.findings), len(it.flags), len(it.events)) for it in emitted.values()])
        assert [it.progress.watermark_ns > 0 for it in emitted.values()] == [True] * 6
        assert resident.fold.events == 6000
    loud, quiet = said
    assert sum(it[0] for it in loud) > 0 < sum(it[2] for it in loud)
    assert quiet == [(0, 0, 0)] * 6


def test_silence_is_told_to_the_first_clock_of_the_era() -> None:
    """The version before may have told it to one that came earlier."""
    rows = []
    for number in range(200):  # every ten seconds
        at_ns = BASE_NS + number * 10 * SECOND_NS
        times = array("Q", (at_ns - (3 - third) * 3 * SECOND_NS for third in range(3)))
        body = encode(RecordBatch(b"ping " * 3, array("I", [5, 5, 5]), times))
        rows.append(JournalRow(number + 1, RowKind.RECORDS, at_ns + SECOND_NS, body, TENANT, UUID(int=2), LINES))
    late_ns = at_ns + 10**13
    clocks = Clocks((201, 202, 203), (late_ns, late_ns + SECOND_NS, late_ns + 2 * SECOND_NS))
    told = []
    for known in (Eras(), Eras([Era(201, (ALGORITHM,))])):
        folder = Folder(7, Limits(), pytest.fail, eras=known)
        emitted = folder.fold(folder.load(rows[0], None, 0), rows, clocks)
        told.append([seq for seq, it in emitted.items() if it.findings])
    assert told == [[201], [202]]
