"""A stream that was taught says the same as before, and keeps quiet about exactly what it was taught."""

from dataclasses import replace

import pytest

from driftlock.engine.correlation.correlator import Correlator
from driftlock.engine.era import Change
from driftlock.engine.event import StreamKey
from driftlock.engine.folding import Folder
from driftlock.engine.lessons import LessonChange, Lessons, Verdict, effect
from driftlock.engine.ports import FindingRow, RowKind
from driftlock.engine.profile import custom
from driftlock.engine.records import encode_lesson
from driftlock.engine.testing import memory_stream_id
from tests.engine.lessons import (
    BANK,
    DENIED,
    LIMITS,
    PROFILE,
    REFUSED,
    SHOP,
    TENANT,
    journal_of,
    lines,
    novel,
    taught_by,
    told,
)


async def first_of(odd: tuple[bytes, ...] = REFUSED, key: StreamKey = SHOP) -> FindingRow:
    """The first finding about new lines in a stream in which they come once."""
    return novel(await told(await journal_of(lines([odd], [700]), key=key)))[0]


async def test_a_taught_line_is_silent_and_nothing_else_changes() -> None:
    events = lines([REFUSED], [700])
    before = await told(await journal_of(events))
    lesson = taught_by(novel(before)[0])
    after = await told(await journal_of(events, taught=[lesson]))
    assert [(row.finding_id, row.finding.canonical()) for row in after] == [
        (row.finding_id, row.finding.canonical()) for row in before
    ]
    assert {row.silenced_by for row in before} == {None}
    assert novel(after)
    assert {row.silenced_by for row in novel(after)} == {lesson.finding_id}


async def test_another_new_line_alarms_also_beside_a_taught_one() -> None:
    lesson = taught_by(await first_of())
    found = novel(await told(await journal_of(lines([DENIED], [700]), taught=[lesson])))
    assert {row.silenced_by for row in found} == {None}
    both = novel(await told(await journal_of(lines([(*REFUSED, *DENIED)], [700]), taught=[lesson])))
    with_denied = [row for row in both if any("denied" in line.text for line in row.finding.lines)]
    assert with_denied
    assert {row.silenced_by for row in with_denied} == {None}


async def test_another_token_in_the_place_of_a_taught_one_alarms() -> None:
    lesson = taught_by(await first_of())
    other = tuple(line.replace(b"card", b"voucher") for line in REFUSED)
    found = novel(await told(await journal_of(lines([other], [700]), taught=[lesson])))
    assert found
    assert {row.silenced_by for row in found} == {None}


async def test_the_same_line_in_another_stream_alarms() -> None:
    lesson = taught_by(await first_of())
    journal = await journal_of(lines([REFUSED], [700]), taught=[lesson])
    assert await journal.create_stream(TENANT, BANK, PROFILE)
    other = novel(await told(await journal_of(lines([REFUSED], [700]), key=BANK)))
    assert other
    assert {row.silenced_by for row in other} == {None}
    assert {row.silenced_by for row in novel(await told(journal))} == {lesson.finding_id}


async def test_a_lesson_holds_from_its_row_on() -> None:
    events = lines([REFUSED], [700])
    found = novel(await told(await journal_of(events)))
    late = await told(await journal_of(events, taught=[taught_by(found[0])], after=900))
    assert {row.silenced_by for row in late} == {None}


async def test_a_lesson_ends_by_event_time() -> None:
    events = lines([REFUSED], [700])
    first, *others = novel(await told(await journal_of(events)))
    assert others
    assert others[-1].finding.end_ns > first.finding.end_ns
    lesson = taught_by(first, Verdict.EXPECTED, others[-1].finding.end_ns)
    *early, last = novel(await told(await journal_of(events, taught=[lesson])))
    assert {row.silenced_by for row in early} == {lesson.finding_id}
    assert last.silenced_by is None


