"""Checkpoints: the state of a fold to and from bytes (schema `driftlock.v1`, zstd).

A fold that continues from its bytes gives the same findings as one that was never interrupted. Masked forms of the window
are not stored: they are computed again from the texts.
"""

from array import array
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

import zstandard

from cbad_cy.codec import Codec
from cbad_cy.rank import Reference
from cbad_cy.tokenize import Masks, mask
from driftlock.engine.anchor_state import anchor_state, restore_anchoring
from driftlock.engine.calibration import Episode
from driftlock.engine.detector import Detector
from driftlock.engine.event import StreamKey
from driftlock.engine.interaction import Interactions
from driftlock.engine.lesson_record import lessons_from, lessons_state
from driftlock.engine.lessons import Lessons
from driftlock.engine.limits import Limits
from driftlock.engine.plausible import check_counts
from driftlock.engine.profile import Profile
from driftlock.engine.rate import OddMinute
from driftlock.engine.records import SCHEMA, Damaged, config_message, parse_stored, profile_of
from driftlock.engine.verdict import StreamEvent, StreamEventKind
from driftlock.engine.window import Event
from driftlock.v1 import derived_pb2, state_pb2

STATE_LEVEL = 3
STATE_BYTES_MAX = 64 * 1024 * 1024

Message = TypeVar("Message", state_pb2.StreamState, state_pb2.TenantState)


def pack(message: state_pb2.StreamState | state_pb2.TenantState | derived_pb2.DerivedBatch) -> bytes:
    """Compressed bytes of a state message, or of what streams tell a tenant's fold."""
    message.schema = SCHEMA
    return zstandard.ZstdCompressor(level=STATE_LEVEL, write_checksum=True).compress(
        message.SerializeToString(deterministic=True)
    )


def unpack(message: Message, body: bytes) -> Message:
    """Read what `pack` wrote; raises `Damaged` for bytes that can not be read, `Internal` for a newer schema."""
    return parse_stored(message, body, "checkpoint", STATE_BYTES_MAX)


def stream_state(detector: Detector, codec: Codec) -> bytes:
    """The bytes from which `restore_stream` continues; `codec` is the one that measured the past."""
    slide, content, clock, baseline = detector.slide, detector.slide.content, detector.clock, detector.baseline
    forms, accepted, seen, ages = slide.pool.parts()
    return pack(
        state_pb2.StreamState(
            stream=detector.key.text,
            config=config_message(detector.profile),
            codec=codec.name,
            codec_level=codec.level,
            codec_version=codec.version,
            origin=baseline.origin,
            events=detector.events,
            windows=detector.windows,
            truncated_events=detector.truncated_events,
            late_events=clock.late_events,
            receive_timed=clock.receive_timed,
            flagged_share=content.flagged_share,
            first_event_ns=clock.first_event_ns,
            watermark_ns=clock.watermark_ns,
            dictionary=None if slide.prepared is None else slide.prepared.source_bytes,
            form=forms,
            accepted_form=accepted,
            form_seen=seen,
            form_age=ages,
            accepted=slide.accepted,
            event=_event_messages(detector),
            lengths=[_reference_message(reference) for reference in content.lengths],
            accents=[_reference_message(reference) for reference in content.accents],
            novel_line=content.novel_lines(),
            coder=b"" if content.coder is None else content.coder.parts(),
            mix=slide.mix.parts(),
            instances=slide.instances.parts(),
            interactions=b"" if detector.interactions is None else detector.interactions.state(),
            interactions_found=detector.interactions_found,
            odd_one=_odd_message(slide.odd_one()),
            context=content.context,
            normal_dear_ratio=content.dear_ratios.values(),
            calibration=state_pb2.CalibrationState(
                flagged=baseline.watch.flagged, told_calibrated=baseline.watch.told, degraded=baseline.watch.degraded
            ),
            happened=[_event_message(event) for event in baseline.happened],
            episode=None if baseline.episode is None else _episode_message(baseline.episode),
            presence=detector.presence.parts(),
            rate=detector.presence.rate.parts(),
            odd_minute=[
                state_pb2.OddMinute(time_ns=odd.time_ns, events=odd.events, more=odd.more) for odd in detector.presence.rate.odd
            ],
            normal_ratio=content.ratios.values(),
            normal_compression=slide.compressions.values(),
            normal_entropy=slide.entropies.values(),
            anchor=anchor_state(detector.anchoring),
            lessons=lessons_state(detector.lessons),
        )
    )


