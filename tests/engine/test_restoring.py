"""States that say what no state says: whoever signs evidence may write anything into it, and a disk may, too."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
import zstandard
from google.protobuf.message import Message

from driftlock.engine.anchor import AnchorChange, Freeze
from driftlock.engine.event import RecordBatch, StreamKey
from driftlock.engine.folding import NO_CLOCKS, Folder
from driftlock.engine.kinds import Kinds
from driftlock.engine.lessons import Lesson, LessonChange, Verdict
from driftlock.engine.limits import Limits
from driftlock.engine.numbers.detector import NumberDetector
from driftlock.engine.ports import JournalRow, RowKind
from driftlock.engine.profile import PROFILES, custom
from driftlock.engine.records import Damaged, encode, encode_anchor, encode_config, encode_lesson
from driftlock.engine.taught import Content, TaughtLine
from driftlock.engine.verdict import Question
from driftlock.errors import Internal
from driftlock.v1 import numbers_pb2, state_pb2, traces_pb2
from tests.engine.damage import damaged
from tests.engine.numbers import rows as numbers
from tests.engine.streams import FAR_NS, KEY, batch
from tests.engine.test_detector_interactions import LINES
from tests.engine.traces import rows as traces

CASES = 300


def of_lines() -> tuple[StreamKey, Message]:
    """With all that such a stream can have: an anchor, interactions, a lesson, instances, an alarm."""
    kinds, folder = Kinds(7, Limits()), Folder(7, Limits(), pytest.fail)
    profile = custom(PROFILES["balanced"], {"group_by": "text:req-", "permutations_max": 19})
    held = batch(LINES[:3000], instances=6)
    lesson = Lesson(UUID(int=6), Verdict.EXPECTED, Question.NOVELTY, Content(lines=(TaughtLine("x", ((0, 1),)),)))
    bodies = [
        (RowKind.CONFIG, encode_config(profile)),
        (RowKind.RECORDS, encode(held)),
        (RowKind.ANCHOR, encode_anchor(AnchorChange(freeze=Freeze()))),
        (RowKind.LESSON, encode_lesson(LessonChange(lesson.finding_id, lesson))),
        (RowKind.RECORDS, encode(batch(LINES[3000:], 3000, instances=6))),
    ]
    rows = [JournalRow(at, kind, FAR_NS, body, UUID(int=1), UUID(int=2), KEY) for at, (kind, body) in enumerate(bodies, 1)]
    resident = folder.load(rows[0], None, 0)
    folder.fold(resident, rows, NO_CLOCKS)
    return KEY, message_of(state_pb2.StreamState, kinds, resident.fold)


def of_numbers() -> tuple[StreamKey, Message]:
    fold = numbers.new_detector()
    points = numbers.in_time(*(numbers.steady(f"m{k}", range(60 if k else 40), instance=f"pod-{k}") for k in range(3)))
    numbers.live(fold, points)
    return numbers.KEY, message_of(numbers_pb2.NumberState, Kinds(7, Limits()), fold)


def of_traces() -> tuple[StreamKey, Message]:
    fold = traces.new_detector()
    for first in range(0, 300, 100):
        fold.fold(traces.batch_of(traces.shop(range(first, first + 100))), traces.second(first / 10 + 12), traces.CODEC)
    return traces.KEY, message_of(traces_pb2.TraceState, Kinds(7, Limits()), fold)


def message_of(message: Any, kinds: Kinds, fold: Any) -> Message:
    """What is stored of a fold, unpacked."""
    body = kinds.saved(fold, 1).checkpoint.state
    made: Message = message.FromString(zstandard.ZstdDecompressor().decompress(body))
    return made


def packed(raw: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(raw)


def more_lines() -> list[tuple[RecordBatch, int]]:
    return [(batch(LINES[:200], 6000, instances=6), FAR_NS)]


def more_points() -> list[tuple[RecordBatch, int]]:
    points = numbers.in_time(*(numbers.steady(f"m{k}", range(60, 90), instance=f"pod-{k}") for k in range(4)))
    return [(numbers.batch_of(points), numbers.minute(100))]


def more_spans() -> list[tuple[RecordBatch, int]]:
    firsts = range(300, 600, 100)
    return [(traces.batch_of(traces.shop(range(at, at + 100))), traces.second(at / 10 + 12)) for at in firsts]


STATES = {"lines": (of_lines, more_lines), "numbers": (of_numbers, more_points), "traces": (of_traces, more_spans)}


@pytest.mark.parametrize("kind", STATES)
def test_a_state_of_nonsense_is_damaged_or_one_that_can_go_on(kind: str) -> None:
    """Restoring raises what says so, and nothing else; what it lets pass takes records, and can be stored."""
    make, more = STATES[kind]
    key, message = make()
    kinds, parts, refused = Kinds(7, Limits()), more(), 0
    for seed in range(CASES):
        try:
            fold = kinds.restored(packed(damaged(message, seed)), key)
        except Internal:
            refused += 1
            continue
        for held, received_ns in parts:
            if isinstance(fold, NumberDetector) and fold.absent(held):
                fold.admit({})
            fold.fold(held, received_ns, kinds.codec(fold.profile))
        fold.take_events()
        kinds.saved(fold, 1)
    assert 0 < refused < CASES


def beyond_counts(state: state_pb2.StreamState) -> None:
    state.windows = 2**64 - 1


def beyond_time(state: state_pb2.StreamState) -> None:
    state.watermark_ns = 2**62 + 1


def before_its_beginning(state: state_pb2.StreamState) -> None:
    state.origin = state.events + 1


@pytest.mark.parametrize("wrong", [beyond_counts, beyond_time, before_its_beginning])
def test_numbers_that_no_stream_comes_to_are_damage(wrong: Callable[[Any], None]) -> None:
    """The fold would fail of them, records later."""
    key, message = of_lines()
    kinds = Kinds(7, Limits())
    kinds.restored(packed(message.SerializeToString()), key)
    wrong(message)
    with pytest.raises(Damaged, match="does not fit together"):
        kinds.restored(packed(message.SerializeToString()), key)


def test_events_of_no_kind_are_damage() -> None:
    key, message = of_numbers()
    assert isinstance(message, numbers_pb2.NumberState)
    message.happened.add(kind="nonsense")
    with pytest.raises(Damaged, match="does not fit together"):
        Kinds(7, Limits()).restored(packed(message.SerializeToString()), key)


def test_more_late_spans_than_came_are_damage() -> None:
    key, message = of_traces()
    assert isinstance(message, traces_pb2.TraceState)
    message.traffic[-1] = 1
    with pytest.raises(Damaged, match="more spans were late"):
        Kinds(7, Limits()).restored(packed(message.SerializeToString()), key)
