"""What a finding of each kind teaches, what that covers and what it does not, and how much a stream can learn."""

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.engine import lesson_plan
from driftlock.engine.evidence import CallEvidence, Chart, SeriesEvidence
from driftlock.engine.lesson_plan import plan
from driftlock.engine.lesson_record import lesson_from, lesson_message, lessons_from, lessons_state
from driftlock.engine.lessons import (
    LESSON_BYTES_MAX,
    LESSONS_MAX,
    Lesson,
    LessonChange,
    Lessons,
    Verdict,
    lesson_of,
    silenced_by,
)
from driftlock.engine.limits import Limits
from driftlock.engine.records import Damaged, decode_lesson, encode_clock, encode_lesson
from driftlock.engine.taught import Content, TaughtCall, TaughtLine, TaughtSeries
from driftlock.engine.verdict import Finding, MissingLine, NovelLine, Question
from driftlock.errors import Conflict
from tests.storage.helpers import NOW_NS, finding

FIRST = UUID(int=1)


def line(text: str, *novel: str, nearest: str = "something else") -> NovelLine:
    spans = tuple((text.index(it), text.index(it) + len(it)) for it in novel)
    return NovelLine(event=1, time_ns=NOW_NS, text=text, spans=spans, cost_bytes=9, nearest=nearest)


def about(question: Question, **changes: object) -> Finding:
    changes = {"lines": (), "p_without": 1.0, **changes}
    return finding(1, question=question, **changes)


def series(value: float = 10.0, expected: float = 5.0, name: str = "cpu", instance: str = "a", **changes: object) -> Finding:
    it = SeriesEvidence(name, value, expected, 0.0, 6.0, 20.0, 0.9, "", NOW_NS, instance)
    return about(Question(changes.pop("question", Question.VALUE)), series=(replace(it, **changes),))  # type: ignore[arg-type]


def calls(value: float = 2.0, operation: str = "pay", bits: float = 20.0, measure: str = "duration") -> CallEvidence:
    return CallEvidence("web", "bank", operation, measure, 9, 5, value, 1.0, "s", bits)


def latency(*found: CallEvidence) -> Finding:
    return about(Question.LATENCY, calls=found)


def silences(taught: Finding, other: Finding, verdict: Verdict = Verdict.FALSE_POSITIVE, until_ns: int = 0) -> bool:
    lesson = lesson_of(FIRST, taught, (), verdict, until_ns)
    assert lesson is not None
    return silenced_by(other, Lessons([lesson]), ()) == FIRST


KNOWN = "took # ms"
SLOW = about(Question.NOVELTY, lines=(line("took 9000 ms", "9000", nearest=KNOWN),))
NEW = about(Question.NOVELTY, lines=(line("gateway down 12", "gateway", "down"),))
MORE = about(Question.MORE, lines=(line("retry 5"),))
GONE = about(Question.LESS, missing=(MissingLine("heartbeat #", 9.0, 0.0, 500),))
QUIET = about(Question.SILENCE, missing=(MissingLine("heartbeat #", 9.0, 0.0, 500),))
POD = about(Question.INSTANCE, subject="pod-1", lines=(line("cache cold 3", "cold"),))
ODD_TRACE = about(Question.INTERACTION, subject="a" * 32, lines=(line("rollback"),), missing=(MissingLine("commit", 1, 0, 3),))
TREE = about(Question.SHAPE, calls=(calls(0.5, measure="calls"),), subtree=("  web GET /", "+   bank pay x3"))
FLAT = series(question=Question.FLATLINE, value=0.0, chart=Chart((NOW_NS - 1, NOW_NS), (7.0, 0.0), (1, 1), (0, 0), (2, 2)))


@pytest.mark.parametrize(
    ("taught", "same"),
    [
        (NEW, about(Question.NOVELTY, lines=(line("gateway down 77", "gateway"),))),
        (NEW, about(Question.NOVELTY, lines=(line("gateway down 14", "14", nearest="gateway down #"),))),
        (NEW, about(Question.NOVELTY, lines=(line("gateway down 12", nearest="gateway down #"),))),
        (SLOW, about(Question.NOVELTY, lines=(line("took 9100 ms", "9100", nearest=KNOWN),))),
        (MORE, about(Question.MORE, lines=(line("retry 6"),))),
        (GONE, GONE),
        (QUIET, QUIET),
        (POD, replace(POD, window=7)),
        (ODD_TRACE, replace(ODD_TRACE, subject="b" * 32)),
        (series(10.0), series(11.0)),
        (series(10.0), series(6.0)),
        (series(1.0), series(0.5)),
        (FLAT, FLAT),
        (series(question=Question.MISSING), series(900.0, question=Question.MISSING)),
        (latency(calls(2.0)), latency(calls(2.9))),
        (latency(calls(2.0)), latency(calls(2.0), calls(9.0, "list", bits=5.0))),
        (TREE, replace(TREE, subtree=("+ bank pay x9",))),
        (about(Question.SILENCE), about(Question.SILENCE, start_ns=NOW_NS + 5)),
    ],
)
def test_the_same_again_is_silenced(taught: Finding, same: Finding) -> None:
    assert silences(taught, taught)
    assert silences(taught, same)


