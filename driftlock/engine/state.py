"""Checkpoints: the state of a fold to and from bytes (schema `driftlock.v1`, zstd).

A fold that continues from its bytes gives the same findings as one that was never interrupted. Masked forms of the window
are not stored: they are computed again from the texts.
"""

from array import array
from typing import TypeVar

import zstandard

from cbad_cy.codec import Codec
from cbad_cy.tokenize import mask
from driftlock.engine.calibration import Median
from driftlock.engine.detector import Detector
from driftlock.engine.event import StreamKey
from driftlock.engine.limits import Limits
from driftlock.engine.profile import PROFILES
from driftlock.engine.records import SCHEMA, Damaged, parse_stored
from driftlock.engine.window import Event
from driftlock.v1 import state_pb2

STATE_LEVEL = 3
STATE_BYTES_MAX = 64 * 1024 * 1024

Message = TypeVar("Message", state_pb2.StreamState, state_pb2.TenantState)


def pack(message: state_pb2.StreamState | state_pb2.TenantState) -> bytes:
    """Compressed bytes of a state message."""
    message.schema = SCHEMA
    return zstandard.ZstdCompressor(level=STATE_LEVEL).compress(message.SerializeToString(deterministic=True))


def unpack(message: Message, body: bytes) -> Message:
    """Read what `pack` wrote; raises `Damaged` for bytes that can not be read, `Internal` for a newer schema."""
    return parse_stored(message, body, "checkpoint", STATE_BYTES_MAX)


def stream_state(detector: Detector, codec: Codec) -> bytes:
    """The bytes from which `restore_stream` continues; `codec` is the one that measured the past."""
    reference, clock = detector.reference, detector.clock
    return pack(
        state_pb2.StreamState(
            stream=detector.key.text,
            profile=detector.profile.name,
            codec=codec.name,
            codec_level=codec.level,
            codec_version=codec.version,
            events=detector.events,
            windows=detector.windows,
            truncated_events=detector.truncated_events,
            late_events=clock.late_events,
            first_event_ns=clock.first_event_ns,
            watermark_ns=clock.watermark_ns,
            dictionary_line=detector.baseline.dictionary,
            accepted_line=detector.baseline.accepted,
            accepted=detector.baseline.accepted_events,
            event=[
                state_pb2.WindowEvent(
                    text=event.text,
                    time_ns=event.time_ns,
                    late=event.late,
                    receive_timed=event.receive_timed,
                    flagged=event.flagged,
                    instance=event.instance,
                    trace_id=event.trace_id,
                )
                for event in detector.recent
            ],
            reference=state_pb2.Reference(
                waiting=reference.waiting,
                value=reference.values,
                block_open=reference.block_open,
                block_maximum=reference.block_maxima,
            ),
            normal_ratio=detector.normal_ratio.values,
            normal_compression=detector.normal_compression.values,
            normal_entropy=detector.normal_entropy.values,
        )
    )


def restore_stream(body: bytes, key: StreamKey, seed: int, limits: Limits, codec: Codec) -> Detector:
    """The detector as it was. Sizes of another codec version are not comparable, so then calibration starts again.

    Raises `Damaged` when the bytes can not be read or are another stream's, `Internal` when they are of a newer schema.
    """
    state = unpack(state_pb2.StreamState(), body)
    if state.stream != key.text or state.profile not in PROFILES:
        raise Damaged(f"checkpoint belongs to {state.stream!r} with profile {state.profile!r}, not to {key.text!r}")
    detector = Detector(key, PROFILES[state.profile], seed, limits)
    detector.events, detector.windows, detector.truncated_events = state.events, state.windows, state.truncated_events
    clock = detector.clock
    clock.late_events = state.late_events
    clock.first_event_ns, clock.watermark_ns = state.first_event_ns, state.watermark_ns
    detector.baseline.restore(state.dictionary_line, state.accepted_line, state.accepted)
    detector.recent = _window(state, limits)
    if (state.codec, state.codec_level, state.codec_version) == (codec.name, codec.level, codec.version):
        past = state.reference
        detector.reference.restore(past.waiting, past.value, past.block_open, past.block_maximum)
        detector.normal_ratio = Median(limits.normal_windows_max, state.normal_ratio)
        detector.normal_compression = Median(limits.normal_windows_max, state.normal_compression)
        detector.normal_entropy = Median(limits.normal_windows_max, state.normal_entropy)
    return detector


def _window(state: state_pb2.StreamState, limits: Limits) -> list[Event]:
    texts = [event.text for event in state.event]
    masked, lengths = mask(b"".join(texts), array("I", map(len, texts)), line_bytes_max=limits.event_bytes_max)
    events, at = [], 0
    for event, length in zip(state.event, lengths, strict=True):
        form = masked[at : at + length]
        at += length
        marks = event.late, event.receive_timed, event.flagged
        events.append(Event(event.text, form, event.time_ns, *marks, event.instance, event.trace_id))
    return events