def restored_lessons(state: bytes, key: StreamKey) -> Lessons:
    """What people have taught a stream, as its checkpoint says; raises `Damaged`. An earlier version knew nothing of it."""
    try:
        return lessons_from(state)
    except ValueError as error:
        raise Damaged(f"checkpoint of {key.text!r} does not fit together: {error}") from error


OddOne: TypeAlias = tuple[float, float, float, float, float, float, int, int, int]


def _odd_message(odd: OddOne | None) -> state_pb2.OddInstance | None:
    return None if odd is None else state_pb2.OddInstance(number=odd[:6], template=odd[6], instance=odd[7], question=odd[8])


def _odd_from(state: state_pb2.StreamState) -> OddOne | None:
    if not state.HasField("odd_one"):
        return None
    odd = state.odd_one
    p_value, confidence, surprise, distance, observed, expected = odd.number
    return p_value, confidence, surprise, distance, observed, expected, odd.template, odd.instance, odd.question


def _event_messages(detector: Detector) -> list[state_pb2.WindowEvent]:
    """The last events, oldest first, as the window holds them."""
    flags, costs = detector.slide.window_flags(), detector.slide.window_costs()
    return [
        state_pb2.WindowEvent(
            text=event.text,
            time_ns=event.time_ns,
            late=event.late,
            receive_timed=event.receive_timed,
            flagged=flagged,
            instance=event.instance,
            trace_id=event.trace_id,
            cost=cost,
            words=words,
            new=new,
            mark=[number for start, stop, slot, bits in marks for number in (start, stop, slot + 1, bits)],
        )
        for event, flagged, (cost, words, new, marks) in zip(detector.recent, flags, costs, strict=True)
    ]


def _event_message(event: StreamEvent) -> state_pb2.StreamEvent:
    return state_pb2.StreamEvent(
        kind=event.kind, event=event.event, window=event.window, time_ns=event.time_ns, reason=event.reason
    )


def _event_from(message: state_pb2.StreamEvent) -> StreamEvent:
    return StreamEvent(StreamEventKind(message.kind), message.event, message.window, message.time_ns, message.reason)


def _episode_message(episode: Episode) -> state_pb2.Episode:
    return state_pb2.Episode(first_event=episode.first_event, last_window=episode.last_window, known=sorted(episode.known))


def _reference_message(reference: Reference) -> state_pb2.Reference:
    waiting, values, opened, maxima = (list(map(int, part)) for part in reference.parts())
    return state_pb2.Reference(waiting=waiting, value=values, block_open=opened, block_maximum=maxima)


def restore_stream(
    body: bytes, key: StreamKey, seed: int, limits: Limits, codec_of: Callable[[Profile], Codec], *, anew: bool = False
) -> Detector:
    """The detector as it was; `codec_of` gives the codec of its profile.

    Sizes of another codec version are not comparable, so then, or with `anew`, calibration starts again. Raises `Damaged`
    when the bytes can not be read, do not fit together or are another stream's, `Internal` when they are of a newer schema.
    """
    state = unpack(state_pb2.StreamState(), body)
    if state.stream != key.text:
        raise Damaged(f"checkpoint belongs to {state.stream!r}, not to {key.text!r}")
    if not state.HasField("calibration"):
        raise Damaged("it was written by a version whose numbers can not be compared with those of this one")
    _check(state, key)
    profile = profile_of(state.config)
    codec = codec_of(profile)
    detector = Detector(key, profile, seed, limits)
    detector.baseline.origin, detector.truncated_events = state.origin, state.truncated_events
    clock = detector.clock
    detector.interactions_found = state.interactions_found
    detector.lessons = restored_lessons(state.lessons, key)
    clock.late_events = state.late_events
    clock.receive_timed = state.receive_timed
    clock.first_event_ns, clock.watermark_ns = state.first_event_ns, state.watermark_ns
    stored = state.codec, state.codec_level, state.codec_version
    comparable = not anew and stored == (codec.name, codec.level, codec.version)
    _restore_presence(detector, state, lines=comparable)
    _restore_anchor(detector, state)
    if not comparable:
        detector.baseline.origin, detector.slide.windows = state.events, state.windows
        return detector
    detector.recent = _window(state, limits, detector.masks)
    try:
        _restore_slide(detector, state, codec)
    except (ValueError, OverflowError) as error:
        raise Damaged(f"checkpoint of {key.text!r} does not fit together: {error}") from error
    return detector