@pytest.mark.parametrize(
    ("taught", "other"),
    [
        (NEW, about(Question.NOVELTY, lines=(line("gateway up 12", "up"),))),
        (NEW, about(Question.NOVELTY, lines=(*NEW.lines, line("disk full", "disk")))),
        (NEW, about(Question.NOVELTY, lines=(line("gateway down 9000", "9000", nearest="gateway down #"),))),
        (NEW, about(Question.MORE, lines=NEW.lines)),
        (NEW, replace(NEW, p_without=0.01)),
        (NEW, replace(NEW, lines=NEW.lines * Limits().finding_lines_max)),
        (NEW, replace(NEW, lines=())),
        (SLOW, about(Question.NOVELTY, lines=(line("took 90000 ms", "90000", nearest=KNOWN),))),
        (MORE, about(Question.MORE, lines=(line("give up 6"),))),
        (GONE, about(Question.LESS, missing=(MissingLine("backup #", 9.0, 0.0, 500),))),
        (GONE, QUIET),
        (QUIET, about(Question.SILENCE)),
        (about(Question.SILENCE), QUIET),
        (POD, replace(POD, subject="pod-2")),
        (ODD_TRACE, replace(ODD_TRACE, missing=(MissingLine("audit", 1, 0, 3),))),
        (series(10.0), series(11.5)),
        (series(10.0), series(1.0)),
        (series(10.0), series(10.0, instance="b")),
        (series(10.0), series(10.0, name="memory")),
        (FLAT, series(question=Question.FLATLINE, value=3.0)),
        (latency(calls(2.0)), latency(calls(3.1))),
        (latency(calls(2.0)), latency(calls(2.0, "list"))),
        (latency(calls(2.0)), latency(calls(0.5))),
        (latency(calls(2.0)), latency(calls(2.0), calls(2.0, "list", bits=15.0))),
        (TREE, replace(TREE, subtree=("- bank pay",))),
        (TREE, replace(TREE, subtree=("+ bank pay", "+ fraud check"))),
    ],
)
def test_anything_else_alarms(taught: Finding, other: Finding) -> None:
    assert silences(taught, taught)
    assert not silences(taught, other)


def test_a_lesson_ends_and_only_some_verdicts_teach() -> None:
    end = NEW.end_ns
    assert silences(NEW, NEW, Verdict.EXPECTED, end + 1)
    assert not silences(NEW, NEW, Verdict.EXPECTED, end)
    assert lesson_of(FIRST, NEW, (), Verdict.CONFIRMED) is None
    assert lesson_of(FIRST, about(Question.ORDER), (), Verdict.FALSE_POSITIVE) is None
    assert lesson_of(FIRST, series(question=Question.TOGETHER), (), Verdict.FALSE_POSITIVE) is None


def test_parts_may_be_taught_by_different_findings() -> None:
    both = about(Question.NOVELTY, lines=(line("gateway down 12", "down"), line("disk full", "disk")))
    one, two = (
        lesson_of(UUID(int=n), about(Question.NOVELTY, lines=(it,)), (), Verdict.FALSE_POSITIVE)
        for n, it in enumerate(both.lines, 1)
    )
    assert one is not None
    assert two is not None
    assert silenced_by(both, Lessons([two, one]), ()) == FIRST
    assert silenced_by(both, Lessons([two]), ()) is None


