"""Lessons as messages: in control records, in checkpoints, and beside the feedback that they come of."""

from collections.abc import Iterable
from uuid import UUID

from driftlock.engine.lessons import Lesson, LessonChange, Lessons, Verdict
from driftlock.engine.taught import Content, TaughtCall, TaughtLine, TaughtSeries
from driftlock.engine.verdict import Question
from driftlock.v1 import records_pb2


def change_message(change: LessonChange) -> records_pb2.LessonChange:
    """What a control record says."""
    return records_pb2.LessonChange(
        finding_id=change.finding_id.bytes,
        lesson=None if change.lesson is None else lesson_message(change.lesson),
        forgotten=[it.bytes for it in change.forgotten],
    )


def change_from(message: records_pb2.LessonChange) -> LessonChange:
    """The change that `change_message` was given. Raises ValueError for what can be none."""
    return LessonChange(
        UUID(bytes=message.finding_id),
        lesson_from(message.lesson) if message.HasField("lesson") else None,
        tuple(UUID(bytes=it) for it in message.forgotten),
    )


def lessons_state(lessons: Iterable[Lesson]) -> bytes:
    """All lessons of a stream; no bytes for none, and equal bytes for equal ones."""
    return records_pb2.Lessons(lesson=map(lesson_message, lessons)).SerializeToString(deterministic=True)


def lessons_from(state: bytes) -> Lessons:
    """The lessons of `lessons_state`. Raises ValueError for bytes that are damaged."""
    message = records_pb2.Lessons()
    _parse(message, state)
    return Lessons(map(lesson_from, message.lesson))


def _parse(message: records_pb2.Lesson | records_pb2.Lessons, stored: bytes) -> None:
    try:
        message.ParseFromString(stored)
    except Exception as error:  # protobuf raises a type of its own for damaged bytes
        raise ValueError("lessons can not be parsed") from error


def lesson_bytes(lesson: Lesson) -> bytes:
    """One lesson; equal bytes for equal ones."""
    return lesson_message(lesson).SerializeToString(deterministic=True)


def lesson_read(stored: bytes) -> Lesson:
    """The lesson of `lesson_bytes`. Raises ValueError for bytes that are damaged."""
    message = records_pb2.Lesson()
    _parse(message, stored)
    return lesson_from(message)


def lesson_message(lesson: Lesson) -> records_pb2.Lesson:
    """One lesson, every value of it."""
    content = lesson.content
    return records_pb2.Lesson(
        finding_id=lesson.finding_id.bytes,
        verdict=lesson.verdict,
        question=lesson.question,
        until_ns=lesson.until_ns,
        subject=lesson.subject,
        line=[
            records_pb2.LessonLine(text=it.text, span=[place for span in it.spans for place in span], known=it.known)
            for it in content.lines
        ],
        missing=content.missing,
        series=[
            records_pb2.LessonSeries(
                series=it.series, instance=it.instance, value=it.value, expected=it.expected, low=it.low, high=it.high
            )
            for it in content.series
        ],
        call=[
            records_pb2.LessonCall(
                caller=it.caller,
                callee=it.callee,
                operation=it.operation,
                measure=it.measure,
                value=it.value,
                usual=it.usual,
                bits=it.bits,
            )
            for it in content.calls
        ],
        node=content.nodes,
        pause_ns=content.pause_ns,
    )


def lesson_from(message: records_pb2.Lesson) -> Lesson:
    """The lesson that `lesson_message` was given. Raises ValueError for what can be none."""
    content = Content(
        lines=tuple(TaughtLine(it.text, tuple(zip(it.span[::2], it.span[1::2], strict=True)), it.known) for it in message.line),
        missing=tuple(message.missing),
        series=tuple(TaughtSeries(it.series, it.instance, it.value, it.expected, it.low, it.high) for it in message.series),
        calls=tuple(
            TaughtCall(it.caller, it.callee, it.operation, it.measure, it.value, it.usual, it.bits) for it in message.call
        ),
        nodes=tuple(message.node),
        pause_ns=message.pause_ns,
    )
    return Lesson(
        UUID(bytes=message.finding_id),
        Verdict(message.verdict),
        Question(message.question),
        content,
        message.until_ns,
        message.subject,
    )
