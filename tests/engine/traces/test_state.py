"""Checkpoints of streams of traces."""

import random
from array import array

import pytest
import zstandard

from driftlock.engine.event import trace_stream_key
from driftlock.engine.limits import MINUTE_NS, SECOND_NS, Limits
from driftlock.engine.profile import PROFILES
from driftlock.engine.records import Damaged
from driftlock.engine.state import STATE_BYTES_MAX
from driftlock.engine.traces import state as module
from driftlock.engine.traces.detector import TraceDetector
from driftlock.engine.traces.state import restore_traces, trace_state
from driftlock.engine.verdict import Calibration, StreamEventKind
from driftlock.errors import Internal
from driftlock.v1 import traces_pb2
from tests.engine.traces.rows import CODEC, KEY, MS, Interrupted, batch_of, new_detector, second, shop
from tests.engine.traces.shop import MAIL, PAST, start, visit, visits
from tests.engine.traces.shop import learned as learned_shop


def restored(body: bytes) -> TraceDetector:
    return restore_traces(body, KEY, 7, Limits())


def message_of(body: bytes) -> traces_pb2.TraceState:
    return traces_pb2.TraceState.FromString(zstandard.ZstdDecompressor().stream_reader(body).read())


def changed(body: bytes, **changes: object) -> bytes:
    message = message_of(body)
    for name, value in changes.items():
        if isinstance(value, list):
            del getattr(message, name)[:]
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)
    return zstandard.ZstdCompressor().compress(message.SerializeToString(deterministic=True))


def learned(traces: int = 1400) -> Interrupted:
    fold = Interrupted(new_detector())
    for first in range(0, traces, 100):
        fold.detector.fold(batch_of(shop(range(first, first + 100))), second(first / 10 + 12), CODEC)
    return fold


def test_equal_folds_give_equal_bytes_and_continue_with_equal_bytes() -> None:
    one, other = learned(300), learned(300)
    assert trace_state(one.detector) == trace_state(other.detector)
    one.restart()
    assert one.detector is not other.detector
    assert trace_state(one.detector) == trace_state(other.detector)


def test_all_that_is_known_of_a_stream_comes_back() -> None:
    fold = learned()
    before = fold.detector
    before.configure(PROFILES["strict"])
    before.fold(batch_of([ahead := shop(range(2000, 2001))[0]]), ahead.start_ns - MINUTE_NS, CODEC)
    assert before.mark_ns < before.clock.watermark_ns
    fold.restart()
    after = fold.detector
    assert after is not before
    assert (after.events, after.windows, after.health) == (before.events, before.windows, before.health)
    assert after.health[0] is Calibration.OK
    assert (after.profile, after.events_until_ready, after.closes_ns) == (
        before.profile, before.events_until_ready, before.closes_ns,
    )  # fmt: skip
    assert vars(after.clock) == vars(before.clock)
    assert (after.mark_ns, after.mark_event) == (before.mark_ns, before.mark_event)
    assert (after.pace, after.traffic) == (before.pace, before.traffic)
    assert after.graph() == before.graph() != ()
    assert (len(after.traces), after.traces.spans) == (len(before.traces), before.traces.spans)
    assert after.instances.names == before.instances.names != {}
    assert after.take_events() == before.take_events() != ()


def test_what_was_told_comes_back_so_that_it_is_not_told_again() -> None:
    fold = Interrupted(learned_shop())
    mailing = visits(range(PAST, PAST + 400), lambda trace: visit(trace, extra=(MAIL, "PUT /mail")))
    [finding] = fold.detector.fold(batch_of(mailing), start(PAST + 400), CODEC)
    told = fold.detector.joining.told
    assert [(it.about, it.time_ns, round(it.bits, 6)) for it in told] == [
        ("dependency new", finding.end_ns, round(finding.surprise, 6))
    ]
    fold.restart()
    assert fold.detector.joining.told == told


def test_the_time_that_passed_comes_back() -> None:
    fold = learned(100)
    fold.detector.pass_time(second(11) + 10 * MINUTE_NS)
    fold.restart()
    assert (len(fold.detector.traces), fold.detector.closes_ns) == (0, 0)


@pytest.mark.parametrize("body", [b"", b"garbage", zstandard.ZstdCompressor().compress(b"\xff" * 20)])
def test_bytes_that_can_not_be_read_are_damaged(body: bytes) -> None:
    with pytest.raises(Damaged):
        restored(body)


def test_a_state_that_was_cut_is_damaged() -> None:
    body = trace_state(learned(100).detector)
    with pytest.raises(Damaged):
        restored(body[: len(body) // 2])


def test_the_state_of_another_stream_is_refused() -> None:
    with pytest.raises(Damaged, match="belongs to"):
        restore_traces(trace_state(new_detector()), trace_stream_key("test"), 7, Limits())


def test_a_newer_schema_is_refused() -> None:
    with pytest.raises(Internal, match="upgrade"):
        restored(changed(trace_state(new_detector()), schema=2))


@pytest.mark.parametrize(
    "changes",
    [
        {"open_traces": b"\x01\x02\x03"},
        {"calls": b"\x01\x02\x03"},
        {"shapes": b"\x01\x02\x03"},
        {"service": ["a", "a"]},
        {"operation": [traces_pb2.Operation(service=99, name="x", kind=1)]},
        {"traffic": [1] * 9},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_parts_that_do_not_fit_together_are_damaged(changes: dict[str, object]) -> None:
    with pytest.raises(Damaged, match="does not fit together"):
        restored(changed(trace_state(learned(100).detector), **changes))


def test_what_another_version_learned_is_forgotten_and_that_is_told() -> None:
    fold = learned(300)
    before = fold.detector
    detector = restored(changed(trace_state(before), codec_version="0.0.0"))
    assert (detector.events, detector.clock.watermark_ns) == (before.events, before.clock.watermark_ns)
    assert (len(detector.traces), len(detector.directory), detector.graph()) == (0, 0, ())
    detector.take_events()
    again = Interrupted(detector)
    again.restart()
    again.detector.fold(batch_of(shop(range(300, 310))), second(32), CODEC)
    [event] = again.detector.take_events()
    assert (event.kind, event.event) == (StreamEventKind.RESTARTED, before.events)
    assert again.detector.windows == before.windows


def test_a_state_larger_than_that_of_other_streams_comes_back() -> None:
    traces, size = 5_500, 300
    rng = random.Random(5)
    detector = new_detector(Limits(trace_idle_ns=3600 * SECOND_NS))
    spans = traces * size
    row = batch_of(shop(range(1)))
    row.lengths = array("I", bytes(4 * spans))
    row.times_ns = array("Q", [second(0)]) * spans
    row.trace_ids = b"".join(rng.randbytes(16) * size for _ in range(traces))
    row.span_ids, row.parent_ids = rng.randbytes(8 * spans), rng.randbytes(8 * spans)
    row.series_index, row.instance_index = array("I", [1]) * spans, array("I")
    row.durations_ns, row.span_marks = array("Q", [MS]) * spans, bytes([2]) * spans
    detector.fold(row, second(1), CODEC)
    assert detector.traces.spans == spans
    body = trace_state(detector)
    assert len(message_of(body).open_traces) > STATE_BYTES_MAX
    assert trace_state(restore_traces(body, KEY, 7, detector.limits)) == body


def test_a_state_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    body = trace_state(learned(100).detector)
    monkeypatch.setattr(module, "TRACE_STATE_BYTES_MAX", 1000)
    with pytest.raises(Damaged):
        restored(body)
