"""A stream with a few odd lines, and what its fold says of it under lessons; written for the tests of feedback."""

from collections.abc import Iterable, Sequence
from uuid import UUID

import pytest

from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.folding import Folder
from driftlock.engine.lessons import Lesson, LessonChange, Verdict, lesson_of
from driftlock.engine.limits import Limits
from driftlock.engine.ports import Checkpoint, FindingRow, JournalRow, RowKind, StreamBatch, Submission
from driftlock.engine.profile import PROFILES, custom
from driftlock.engine.records import encode_lesson
from driftlock.engine.testing import MemoryJournal, memory_stream_id
from driftlock.engine.verdict import Question
from tests.engine.streams import BASE_NS, batch, iid, take

TENANT = UUID(int=5)
SHOP, BANK = StreamKey(Signal.LOGS, "shop"), StreamKey(Signal.LOGS, "bank")
LIMITS = Limits(block_windows=1, lag_windows=1, reference_windows_max=40, normal_windows_max=6)
PROFILE = custom(PROFILES["sensitive"], {"baseline_size": 100, "window_size": 20, "hop_size": 10, "permutations_max": 19})
REFUSED = tuple(b"payment gateway refused card %d" % number for number in (3, 5, 7))
DENIED = tuple(b"kernel denied module signature %d" % number for number in (3, 5, 7))


def lines(odd: Iterable[Sequence[bytes]], at: Iterable[int], count: int = 1000, seed: int = 1) -> list[bytes]:
    """Usual lines, and others before those of these indices."""
    usual = take(iid(seed, 8), count)
    for place, strange in sorted(zip(at, odd, strict=True), reverse=True):
        usual[place:place] = strange
    return usual


async def journal_of(
    events: Sequence[bytes], size: int = 100, key: StreamKey = SHOP, taught: Sequence[Lesson] = (), after: int = 0
) -> MemoryJournal:
    """The events in rows of `size`; a stream is taught after so many of them."""
    journal = MemoryJournal()
    stream_id = memory_stream_id(TENANT, key)
    assert await journal.create_stream(TENANT, key, PROFILE)

    async def submit(some: Sequence[bytes], first: int) -> None:
        for start in range(0, len(some), size):
            part = StreamBatch(key, batch(some[start : start + size], first + start))
            await journal.submit(Submission(TENANT, Signal.LOGS, BASE_NS + 10**15, (part,)))

    await submit(events[:after], 0)
    for lesson in taught:
        body = encode_lesson(LessonChange(lesson.finding_id, lesson))
        await journal.append_control(TENANT, stream_id, RowKind.LESSON, body)
    await submit(events[after:], after)
    return journal


async def told(journal: MemoryJournal, *, restarts: bool = False) -> list[FindingRow]:
    """What the fold of the journal's one stream says, with a restart at every row if asked for."""
    folder, checkpoint, found = Folder(3, LIMITS, pytest.fail), None, list[FindingRow]()
    rows: Sequence[JournalRow] = await journal.read(0, 2**40)
    if not restarts:
        return [row for it in folder.fold(folder.load(rows[0], None, 0), rows).values() for row in it.findings]
    for row in rows:
        resident = folder.load(row, checkpoint, 0)
        found += [kept for it in folder.fold(resident, [row]).values() for kept in it.findings]
        saved: Checkpoint = folder.save(resident, 0).checkpoint
        checkpoint = saved
    return found


def novel(found: Iterable[FindingRow]) -> list[FindingRow]:
    return [row for row in found if row.finding.question is Question.NOVELTY]


def taught_by(row: FindingRow, verdict: Verdict = Verdict.FALSE_POSITIVE, until_ns: int = 0) -> Lesson:
    lesson = lesson_of(row.finding_id, row.finding, PROFILE.masks, verdict, until_ns)
    assert lesson is not None
    return lesson
