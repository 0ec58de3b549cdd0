"""Room for one more lesson: who writes a control record decides what a stream forgets for it, so that its fold need not."""

from uuid import UUID

from driftlock.engine.lessons import LESSON_BYTES_MAX, LESSONS_BYTES_MAX, LESSONS_MAX, Lesson, LessonChange, Lessons
from driftlock.errors import Conflict


def plan(lesson: Lesson | None, finding_id: UUID, known: Lessons, time_ns: int) -> LessonChange:
    """The change that teaches `lesson` (None: takes back what the finding taught) to a stream that has come to an event time.

    Where there is no room, lessons that have expired by then are forgotten, those that did so first before the others; where
    that is not enough it raises `Conflict`.
    """
    if lesson is None:
        return LessonChange(finding_id)
    if lesson.size_bytes > LESSON_BYTES_MAX:
        raise Conflict(
            f"this anomaly has {lesson.size_bytes} bytes to learn, at most {LESSON_BYTES_MAX} can be (lesson_bytes_max); "
            "say confirmed, or raise the thresholds of the stream instead"
        )
    others = [it for it in known if it.finding_id != finding_id]
    expired = sorted((it for it in others if not it.holds(time_ns)), key=lambda it: (it.until_ns, it.finding_id))
    count, size = len(others) + 1, sum(it.size_bytes for it in others) + lesson.size_bytes
    forgotten = []
    while count > LESSONS_MAX or size > LESSONS_BYTES_MAX:
        if not expired:
            raise Conflict(
                f"this stream has learned as much as it can: {len(others)} lessons of at most {LESSONS_MAX} (lessons_max), in "
                f"{size - lesson.size_bytes} of at most {LESSONS_BYTES_MAX} bytes (lessons_bytes_max), and none has expired; "
                "withdraw feedback that you do not need any more"
            )
        gone = expired.pop(0)
        forgotten.append(gone.finding_id)
        count, size = count - 1, size - gone.size_bytes
    return LessonChange(finding_id, lesson, tuple(forgotten))
