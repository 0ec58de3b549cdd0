"""Checkpoints of a stream's fold: nothing is lost, nothing grows without end, and damage is told."""

import itertools
import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbad_cy.codec import CODECS, Codec
from driftlock.engine.detector import Detector
from driftlock.engine.limits import Limits
from driftlock.engine.profile import DEFAULT_CODEC
from driftlock.engine.records import Damaged
from driftlock.engine.state import pack, restore_stream, stream_state, unpack
from driftlock.engine.verdict import Calibration, Finding, StreamEvent, StreamEventKind
from driftlock.v1 import state_pb2
from tests.engine.streams import FAR_NS, KEY, batch, batches, iid, take
from tests.engine.test_detector import every_codec, fold, profile_with, with_burst

STATE_BYTES_TARGET = 128 * 1024


def restored(detector: Detector, codec: Codec) -> Detector:
    return restore_stream(stream_state(detector, codec), KEY, 7, Limits(), lambda _: codec)


@every_codec
@settings(max_examples=6, deadline=None)
@given(cuts=st.lists(st.integers(1, 2999), max_size=6, unique=True))
def test_a_restart_anywhere_changes_no_finding_no_event_and_no_byte(codec: str, cuts: list[int]) -> None:
    lines, ruler = with_burst(2500, 3000), Codec(codec)
    steady, expected = fold(lines, codec=codec, instances=6)
    detector, found, happened = Detector(KEY, profile_with(codec), 7, Limits()), list[Finding](), list[StreamEvent]()
    bounds = [0, *sorted(cuts), len(lines)]
    for start, stop in itertools.pairwise(bounds):
        found += detector.fold(batch(lines[start:stop], start, instances=6), FAR_NS, ruler)
        detector = restored(detector, ruler)
        happened += detector.take_events()
    assert [finding.canonical() for finding in found] == [finding.canonical() for finding in expected]
    assert happened == list(steady.take_events())
    assert stream_state(detector, ruler) == stream_state(steady, ruler)


@every_codec
@settings(max_examples=4, deadline=None)
@given(size=st.integers(1, 400))
def test_batches_leave_no_trace_in_the_state(codec: str, size: int) -> None:
    lines = with_burst(2500, 3000)
    ruler = Codec(codec)
    one, other = fold(lines, 1000, codec=codec, instances=6)[0], fold(lines, size, codec=codec, instances=6)[0]
    assert stream_state(one, ruler) == stream_state(other, ruler)


@every_codec
@pytest.mark.parametrize("count", [0, 1, 399, 400, 401, 449, 450])
def test_a_restart_while_the_baseline_fills_changes_nothing(codec: str, count: int) -> None:
    lines, ruler = with_burst(1600, 1700), Codec(codec)
    expected, findings = fold(lines, codec=codec)
    detector = restored(fold(lines[:count], codec=codec)[0], ruler)
    found = detector.fold(batch(lines[count:], count), FAR_NS, ruler)
    assert [finding.canonical() for finding in found] == [finding.canonical() for finding in findings]
    assert stream_state(detector, ruler) == stream_state(expected, ruler)


def test_a_restart_between_a_flagged_line_and_its_leaving_keeps_where_its_bits_are() -> None:
    codec, lines = Codec(DEFAULT_CODEC), with_burst(2570, 2600, aliens=10)
    detector, _ = fold(lines)
    costs = detector.slide.window_costs()
    assert any(marks for _, _, _, marks in costs)
    assert restored(detector, codec).slide.window_costs() == costs
    assert restored(detector, codec).slide.window_flags() == detector.slide.window_flags()


# ---- bounds --------------------------------------------------------------------------------------------------------


def noise(rng: random.Random) -> Iterator[bytes]:
    while True:
        yield bytes(rng.choices(range(33, 123), k=rng.randrange(200, 3000)))


def many_slots(rng: random.Random) -> Iterator[bytes]:
    """300 templates with ten slots each."""
    words = [bytes(rng.choices(range(97, 123), k=7)) for _ in range(400)]
    kinds = [b" ".join(rng.choices(words, k=6)) for _ in range(300)]
    for kind in itertools.cycle(kinds):
        yield kind + b"".join(b" %c=%d" % (97 + at, rng.randrange(10 ** (1 + at % 6))) for at in range(10))


def unique(rng: random.Random) -> Iterator[bytes]:
    """Free text that never repeats."""
    while True:
        yield b" ".join(bytes(rng.choices(range(97, 123), k=6)) for _ in range(12))


@every_codec
@pytest.mark.parametrize(("make", "count"), [(noise, 1500), (many_slots, 6000), (unique, 4000)])
def test_state_is_bounded_whatever_the_lines_are(
    make: Callable[[random.Random], Iterator[bytes]], count: int, codec: str
) -> None:
    limits = Limits()
    detector, _ = fold(take(make(random.Random(5)), count), 500, codec=codec, instances=50)
    slide = detector.slide
    assert sum(len(event.text) for event in detector.recent) <= 2 * limits.window_bytes_max
    assert slide.pool.text_bytes <= limits.past_bytes_max
    if slide.content.coder is not None:
        assert slide.content.coder.size <= limits.coder_bytes_max
        assert slide.pool.text_bytes <= limits.past_bytes_max * 3 // 4
    assert (detector.truncated_events > 500) == (make is noise)
    assert len(stream_state(detector, Codec(codec))) <= STATE_BYTES_TARGET


