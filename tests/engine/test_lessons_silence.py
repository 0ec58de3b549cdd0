"""A stream that was taught that it may be silent is told later, or never; the clock asks it no more until then."""

from dataclasses import replace
from uuid import UUID

import pytest

from driftlock.engine.lessons import Lesson, LessonChange, Verdict, lesson_of
from driftlock.engine.ports import FindingRow, RowKind
from driftlock.engine.records import encode_lesson
from driftlock.engine.testing import MemoryJournal, memory_stream_id
from driftlock.engine.verdict import Question
from tests.engine.dispatching import TENANT
from tests.engine.test_dispatch_silence import ROWS, SLEEPER, dispatcher, spoken

STREAM = memory_stream_id(TENANT, SLEEPER)


async def told(journal: MemoryJournal) -> list[FindingRow]:
    async with dispatcher(journal, 10):
        pass
    return [row for row in journal.findings.values() if row.finding.question is Question.SILENCE]


async def taught(lesson: Lesson, at: int) -> MemoryJournal:
    """The same journal, with the lesson as the row `at`."""
    journal = await spoken()
    await journal.append_control(TENANT, STREAM, RowKind.LESSON, encode_lesson(LessonChange(lesson.finding_id, lesson)))
    rows = [*journal.rows[: at - 1], journal.rows[-1], *journal.rows[at - 1 : -1]]
    journal.rows[:] = [replace(row, seq=number) for number, row in enumerate(rows, 1)]
    return journal


@pytest.fixture
async def silence() -> FindingRow:
    [found] = await told(await spoken())
    return found


def lesson_from(row: FindingRow, verdict: Verdict, until_ns: int = 0) -> Lesson:
    found = lesson_of(UUID(int=1), row.finding, (), verdict, until_ns)
    assert found is not None
    return found


@pytest.mark.parametrize("late", [False, True], ids=["before the silence", "within it"])
async def test_a_silence_that_was_a_false_alarm_is_told_later(silence: FindingRow, *, late: bool) -> None:
    at = silence.seq - 1 if late else ROWS
    [again] = await told(await taught(lesson_from(silence, Verdict.FALSE_POSITIVE), at))
    assert (again.finding_id, again.silenced_by) == (silence.finding_id, None)
    length_s = (silence.finding.end_ns - silence.finding.start_ns) / 1e9
    assert again.seq > silence.seq + length_s / 10  # the other stream has a row every ten seconds


async def test_an_expected_silence_is_told_when_that_ends(silence: FindingRow) -> None:
    until_ns = silence.finding.end_ns + 900 * 10**9
    [again] = await told(await taught(lesson_from(silence, Verdict.EXPECTED, until_ns), ROWS))
    assert again.seq > silence.seq + 85
    assert await told(await taught(lesson_from(silence, Verdict.EXPECTED), ROWS)) == []


async def test_a_tenant_that_falls_back_behind_a_lesson_does_not_give_the_stream_up(silence: FindingRow) -> None:
    """The state of the tenant from before the lesson asks too early; the stream, which knows better, tells it when."""
    until_ns = silence.finding.end_ns + 900 * 10**9
    journal = await taught(lesson_from(silence, Verdict.EXPECTED, until_ns), silence.seq - 1)
    everything, before = list(journal.rows), silence.seq - 2
    journal.rows[:] = everything[:before]
    await told(journal)
    older = journal.tenant_checkpoints[TENANT]
    journal.rows[:] = everything[: before + 1]
    await told(journal)
    assert journal.stream_checkpoints[STREAM].seq == before + 1  # it has taken the lesson
    journal.tenant_checkpoints[TENANT] = replace(older, instead_of=before + 1)
    journal.rows[:] = everything
    [again] = await told(journal)
    assert again.finding_id == silence.finding_id
    assert again.seq > silence.seq + 85  # when what was expected has ended
