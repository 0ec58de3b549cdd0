"""Checkpoints of metrics streams: the fold to and from bytes (schema `driftlock.v1`, zstd).

The pasts of series are not in it: they are stored one by one (`NumberFold.unsaved`), and given back when they are needed. A
fold that continues from both gives the same findings as one that was never interrupted.
"""

import zstandard

from driftlock.engine.event import StreamKey
from driftlock.engine.lesson_record import lessons_state
from driftlock.engine.limits import MINUTE_NS, Limits
from driftlock.engine.numbers.detector import NumberDetector
from driftlock.engine.numbers.directory import Entry, Seen
from driftlock.engine.numbers.finding import CODEC_VERSION
from driftlock.engine.plausible import check_counts
from driftlock.engine.records import SCHEMA, Damaged, config_message, parse_stored, profile_of
from driftlock.engine.state import STATE_BYTES_MAX, STATE_LEVEL, restored_lessons
from driftlock.engine.verdict import StreamEvent, StreamEventKind
from driftlock.v1 import numbers_pb2, state_pb2


def number_state(detector: NumberDetector) -> bytes:
    """The bytes from which `restore_numbers` continues, together with the states of the series.

    Take summaries first: names of those that were told before series were forgotten are not in it.
    """
    clock, memory = detector.clock, detector.memory
    directory, absences = memory.directory, memory.absences
    disorder, trouble = detector.disorder, detector.trouble
    instances = {name: place for place, name in enumerate(dict.fromkeys(it.instance for it in directory.entries.values()))}
    idle = directory.idle(directory.entries)
    pauses = sorted(absences.pauses.items())
    message = numbers_pb2.NumberState(
        schema=SCHEMA,
        stream=detector.key.text,
        config=config_message(detector.profile),
        codec_version=CODEC_VERSION,
        events=detector.events,
        offset=detector.offset,
        first_minute=None if detector.first_minute < 0 else detector.first_minute,
        late_events=clock.late_events,
        first_event_ns=clock.first_event_ns,
        watermark_ns=clock.watermark_ns,
        receive_timed=clock.receive_timed,
        told_calibrated=detector.told_calibrated,
        restarted=detector.restarted,
        happened=[
            state_pb2.StreamEvent(kind=it.kind, event=it.event, window=it.window, time_ns=it.time_ns, reason=it.reason)
            for it in detector.happened
        ],
        pause_bits=[bits for bits, _ in pauses],
        pause_end_ns=[end_ns for _, end_ns in pauses],
        dropped=sorted(memory.dropped),
        instance=list(instances),
        series=[
            _entry_message(number, entry, absences.seen(number), instances[entry.instance], idle=number in idle)
            for number, entry in directory.entries.items()
        ],
        presence=detector.presence.parts(),
        pooled=memory.gatherer.open_parts(),
        departed=[
            numbers_pb2.DepartedSeries(number=number, instance=instance, name=name)
            for number, (instance, name) in directory.departed.items()
        ],
        open_minute=disorder.open_minute,
        span=disorder.span,
        behind_minutes=[disorder.behind, disorder.behind_before],
        mute=[trouble.points, trouble.shared, trouble.not_finite],
        lessons=lessons_state(detector.lessons),
    )
    return zstandard.ZstdCompressor(level=STATE_LEVEL, write_checksum=True).compress(
        message.SerializeToString(deterministic=True)
    )


def _entry_message(number: int, entry: Entry, seen: Seen, instance: int, *, idle: bool) -> numbers_pb2.SeriesEntry:
    return numbers_pb2.SeriesEntry(
        number=number,
        instance=instance,
        name=entry.name,
        look_ns=entry.look_ns,
        looked_ns=entry.looked_ns,
        points=entry.points,
        settled_ns=entry.settled_ns,
        suspect_ns=entry.suspect_ns,
        lag_ns=entry.lag_ns,
        last_ns=seen.last_ns,
        due_ns=seen.due_ns,
        step_ns=seen.step_ns,
        p_value=seen.p_value,
        learned=seen.points,
        based=entry.based,
        idle=idle,
    )


def restore_numbers(body: bytes, key: StreamKey, seed: int, limits: Limits, *, anew: bool = False) -> NumberDetector:
    """The fold as it was, with no series in memory.

    What another version of the code of numbers learned can not be compared, so then, or with `anew`, all series begin anew.
    Raises `Damaged` when the bytes can not be read, do not fit together or are another stream's, `Internal` when they are of a
    newer schema.
    """
    state = numbers_pb2.NumberState()
    parse_stored(state, body, "checkpoint", STATE_BYTES_MAX)
    if state.stream != key.text:
        raise Damaged(f"checkpoint belongs to {state.stream!r}, not to {key.text!r}")
    try:
        check_counts(state, but=("dropped",))
        for part in state.happened:
            check_counts(part)
        happened = [StreamEvent(StreamEventKind(it.kind), it.event, it.window, it.time_ns, it.reason) for it in state.happened]
    except ValueError as error:
        raise Damaged(f"checkpoint of {key.text!r} does not fit together: {error}") from error
    detector = NumberDetector(key, profile_of(state.config), seed, limits)
    detector.events, detector.offset = state.events, state.offset
    detector.first_minute = state.first_minute if state.HasField("first_minute") else -1
    clock = detector.clock
    clock.late_events, clock.receive_timed = state.late_events, state.receive_timed
    clock.first_event_ns, clock.watermark_ns = state.first_event_ns, state.watermark_ns
    _restore_disorder(detector, state)
    detector.lessons = restored_lessons(state.lessons, key)
    detector.happened = happened
    memory = detector.memory
    memory.dropped = dict.fromkeys(state.dropped)
    if anew or state.codec_version != CODEC_VERSION:
        detector.restarted = True
        memory.dropped.update(dict.fromkeys(it.number for it in state.series))
        return detector
    detector.told_calibrated, detector.restarted = state.told_calibrated, state.restarted
    try:
        detector.presence.restore(state.presence)
        memory.gatherer.open_restore(state.pooled)
        memory.absences.pauses = dict(zip(state.pause_bits, state.pause_end_ns, strict=True))
        memory.directory.restore(
            ((it.number, _entry_from(it, state.instance[it.instance])) for it in state.series),
            {it.number: (it.instance, it.name) for it in state.departed},
            (it.number for it in state.series if it.idle),
        )
        if state.mute:
            detector.trouble.points, detector.trouble.shared, detector.trouble.not_finite = state.mute
    except (ValueError, IndexError) as error:
        raise Damaged(f"checkpoint of {key.text!r} does not fit together: {error}") from error
    return detector


def _restore_disorder(detector: NumberDetector, state: numbers_pb2.NumberState) -> None:
    disorder = detector.disorder
    disorder.open_minute = state.open_minute or detector.clock.watermark_ns // MINUTE_NS
    disorder.span = state.span
    if len(state.behind_minutes) == 2:
        disorder.behind, disorder.behind_before = state.behind_minutes


def _entry_from(it: numbers_pb2.SeriesEntry, instance: str) -> Entry:
    return Entry(
        instance=instance,
        name=it.name,
        look_ns=it.look_ns,
        looked_ns=it.looked_ns,
        points=it.points,
        left=Seen(it.last_ns, it.due_ns, it.step_ns, it.p_value, it.learned),
        settled_ns=it.settled_ns,
        suspect_ns=it.suspect_ns,
        lag_ns=it.lag_ns,
        based=it.based,
    )