def test_a_silence_is_told_later_and_not_never() -> None:
    quiet = about(Question.SILENCE)
    length, due = quiet.end_ns - quiet.start_ns, NOW_NS + 100

    def postponed(verdict: Verdict, until_ns: int) -> int:
        lesson = lesson_of(FIRST, quiet, (), verdict, until_ns)
        assert lesson is not None
        return Lessons([lesson]).postponed(due)

    assert postponed(Verdict.FALSE_POSITIVE, 0) == due + length
    assert postponed(Verdict.FALSE_POSITIVE, due) == due
    assert postponed(Verdict.EXPECTED, due + 10 * length) == due + 10 * length
    assert postponed(Verdict.EXPECTED, 0) == 0
    assert Lessons().postponed(due) == due
    assert Lessons().postponed(0) == 0


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
contents = st.builds(
    Content,
    lines=st.lists(st.builds(TaughtLine, texts, st.just(((0, 3), (4, 5))), st.booleans()), max_size=3).map(tuple),
    missing=st.lists(texts, max_size=3).map(tuple),
    series=st.lists(st.builds(TaughtSeries, texts, texts, numbers, numbers, numbers, numbers), max_size=2).map(tuple),
    calls=st.lists(st.builds(TaughtCall, texts, texts, texts, texts, numbers, numbers, numbers), max_size=2).map(tuple),
    nodes=st.lists(texts, max_size=3).map(tuple),
    pause_ns=st.integers(0, 2**63),
)
lessons = st.builds(
    Lesson, st.uuids(), st.sampled_from([*Verdict]), st.sampled_from([*Question]), contents, st.integers(0, 2**63), texts
)


@given(st.lists(lessons, max_size=3, unique_by=lambda it: it.finding_id), st.lists(st.uuids(), max_size=3))
def test_lessons_are_read_back_as_they_were(some: list[Lesson], forgotten: list[UUID]) -> None:
    assert list(lessons_from(lessons_state(some))) == some
    for lesson in some:
        change = LessonChange(lesson.finding_id, lesson, tuple(forgotten))
        assert decode_lesson(encode_lesson(change)) == change
    assert decode_lesson(encode_lesson(LessonChange(FIRST))) == LessonChange(FIRST)
    assert lessons_state([]) == b""


def test_damaged_lessons_are_refused() -> None:
    lesson = lesson_of(FIRST, NEW, (), Verdict.EXPECTED)
    assert lesson is not None
    message = lesson_message(lesson)
    message.question = "why"
    with pytest.raises(ValueError, match="why"):
        lesson_from(message)
    with pytest.raises(ValueError, match="parsed"):
        lessons_from(b"\xff\xff")
    with pytest.raises(Damaged, match="not a lesson"):
        decode_lesson(encode_clock(1))


def taught(number: int, until_ns: int = 0, text: str = "a new line") -> Lesson:
    found = lesson_of(UUID(int=number), about(Question.NOVELTY, lines=(line(text),)), (), Verdict.EXPECTED, until_ns)
    assert found is not None
    return found


def test_what_has_expired_makes_room_the_first_to_do_so_first() -> None:
    full = Lessons(taught(n, until_ns=1000 - n if n <= 3 else 0) for n in range(1, LESSONS_MAX + 1))
    fresh = taught(999)
    change = plan(fresh, fresh.finding_id, full, 998)
    assert change.forgotten == (UUID(int=3),)
    after = full.changed(change)
    assert (len(after), len(full)) == (LESSONS_MAX, LESSONS_MAX)
    assert [*after][-1] == fresh
    with pytest.raises(Conflict, match=r"lessons_max.*withdraw"):
        plan(fresh, fresh.finding_id, full, 990)
    again = replace(fresh, finding_id=UUID(int=7))
    assert plan(again, again.finding_id, full, 0) == LessonChange(again.finding_id, again)  # in its own place
    assert plan(None, UUID(int=7), full, 0) == LessonChange(UUID(int=7))


def test_bytes_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Conflict, match="lesson_bytes_max"):
        plan(taught(1, text="x" * (LESSON_BYTES_MAX + 1)), UUID(int=1), Lessons(), 0)
    monkeypatch.setattr(lesson_plan, "LESSONS_BYTES_MAX", 25)
    with pytest.raises(Conflict, match="lessons_bytes_max"):
        plan(taught(3), UUID(int=3), Lessons([taught(1), taught(2)]), 0)
    assert plan(taught(3), UUID(int=3), Lessons([taught(1, until_ns=5), taught(2)]), 9).forgotten == (UUID(int=1),)


def test_the_order_of_teaching_is_kept() -> None:
    known = Lessons([taught(1), taught(2)])
    known.take(LessonChange(UUID(int=1), taught(1, until_ns=9)))
    assert [it.finding_id.int for it in known] == [2, 1]
