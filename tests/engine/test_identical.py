"""The promise of determinism at once: a thousand streams, every codec, any threads, any batches, restarts everywhere."""

import random
from dataclasses import replace
from functools import cache
from uuid import UUID

import pytest

from cbad_cy.codec import CODECS
from driftlock.engine.dispatch import Dispatcher
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.folding import Folder
from driftlock.engine.limits import DispatchLimits, Limits
from driftlock.engine.ports import StreamBatch, Submission
from driftlock.engine.profile import PROFILES, Profile, custom
from driftlock.engine.testing import MemoryJournal
from driftlock.engine.verdict import IncidentState
from tests.engine.streams import BASE_NS, batches, iid, take

STREAMS = 1000
EVENTS = 185
TENANT = UUID(int=5)
# Small windows and blocks, so that short streams have findings: the promise does not depend on sizes. And whom a tenant is
# told of depends on who came first once its budget is spent, so here it never is.
LIMITS = Limits(
    block_windows=1, lag_windows=1, reference_windows_max=40, normal_windows_max=6, tenant_alerts_per_day_max=100 * STREAMS
)


@cache
def lines_of(number: int) -> tuple[bytes, ...]:
    """A stream of its own kinds, with a few lines at a random place that it has never seen."""
    rng = random.Random(number)
    lines = take(iid(number % 37, 4 + number % 9), EVENTS)
    at = rng.randrange(160, EVENTS - 12)
    for offset in range(rng.randrange(4, 8)):
        lines[at + offset] = b"PANIC %d: %x" % (rng.randrange(99), rng.getrandbits(400))
    return tuple(lines)


def profile_of(number: int) -> Profile:
    window = 5 + number % 2
    geometry = {"baseline_size": 20 + number % 7, "window_size": window, "hop_size": window if number % 5 else 3}
    codec = {"codec": list(CODECS)[number % len(CODECS)]}
    return custom(
        PROFILES["sensitive"], {**geometry, **codec, "permutations_max": 19, "p_value_threshold": 0.5, "ncd_threshold": 0.1}
    )


async def journal_of(size: int, streams: int = STREAMS) -> MemoryJournal:
    """The first streams, `size` events a row, the rows of all streams interleaved."""
    journal = MemoryJournal()
    keys = [StreamKey(Signal.LOGS, f"service-{number}") for number in range(streams)]
    for number, key in enumerate(keys):
        assert await journal.create_stream(TENANT, key, profile_of(number))
    parts = [batches(lines_of(number), size) for number in range(streams)]
    for row in zip(*parts, strict=True):
        for key, batch in zip(keys, row, strict=True):
            await journal.submit(Submission(TENANT, Signal.LOGS, BASE_NS + 10**15, (StreamBatch(key, batch),)))
    return journal


async def folded(size: int, threads: int, streams: int = STREAMS) -> MemoryJournal:
    journal = await journal_of(size, streams)
    running = Dispatcher(
        reader=journal,
        states=journal,
        committer=journal,
        clock_journal=journal,
        recovery_seq=0,
        applied_seq=0,
        tenant_ids=[TENANT],
        now_ns=lambda: BASE_NS,
        seed=3,
        limits=LIMITS,
        dispatch_limits=DispatchLimits(threads=threads, resident_streams_max=2 * STREAMS),
        on_step=lambda _: None,
        on_fault=pytest.fail,
    )
    async with running:
        await running.scored(len(journal.rows))
    return journal


Verdicts = tuple[dict[object, object], dict[object, object]]


def verdicts(journal: MemoryJournal) -> Verdicts:
    findings: dict[object, object] = {
        (row.stream_id, row.finding.window): (row.finding_id, row.finding.canonical()) for row in journal.findings.values()
    }
    # Whether the last incident of a stream is closed yet depends on which row came last, so states are left out.
    incidents: dict[object, object] = {
        key: replace(row.incident, state=IncidentState.OPEN) for key, row in journal.incidents.items()
    }
    return findings, incidents


_REFERENCE: list[Verdicts] = []


async def reference() -> Verdicts:
    if not _REFERENCE:
        _REFERENCE.append(verdicts(await folded(1000, 1)))
    return _REFERENCE[0]


@pytest.mark.parametrize(("size", "threads", "streams"), [(1000, 2, STREAMS), (7, 8, STREAMS), (1, 2, STREAMS // 5)])
async def test_threads_and_batches_change_no_byte(size: int, threads: int, streams: int) -> None:
    findings, incidents = await reference()
    assert len(findings) > STREAMS / 2
    some, others = verdicts(await folded(size, threads, streams))
    assert len(some) > streams / 2
    assert some.items() <= findings.items()
    assert others.items() <= incidents.items()
    if streams == STREAMS:
        assert (some, others) == (findings, incidents)


async def test_a_restart_at_every_row_changes_no_byte() -> None:
    findings, _ = await reference()
    journal = await journal_of(26)
    folder = Folder(3, LIMITS, pytest.fail)
    checkpoints, found = {}, {}
    for row in await journal.read(0, 2**40):
        assert row.stream_id is not None
        resident = folder.load(row, checkpoints.get(row.stream_id), 0)
        for emitted in folder.fold(resident, [row]).values():
            found |= {
                (kept.stream_id, kept.finding.window): (kept.finding_id, kept.finding.canonical()) for kept in emitted.findings
            }
        checkpoints[row.stream_id] = folder.save(resident, 0).checkpoint
    assert found == findings


def test_the_streams_are_made_of_every_codec() -> None:
    assert {profile_of(number).codec for number in range(STREAMS)} == set(CODECS)
