"""Checkpoints of streams of traces: the fold to and from bytes (schema `driftlock.v1`, zstd).

Open traces are in it. A fold that continues from it gives the same findings as one that was never interrupted.
"""

from dataclasses import astuple

import zstandard

from driftlock.engine.event import StreamKey
from driftlock.engine.lesson_record import lessons_state
from driftlock.engine.limits import Limits
from driftlock.engine.plausible import check_counts
from driftlock.engine.records import SCHEMA, Damaged, config_message, parse_stored, profile_of
from driftlock.engine.state import restored_lessons
from driftlock.engine.traces.detector import TraceDetector
from driftlock.engine.traces.directory import Operation
from driftlock.engine.traces.finding import CODEC_VERSION
from driftlock.engine.traces.joining import ToldOf
from driftlock.engine.traces.pace import Where
from driftlock.engine.traces.traffic import Traffic
from driftlock.engine.verdict import StreamEvent, StreamEventKind
from driftlock.v1 import state_pb2, traces_pb2

TRACE_STATE_LEVEL = 1
"""Open traces are many bytes that are written often and read seldom; higher levels cost more than they save."""

TRACE_STATE_BYTES_MAX = 1024 * 1024 * 1024
"""Before compression; beyond twice `Limits.traces_bytes_max` there is nothing to store."""


def trace_state(detector: TraceDetector) -> bytes:
    """The bytes from which `restore_traces` continues."""
    clock, pace, directory, traffic = detector.clock, detector.pace, detector.directory, detector.traffic
    message = traces_pb2.TraceState(
        schema=SCHEMA,
        stream=detector.key.text,
        config=config_message(detector.profile),
        codec_version=CODEC_VERSION,
        events=detector.events,
        mark_event=detector.mark_event,
        mark_ns=detector.mark_ns,
        offset=detector.offset,
        first_minute=None if detector.first_minute < 0 else detector.first_minute,
        late_events=clock.late_events,
        first_event_ns=clock.first_event_ns,
        watermark_ns=clock.watermark_ns,
        receive_timed=clock.receive_timed,
        received_ns=pace.received_ns,
        live=pace.live,
        restarted=detector.restarted,
        happened=[
            state_pb2.StreamEvent(kind=it.kind, event=it.event, window=it.window, time_ns=it.time_ns, reason=it.reason)
            for it in detector.happened
        ],
        service=directory.services[1:],
        operation=[traces_pb2.Operation(service=it.service, name=it.name, kind=it.kind) for it in directory.operations[1:]],
        overflowed=directory.overflowed,
        instance=list(detector.instances.names.values()),
        traffic=astuple(traffic),
        degraded=detector.degraded,
        learned_ns=detector.learned_ns,
        open_traces=detector.traces.parts(),
        calls=detector.calls.parts(),
        shapes=detector.shapes.parts(),
        told=[
            traces_pb2.ToldOf(about=it.about, service=it.service, time_ns=it.time_ns, bits=it.bits)
            for it in detector.joining.told
        ],
        passed=traces_pb2.Passed(**detector.passed._asdict()),
        lessons=lessons_state(detector.lessons),
    )
    return zstandard.ZstdCompressor(level=TRACE_STATE_LEVEL, write_checksum=True).compress(
        message.SerializeToString(deterministic=True)
    )


def restore_traces(body: bytes, key: StreamKey, seed: int, limits: Limits, *, anew: bool = False) -> TraceDetector:
    """The fold as it was, with its open traces.

    What another version of the code of traces learned can not be compared, so then, or with `anew`, everything begins anew,
    open traces included. Raises `Damaged` when the bytes can not be read, do not fit together or are another stream's,
    `Internal` when they are of a newer schema.
    """
    state = traces_pb2.TraceState()
    parse_stored(state, body, "checkpoint", _raw_bytes_max(body))
    if state.stream != key.text:
        raise Damaged(f"checkpoint belongs to {state.stream!r}, not to {key.text!r}")
    try:
        check_counts(state)
        for part in (state.passed, *state.happened, *state.told):
            check_counts(part)
    except ValueError as error:
        raise Damaged(f"checkpoint of {key.text!r} does not fit together: {error}") from error
    detector = TraceDetector(key, profile_of(state.config), seed, limits)
    detector.events, detector.offset = state.events, state.offset
    detector.mark_ns, detector.mark_event = state.mark_ns, state.mark_event
    detector.first_minute = state.first_minute if state.HasField("first_minute") else -1
    clock = detector.clock
    clock.late_events, clock.receive_timed = state.late_events, state.receive_timed
    clock.first_event_ns, clock.watermark_ns = state.first_event_ns, state.watermark_ns
    detector.pace.received_ns, detector.pace.live = state.received_ns, state.live
    passed = state.passed
    detector.passed = Where(passed.time_ns, passed.event, passed.watermark_ns, passed.receive_timed)
    detector.lessons = restored_lessons(state.lessons, key)
    detector.happened = _happened(state)
    if anew or state.codec_version != CODEC_VERSION:
        detector.restarted = True
        return detector
    detector.restarted, detector.degraded = state.restarted, state.degraded
    detector.learned_ns = state.learned_ns
    try:
        operations = (Operation(it.service, it.name, it.kind) for it in state.operation)
        detector.directory.restore(state.service, operations, state.overflowed)
        detector.instances.restore(state.instance)
        detector.traffic = Traffic(*state.traffic)
        detector.traces.restore(state.open_traces)
        if detector.traffic.late_before > detector.traces.late:
            raise ValueError("more spans were late than came")
        detector.calls.restore(state.calls)
        detector.shapes.restore(state.shapes)
        detector.joining.restore(ToldOf(it.about, it.service, it.time_ns, it.bits) for it in state.told)
    except (ValueError, TypeError) as error:
        raise Damaged(f"checkpoint of {key.text!r} does not fit together: {error}") from error
    return detector


def _happened(state: traces_pb2.TraceState) -> list[StreamEvent]:
    try:
        return [StreamEvent(StreamEventKind(it.kind), it.event, it.window, it.time_ns, it.reason) for it in state.happened]
    except ValueError as error:
        raise Damaged(f"checkpoint of {state.stream!r} tells of something unknown: {error}") from error


def _raw_bytes_max(body: bytes) -> int:
    """As many bytes as the body says that it holds: a gigabyte need not be set aside for a small one."""
    try:
        size = zstandard.frame_content_size(body)
    except zstandard.ZstdError:
        return 1
    return min(size, TRACE_STATE_BYTES_MAX) if size > 0 else TRACE_STATE_BYTES_MAX
