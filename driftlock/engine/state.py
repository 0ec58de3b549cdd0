"""Checkpoints: the state of a fold to and from bytes (schema `driftlock.v1`, zstd).

A fold that continues from its bytes gives the same findings as one that was never interrupted. Masked forms of the window
are not stored: they are computed again from the texts.
"""

from array import array
from collections.abc import Callable
from typing import TypeVar

import zstandard

from cbad_cy.codec import Codec
from cbad_cy.rank import Reference
from cbad_cy.tokenize import mask
from driftlock.engine.detector import Detector
from driftlock.engine.event import StreamKey
from driftlock.engine.limits import Limits
from driftlock.engine.profile import Profile
from driftlock.engine.records import SCHEMA, Damaged, config_message, parse_stored, profile_of
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
    slide, clock = detector.slide, detector.clock
    forms, accepted, seen, ages = slide.pool.parts()
    return pack(
        state_pb2.StreamState(
            stream=detector.key.text,
            config=config_message(detector.profile),
            codec=codec.name,
            codec_level=codec.level,
            codec_version=codec.version,
            origin=detector.origin,
            events=detector.events,
            windows=detector.windows,
            truncated_events=detector.truncated_events,
            late_events=clock.late_events,
            first_event_ns=clock.first_event_ns,
            watermark_ns=clock.watermark_ns,
            dictionary=None if slide.prepared is None else slide.prepared.source_bytes,
            form=forms,
            accepted_form=accepted,
            form_seen=seen,
            form_age=ages,
            accepted=slide.accepted,
            event=[
                state_pb2.WindowEvent(
                    text=event.text,
                    time_ns=event.time_ns,
                    late=event.late,
                    receive_timed=event.receive_timed,
                    flagged=flagged,
                    instance=event.instance,
                    trace_id=event.trace_id,
                )
                for event, flagged in zip(detector.recent, slide.window_flags(), strict=True)
            ],
            lengths=_reference_message(slide.lengths),
            shares=_reference_message(slide.shares),
            normal_ratio=slide.ratios.values(),
            normal_compression=slide.compressions.values(),
            normal_entropy=slide.entropies.values(),
        )
    )


def _reference_message(reference: Reference) -> state_pb2.Reference:
    waiting, values, opened, maxima = (list(map(int, part)) for part in reference.parts())
    return state_pb2.Reference(waiting=waiting, value=values, block_open=opened, block_maximum=maxima)


def restore_stream(body: bytes, key: StreamKey, seed: int, limits: Limits, codec_of: Callable[[Profile], Codec]) -> Detector:
    """The detector as it was; `codec_of` gives the codec of its profile.

    Sizes of another codec version are not comparable, so then calibration starts again. Raises `Damaged` when the bytes
    can not be read, do not fit together or are another stream's, `Internal` when they are of a newer schema.
    """
    state = unpack(state_pb2.StreamState(), body)
    if state.stream != key.text:
        raise Damaged(f"checkpoint belongs to {state.stream!r}, not to {key.text!r}")
    if not state.HasField("config"):
        raise Damaged("it was written by a version whose numbers can not be compared with those of this one")
    profile = profile_of(state.config)
    codec = codec_of(profile)
    detector = Detector(key, profile, seed, limits)
    detector.origin, detector.truncated_events = state.origin, state.truncated_events
    clock = detector.clock
    clock.late_events = state.late_events
    clock.first_event_ns, clock.watermark_ns = state.first_event_ns, state.watermark_ns
    if (state.codec, state.codec_level, state.codec_version) != (codec.name, codec.level, codec.version):
        detector.origin, detector.slide.windows = state.events, state.windows
        return detector
    detector.recent = _window(state, limits)
    try:
        _restore_slide(detector, state, codec)
    except (ValueError, OverflowError) as error:
        raise Damaged(f"checkpoint of {key.text!r} does not fit together: {error}") from error
    return detector


def _restore_slide(detector: Detector, state: state_pb2.StreamState, codec: Codec) -> None:
    slide = detector.slide
    slide.pool.restore(list(state.form), list(state.accepted_form), list(state.form_seen), list(state.form_age))
    slide.restore_window(
        [event.masked for event in detector.recent],
        [event.flagged for event in state.event],
        taken=state.events - state.origin,
        windows=state.windows,
        accepted=state.accepted,
        codec=codec,
        dictionary=state.dictionary if state.HasField("dictionary") else None,
    )
    for reference, past in ((slide.lengths, state.lengths), (slide.shares, state.shares)):
        reference.restore(past.waiting, past.value, past.block_open, past.block_maximum)
    for sample, values in (
        (slide.ratios, state.normal_ratio),
        (slide.compressions, state.normal_compression),
        (slide.entropies, state.normal_entropy),
    ):
        for value in values:
            sample.add(value)


def _window(state: state_pb2.StreamState, limits: Limits) -> list[Event]:
    texts = [event.text for event in state.event]
    masked, lengths = mask(b"".join(texts), array("I", map(len, texts)), line_bytes_max=limits.event_bytes_max)
    events, at = [], 0
    for event, length in zip(state.event, lengths, strict=True):
        form = masked[at : at + length]
        at += length
        events.append(Event(event.text, form, event.time_ns, event.late, event.receive_timed, event.instance, event.trace_id))
    return events
