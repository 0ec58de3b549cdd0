"""Checkpoints of metrics streams."""

import pytest
import zstandard

from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.limits import Limits
from driftlock.engine.numbers.state import number_state, restore_numbers
from driftlock.engine.profile import PROFILES
from driftlock.engine.records import Damaged
from driftlock.engine.verdict import Calibration, StreamEventKind
from driftlock.errors import Internal
from driftlock.v1 import numbers_pb2
from tests.engine.numbers.rows import (
    CODEC,
    KEY,
    Interrupted,
    batch_of,
    in_time,
    live,
    minute,
    new_detector,
    steady,
)

POINTS = in_time(*(steady(f"m{k}", range(320 if k else 200), instance=f"pod-{k}") for k in range(3)))


def restored(body: bytes) -> object:
    return restore_numbers(body, KEY, 7, Limits())


def changed(body: bytes, **changes: object) -> bytes:
    message = numbers_pb2.NumberState.FromString(zstandard.ZstdDecompressor().stream_reader(body).read())
    for name, value in changes.items():
        if value is None:
            message.ClearField(name)
        else:
            setattr(message, name, value)
    return zstandard.ZstdCompressor().compress(message.SerializeToString(deterministic=True))


def test_equal_folds_give_equal_bytes_and_continue_with_equal_bytes() -> None:
    one, other = new_detector(), new_detector()
    live(one, POINTS)
    live(other, POINTS)
    assert one.unsaved() == other.unsaved()
    assert number_state(one) == number_state(other) == number_state(restored(number_state(one)))


def test_all_that_is_known_of_a_stream_comes_back() -> None:
    fold = Interrupted(new_detector())
    live(fold.detector, POINTS)
    before = fold.detector
    before.configure(PROFILES["strict"])
    fold.restart()
    after = fold.detector
    assert after is not before
    assert (after.events, after.windows, after.health) == (before.events, before.windows, before.health)
    assert (after.profile, after.events_until_ready, after.due_ns) == (before.profile, before.events_until_ready, before.due_ns)
    assert vars(after.clock) == vars(before.clock)
    assert after.take_events() == before.take_events() != ()
    assert after.take_summaries() == before.take_summaries() != ()
    assert len(after.memory.points) == 0


def test_the_state_of_idle_series_is_small() -> None:
    detector = new_detector()
    detector.fold(batch_of(in_time(*(steady(f"metric.name{{route=/a/{k}}}", range(3)) for k in range(1000)))), minute(3), CODEC)
    assert len(number_state(detector)) < 40 * 1000


@pytest.mark.parametrize("body", [b"", b"garbage", zstandard.ZstdCompressor().compress(b"\xff" * 20)])
def test_bytes_that_can_not_be_read_are_damaged(body: bytes) -> None:
    with pytest.raises(Damaged):
        restored(body)


def test_the_state_of_another_stream_is_refused() -> None:
    with pytest.raises(Damaged, match="belongs to"):
        restore_numbers(number_state(new_detector()), StreamKey(Signal.METRICS, "cart"), 7, Limits())


def test_a_newer_schema_is_refused() -> None:
    with pytest.raises(Internal, match="upgrade"):
        restored(changed(number_state(new_detector()), schema=2))


@pytest.mark.parametrize("name", ["instance", "pause_bits", "presence", "pooled"])
def test_parts_that_do_not_fit_together_are_damaged(name: str) -> None:
    detector = new_detector()
    live(detector, in_time(POINTS, steady("later", range(400, 410))))
    with pytest.raises(Damaged, match="does not fit together"):
        restored(changed(number_state(detector), **{name: None}))


def test_what_another_version_learned_is_learned_anew() -> None:
    detector = new_detector()
    live(detector, POINTS)
    detector.take_events()
    after = restored(changed(number_state(detector), codec_version="0"))
    assert (after.events, after.windows) == (detector.events, detector.windows)
    assert set(after.forgotten()) == set(detector.memory.directory.entries)
    assert after.health[0] is Calibration.CALIBRATING
    live(after, steady("m1", range(320, 322), instance="pod-1"))
    [event] = after.take_events()
    assert event.kind is StreamEventKind.RESTARTED
    assert (event.event, event.window) == (detector.events, 320)