async def test_what_is_withdrawn_is_told_again() -> None:
    events = lines([REFUSED], [700])
    lesson = taught_by(novel(await told(await journal_of(events)))[0])
    journal = await journal_of(events[:600], taught=[lesson])
    body = encode_lesson(LessonChange(lesson.finding_id))
    await journal.append_control(TENANT, memory_stream_id(TENANT, SHOP), RowKind.LESSON, body)
    rest = await journal_of(events, after=600)
    journal.rows += [replace(row, seq=len(journal.rows) + 1 + n) for n, row in enumerate(rest.rows[7:])]
    found = novel(await told(journal))
    assert found
    assert {row.silenced_by for row in found} == {None}


@pytest.mark.parametrize("odd", [(REFUSED, DENIED), (REFUSED, tuple(reversed(REFUSED)))], ids=["others", "again"])
async def test_a_preview_says_what_a_replay_then_does(odd: tuple[tuple[bytes, ...], ...]) -> None:
    events = lines(odd, [700, 850])
    before = await told(await journal_of(events))
    for row in novel(before)[:3]:
        lesson = taught_by(row)
        said = effect(((it.finding_id, it.finding) for it in before), Lessons(), Lessons([lesson]), PROFILE.masks)
        after = await told(await journal_of(events, taught=[lesson]))
        assert set(said.silences) == {it.finding_id for it in after if it.silenced_by is not None}
        assert row.finding_id in said.silences
        assert said.brings_back == ()
        back = effect(((it.finding_id, it.finding) for it in after), Lessons([lesson]), Lessons(), PROFILE.masks)
        assert (back.silences, set(back.brings_back)) == ((), set(said.silences))


@pytest.mark.parametrize(("size", "restarts"), [(1000, False), (7, False), (26, True)])
async def test_cuts_and_restarts_change_no_byte(size: int, *, restarts: bool) -> None:
    events = lines([REFUSED, DENIED], [700, 850])
    lesson = taught_by(novel(await told(await journal_of(events)))[0])
    reference = await told(await journal_of(events, taught=[lesson]))
    found = await told(await journal_of(events, size, taught=[lesson]), restarts=restarts)
    by_id = {row.finding_id: (row.finding.canonical(), row.silenced_by) for row in found}
    assert by_id == {row.finding_id: (row.finding.canonical(), row.silenced_by) for row in reference}
    assert None in {row.silenced_by for row in found}
    assert lesson.finding_id in {row.silenced_by for row in found}


async def test_lessons_outlive_an_era_and_other_masks() -> None:
    events = lines([REFUSED], [700])
    lesson = taught_by(novel(await told(await journal_of(events)))[0])
    journal = await journal_of(events[:100], taught=[lesson])
    journal.applied_seq = len(journal.rows)
    journal.begin_era(Change("zstd", "1", "2"))
    folder = Folder(3, LIMITS, pytest.fail)
    resident = folder.load(journal.rows[0], None, 0)
    folder.fold(resident, journal.rows)
    assert [it.finding_id for it in folder._kinds.anew(resident.fold).lessons] == [lesson.finding_id]
    masked = custom(PROFILE, {"masks": ["card {digits:1-}{within}"]})
    resident.fold.configure(masked)
    restored = folder._kinds.restored(folder.save(resident, 0).checkpoint.state, SHOP)
    assert list(restored.lessons) == [lesson]
    [form] = {part.key[1] for part in restored.lessons.parts(lesson, masked.masks) if part.key[0] == "line"}
    assert form == "payment gateway refused <M>"


async def test_the_tenant_hears_nothing_of_a_silenced_finding() -> None:
    events = lines([REFUSED], [700])
    lesson = taught_by(novel(await told(await journal_of(events)))[0])
    for taught in ([], [lesson]):
        journal = await journal_of(events, taught=taught)
        folder = Folder(3, LIMITS, pytest.fail)
        fold = Correlator(TENANT, LIMITS)
        incidents = []
        emitted = folder.fold(folder.load(journal.rows[0], None, 0), journal.rows)
        for it in emitted.values():
            incidents += fold.derived(it.stream_id, it.progress, it.flags)
        assert sum(len(it.flags) for it in emitted.values()) == sum(
            row.silenced_by is None for it in emitted.values() for row in it.findings
        )
        assert bool(incidents) is not bool(taught)