def _check(state: state_pb2.StreamState, key: StreamKey) -> None:
    """Raise `Damaged` for numbers that no stream comes to."""
    anchor = state.anchor
    parts = (state.calibration, state.episode, anchor, anchor.frozen, anchor.far, *state.happened, *state.odd_minute)
    try:
        check_counts(state, but=("codec_level", "context"))
        for part in parts:
            check_counts(part, but=("codec_level", "known"))
        if not state.origin <= state.events:
            raise ValueError("it began after its newest event")
    except ValueError as error:
        raise Damaged(f"checkpoint of {key.text!r} does not fit together: {error}") from error


def _restore_presence(detector: Detector, state: state_pb2.StreamState, *, lines: bool) -> None:
    """When the stream speaks; `lines`: are they still masked alike? An earlier version knew nothing of it."""
    try:
        if state.presence:
            detector.presence.restore(state.presence)
        odd = [OddMinute(it.time_ns, it.events, it.more) for it in state.odd_minute]
        detector.presence.rate.restore(state.rate, odd)
    except ValueError as error:
        raise Damaged(f"checkpoint of {detector.key.text!r} does not fit together: {error}") from error
    if not lines:
        detector.presence.forget_lines()


def _restore_anchor(detector: Detector, state: state_pb2.StreamState) -> None:
    """Its anchor, which keeps its lines and is measured anew where another version measured it."""
    if not state.HasField("anchor"):
        return
    try:
        detector.anchoring = restore_anchoring(state.anchor)
    except ValueError as error:
        raise Damaged(f"checkpoint of {detector.key.text!r} does not fit together: {error}") from error


def _restore_slide(detector: Detector, state: state_pb2.StreamState, codec: Codec) -> None:
    slide, content = detector.slide, detector.slide.content
    slide.pool.restore(list(state.form), list(state.accepted_form), list(state.form_seen), list(state.form_age))
    slide.restore_window(
        [event.masked for event in detector.recent],
        [event.flagged for event in state.event],
        [(event.cost, event.words, event.new, _marks(event.mark)) for event in state.event],
        taken=state.events - state.origin,
        windows=state.windows,
        accepted=state.accepted,
        odd_one=_odd_from(state),
        codec=codec,
        dictionary=state.dictionary if state.HasField("dictionary") else None,
    )
    if content.coder is not None:
        content.coder.restore(state.coder)
    content.restore(context=state.context, novel=state.novel_line, flagged_share=state.flagged_share)
    slide.mix.restore(state.mix)
    slide.instances.restore(state.instances)
    baseline = detector.baseline
    baseline.watch.restore(
        state.calibration.flagged, told=state.calibration.told_calibrated, degraded=state.calibration.degraded
    )
    if detector.interactions is not None:
        group_by = detector.interactions.group_by
        detector.interactions = Interactions.restored(state.interactions, group_by, detector.interactions.limits)
    baseline.happened = [_event_from(message) for message in state.happened]
    if state.HasField("episode"):
        kept = state.episode
        baseline.episode = Episode(kept.first_event, kept.last_window, frozenset(kept.known))
    pasts = zip((*content.lengths, *content.accents), (*state.lengths, *state.accents), strict=True)
    for reference, past in pasts:
        reference.restore(past.waiting, past.value, past.block_open, past.block_maximum)
    for sample, values in (
        (content.ratios, state.normal_ratio),
        (content.dear_ratios, state.normal_dear_ratio),
        (slide.compressions, state.normal_compression),
        (slide.entropies, state.normal_entropy),
    ):
        for value in values:
            sample.add(value)


def _marks(numbers: Sequence[int]) -> list[tuple[int, int, int, int]]:
    if len(numbers) % 4:
        raise ValueError("the parts of a line are not whole")
    fours = zip(numbers[::4], numbers[1::4], numbers[2::4], numbers[3::4], strict=True)
    return [(start, stop, slot - 1, bits) for start, stop, slot, bits in fours]


def _window(state: state_pb2.StreamState, limits: Limits, masks: Masks | None) -> list[Event]:
    texts = [event.text for event in state.event]
    every = array("I", map(len, texts))
    masked, lengths = mask(b"".join(texts), every, line_bytes_max=limits.event_bytes_max, masks=masks)
    events, at = [], 0
    for event, length in zip(state.event, lengths, strict=True):
        form = masked[at : at + length]
        at += length
        events.append(Event(event.text, form, event.time_ns, event.late, event.receive_timed, event.instance, event.trace_id))
    return events
