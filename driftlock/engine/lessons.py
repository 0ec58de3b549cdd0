"""What people teach a stream: the parts of a finding that are no reason for an alarm, and which findings that silences.

Nothing that is measured changes: a fold judges as before, and then a finding all of whose own parts were taught is *silenced*,
which means stored and shown on request, and no reason to tell anybody. What counts as a part is in `driftlock.engine.taught`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from driftlock.engine.masks import compiled
from driftlock.engine.taught import Content, Part, content_of, learned, own
from driftlock.engine.verdict import Finding, Question

LESSONS_MAX = 200
"""Most lessons of one stream."""

LESSON_BYTES_MAX = 32 * 1024
"""Most text of one lesson, bytes of UTF-8."""

LESSONS_BYTES_MAX = 256 * 1024
"""Most text of all lessons of one stream: they are part of every checkpoint of it."""

LESSON_DAYS_MAX = 400
"""Longest time for which a lesson with an end holds, from when it is taught."""


class Verdict(StrEnum):
    """What a person says of a finding."""

    CONFIRMED = "confirmed"  # it was worth telling
    FALSE_POSITIVE = "false_positive"  # it was not, and nothing of the kind will be
    EXPECTED = "expected"  # it was as it should be: a release, a test, maintenance


TEACHING = frozenset({Verdict.FALSE_POSITIVE, Verdict.EXPECTED})
"""Verdicts from which a stream learns."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one finding taught. It is known by that finding's id.

    It holds for findings of the same `question` about the same `subject`, which end before `until_ns` (event time, 0 = for
    good). `content` are the finding's own parts as they came, so that other masks of the stream can be applied to them.
    """

    finding_id: UUID
    verdict: Verdict
    question: Question
    content: Content
    until_ns: int = 0
    subject: str = ""

    @property
    def size_bytes(self) -> int:
        """The bytes of its texts."""
        return self.content.size_bytes + len(self.subject.encode())

    def holds(self, time_ns: int) -> bool:
        """Whether it has not expired at an event time."""
        return not self.until_ns or time_ns < self.until_ns


@dataclass(frozen=True, slots=True)
class LessonChange:
    """One control record: the lesson of a finding, or None where what it taught is withdrawn.

    `forgotten` are findings whose lessons make room for it. Who writes the record chooses them, so that a fold need not.
    """

    finding_id: UUID
    lesson: Lesson | None = None
    forgotten: tuple[UUID, ...] = ()


def lesson_of(finding_id: UUID, finding: Finding, masks: Sequence[str], verdict: Verdict, until_ns: int = 0) -> Lesson | None:
    """What `finding` teaches its stream, which has these masks.

    None where it has no part by which it could be known again, or `verdict` teaches nothing.
    """
    content = content_of(finding, compiled(masks))
    if verdict not in TEACHING or content == Content():
        return None
    return Lesson(finding_id, verdict, finding.question, content, until_ns, _subject(finding))


class Lessons:
    """The lessons of one stream, in the order in which they were taught."""

    def __init__(self, lessons: Iterable[Lesson] = ()) -> None:
        self._lessons = {lesson.finding_id: lesson for lesson in lessons}
        self._read: tuple[tuple[str, ...], dict[UUID, frozenset[Part]]] = ((), {})

    def __len__(self) -> int:
        """How many there are, expired ones among them."""
        return len(self._lessons)

    def __iter__(self) -> Iterator[Lesson]:
        return iter(self._lessons.values())

    def take(self, change: LessonChange) -> None:
        """Take a control record; it holds for the findings of the rows after it."""
        for finding_id in (change.finding_id, *change.forgotten):
            self._lessons.pop(finding_id, None)
            self._read[1].pop(finding_id, None)
        if change.lesson is not None:
            self._lessons[change.finding_id] = change.lesson

    def changed(self, change: LessonChange) -> "Lessons":
        """Those that there are after a change; these stay as they are."""
        after = Lessons(self)
        after.take(change)
        return after

    def about(self, finding: Finding, time_ns: int) -> list[Lesson]:
        """The lessons in force at an event time that may speak of a finding."""
        subject = _subject(finding)
        return [it for it in self if it.question is finding.question and it.subject == subject and it.holds(time_ns)]

    def parts(self, lesson: Lesson, masks: Sequence[str]) -> frozenset[Part]:
        """What a lesson teaches a stream that has these masks. It is worked out once."""
        if self._read[0] != tuple(masks):
            self._read = (tuple(masks), {})
        if lesson.finding_id not in self._read[1]:
            self._read[1][lesson.finding_id] = frozenset(learned(lesson.content, lesson.question, compiled(masks)))
        return self._read[1][lesson.finding_id]

    def postponed(self, due_ns: int) -> int:
        """When a silence of the whole stream is worth telling that would be at the wall-clock time `due_ns` (0 = never).

        As much later as the silence was long that was called a false alarm, and not before the end of an expected one. A
        stream that never comes back is told of all the same, unless that is expected for good.
        """
        of_stream = [it for it in self if it.content.pause_ns and it.question is Question.SILENCE]
        if not due_ns or not of_stream:
            return due_ns
        if any(it.verdict is Verdict.EXPECTED and not it.until_ns for it in of_stream):
            return 0
        holding = [it for it in of_stream if it.holds(due_ns)]
        later = max((due_ns + it.content.pause_ns for it in holding), default=due_ns)
        return max(later, *(it.until_ns for it in holding)) if holding else due_ns


def silenced_by(finding: Finding, lessons: Lessons, masks: Sequence[str]) -> UUID | None:
    """The finding whose lesson silences this one, of several that of its first part; None: it is to be told.

    Every part of the finding has to be taught by a lesson that holds at its end, and its parts have to be all that there is to
    tell: where the window without the named lines is not normal, something else is odd in it. `masks` are those of the stream.
    """
    about = lessons.about(finding, finding.end_ns)
    if not about:
        return None
    first: UUID | None = None
    for part in own(finding, compiled(masks)):
        found = next((it.finding_id for it in about if _covers(lessons.parts(it, masks), part)), None)
        if found is None:
            return None
        first = first or found
    return first


@dataclass(frozen=True, slots=True)
class Effect:
    """What other lessons would have made of findings: those that they silence, and silenced ones that they bring back."""

    silences: tuple[UUID, ...]
    brings_back: tuple[UUID, ...]


def effect(findings: Iterable[tuple[UUID, Finding]], before: Lessons, after: Lessons, masks: Sequence[str]) -> Effect:
    """How findings would differ if `after` had been taught instead of `before` all the time; in the order of `findings`."""
    silences, brings_back = [], []
    for finding_id, finding in findings:
        was, would = (silenced_by(finding, it, masks) is not None for it in (before, after))
        if would and not was:
            silences.append(finding_id)
        elif was and not would:
            brings_back.append(finding_id)
    return Effect(tuple(silences), tuple(brings_back))


def _covers(taught: frozenset[Part], part: Part) -> bool:
    return part in taught or any(it.key == part.key and it.low <= part.low and part.high <= it.high for it in taught)


def _subject(finding: Finding) -> str:
    """Whom a lesson is restricted to: of an odd instance that one. An interaction is over, and never comes again."""
    return finding.subject if finding.question is Question.INSTANCE else ""