def test_a_usual_stream_takes_a_fraction_of_that() -> None:
    detector, _ = fold(take(iid(1), 6000), instances=10)
    assert len(stream_state(detector, Codec(DEFAULT_CODEC))) <= 36 * 1024


# ---- other versions, damage ----------------------------------------------------------------------------------------


def test_a_checkpoint_of_an_earlier_version_says_so() -> None:
    body = pack(state_pb2.StreamState(stream=KEY.text, events=5000))
    with pytest.raises(Damaged, match="written by a version whose numbers can not be compared"):
        restore_stream(body, KEY, 7, Limits(), lambda _: Codec(DEFAULT_CODEC))


@every_codec
def test_another_version_of_the_codec_calibrates_anew_and_says_so(codec: str) -> None:
    ruler, lines = Codec(codec), take(iid(1), 6500)
    detector, _ = fold(lines[:6000], codec=codec)
    state = unpack(state_pb2.StreamState(), stream_state(detector, ruler))
    state.codec_version = "0.0.1"
    other = restore_stream(pack(state), KEY, 7, Limits(), lambda _: ruler)
    assert (other.events, other.windows, other.calibration) == (6000, detector.windows, Calibration.CALIBRATING)
    assert other.events_until_ready == 5000
    assert other.take_events() == ()
    assert other.fold(batch([]), FAR_NS, ruler) == []
    assert other.take_events() == ()
    other.fold(batch(lines[6000:], 6000), FAR_NS, ruler)
    [event] = other.take_events()
    assert (event.kind, event.event, event.window) == (StreamEventKind.RESTARTED, 6000, detector.windows)
    assert "another version of its codec" in event.reason


def test_another_streams_checkpoint_is_refused() -> None:
    codec = Codec(DEFAULT_CODEC)
    detector, _ = fold(take(iid(1), 500))
    state = unpack(state_pb2.StreamState(), stream_state(detector, codec))
    state.stream = "logs:another"
    with pytest.raises(Damaged, match="belongs to 'logs:another'"):
        restore_stream(pack(state), KEY, 7, Limits(), lambda _: codec)


DAMAGE: dict[str, Callable[[state_pb2.StreamState], object]] = {
    "a window too short": lambda state: state.event.pop(),
    "a line's parts not whole": lambda state: state.event[3].mark.append(4),
    "more parts than are kept": lambda state: state.event[3].mark.extend([0, 1, 0, 5] * 17),
    "a coder cut": lambda state: setattr(state, "coder", state.coder[:-1]),
    "a coder of other limits": lambda state: setattr(state, "coder", b"\x01" + state.coder[1:]),
    "no mix": lambda state: state.ClearField("mix"),
    "instances cut": lambda state: setattr(state, "instances", state.instances[:-1]),
    "a past missing": lambda state: state.lengths.pop(),
    "too long a past": lambda state: state.accents[1].waiting.extend(range(9)),
    "too many new lines": lambda state: state.novel_line.extend(range(4)),
    "an odd instance without numbers": lambda state: state.odd_one.number.append(1.0),
    "arrivals cut": lambda state: setattr(state, "presence", state.presence[:-1]),
    "a rate cut": lambda state: setattr(state, "rate", state.rate[:-1]),
    "an event of no kind": lambda state: state.happened.add(kind="nothing"),
    "a dictionary that a coder does without": lambda state: setattr(state, "dictionary", b"a"),
    "a form that is not there": lambda state: state.accepted_form.append(10**6),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_told_and_never_believed(damage: Callable[[state_pb2.StreamState], object]) -> None:
    codec = Codec(DEFAULT_CODEC)
    state = unpack(state_pb2.StreamState(), stream_state(fold(with_burst(900, 1000), instances=6)[0], codec))
    damage(state)
    with pytest.raises(Damaged, match="does not fit together"):
        restore_stream(pack(state), KEY, 7, Limits(), lambda _: codec)


@pytest.mark.parametrize("codec", sorted(set(CODECS) - {DEFAULT_CODEC}))
def test_a_compressors_past_needs_its_dictionary(codec: str) -> None:
    ruler = Codec(codec)
    state = unpack(state_pb2.StreamState(), stream_state(fold(take(iid(1), 1000), codec=codec)[0], ruler))
    state.ClearField("dictionary")
    with pytest.raises(Damaged, match="does not fit together"):
        restore_stream(pack(state), KEY, 7, Limits(), lambda _: ruler)


def test_what_is_stored_of_a_fold_in_one_go_is_what_is_stored_after_many() -> None:
    """And storing changes nothing."""
    codec, lines = Codec(DEFAULT_CODEC), with_burst(2500, 3000)
    one, _ = fold(lines)
    detector = Detector(KEY, profile_with(DEFAULT_CODEC), 7, Limits())
    for part in batches(lines, 100):
        detector.fold(part, FAR_NS, codec)
        stream_state(detector, codec)
    assert stream_state(detector, codec) == stream_state(one, codec) == stream_state(one, codec)
