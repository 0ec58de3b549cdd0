"""What a stream knows of its anchor, to and from messages: its state in checkpoints, and the control records that change it."""

from array import array
from collections.abc import Sequence
from uuid import UUID

from driftlock.engine.anchor import (
    ANCHOR_LINES_MAX,
    DRIFT_NCD_THRESHOLD_MAX,
    DRIFT_NCD_THRESHOLD_MIN,
    Anchor,
    AnchorCause,
    AnchorChange,
    AnchorSettings,
    AnchorSource,
    Freeze,
)
from driftlock.engine.anchoring import Anchoring
from driftlock.engine.drift import DriftSeries, FarWindow, Gathered
from driftlock.v1 import records_pb2, state_pb2


def anchor_message(change: AnchorChange) -> records_pb2.Anchor:
    """A change as it is journaled."""
    message = records_pb2.Anchor(drop=change.drop)
    if change.settings is not None:
        message.settings.CopyFrom(_settings_message(change.settings))
    if change.freeze is not None:
        freeze = change.freeze
        message.freeze.codec, message.freeze.codec_level = freeze.codec, freeze.codec_level
        message.freeze.given, message.freeze.text = freeze.text is not None, freeze.text or b""
        message.freeze.length_column = freeze.lengths.tobytes()
        message.freeze.instead_of = b"" if freeze.instead_of is None else freeze.instead_of.bytes
    return message


def anchor_of_message(message: records_pb2.Anchor) -> AnchorChange:
    """The change that `anchor_message` wrote; ValueError for what does not fit together."""
    settings = _settings_of(message.settings) if message.HasField("settings") else None
    if not message.HasField("freeze"):
        return AnchorChange(settings, message.drop)
    freeze, lengths = message.freeze, _column("I", message.freeze.length_column)
    if sum(lengths) != len(freeze.text) or len(lengths) > ANCHOR_LINES_MAX:
        raise ValueError("the lines of an anchor do not fit together")
    return AnchorChange(
        settings,
        message.drop,
        Freeze(
            text=freeze.text if freeze.given else None,
            lengths=lengths,
            codec=freeze.codec,
            codec_level=freeze.codec_level,
            instead_of=UUID(bytes=freeze.instead_of) if freeze.instead_of else None,
        ),
    )


def anchor_state(anchoring: Anchoring) -> state_pb2.AnchorState | None:
    """What is stored; None where nobody ever said anything of an anchor."""
    if anchoring.anchor is None and anchoring.settings == AnchorSettings():
        return None
    message = state_pb2.AnchorState(settings=_settings_message(anchoring.settings))
    anchor, gathering, series = anchoring.anchor, anchoring.gathering, anchoring.series
    if anchor is None or gathering is None:
        return message
    message.frozen.CopyFrom(_frozen_message(anchor))
    message.next_ns, message.first_event = gathering.next_ns, gathering.first_event
    message.gathered.extend(gathering.lines)
    message.gathered_times = gathering.times_ns.tobytes()
    message.hour_ns, message.since_ns, message.held_hours = series.hour_ns, series.since_ns, series.held_hours
    message.distance.extend(series.distances)
    message.hour_starts = array("Q", (hour_ns for hour_ns, _ in series.recent)).tobytes()
    message.hour_distance.extend(distance for _, distance in series.recent)
    if series.far is not None:
        far = series.far
        message.far.distance, message.far.ratio, message.far.first_event = far.distance, far.ratio, far.window.first_event
        message.far.line.extend(far.window.lines)
        message.far.times = array("Q", far.window.times_ns).tobytes()
    return message


def restore_anchoring(message: state_pb2.AnchorState) -> Anchoring:
    """What `anchor_state` wrote; ValueError for what does not fit together."""
    anchoring = Anchoring()
    anchoring.settings = _settings_of(message.settings)
    if not message.HasField("frozen"):
        return anchoring
    anchoring.take_up(_anchor_of(message.frozen))
    gathering = anchoring.gathering
    if gathering is None:
        raise ValueError("an anchor without anything to compare with it")
    gathering.next_ns, gathering.first_event = message.next_ns, message.first_event
    gathering.lines, gathering.times_ns = list(message.gathered), _column("Q", message.gathered_times)
    starts = _column("Q", message.hour_starts)
    anchoring.series = DriftSeries(
        hour_ns=message.hour_ns,
        distances=list(message.distance),
        far=_far_of(message.far) if message.HasField("far") else None,
        recent=list(zip(starts, message.hour_distance, strict=True)),
        since_ns=message.since_ns,
        held_hours=message.held_hours,
    )
    if len(gathering.lines) != len(gathering.times_ns) or len(gathering.lines) >= gathering.window:
        raise ValueError("the window to compare with an anchor does not fit together")
    return anchoring


def _settings_message(settings: AnchorSettings) -> records_pb2.AnchorSettings:
    return records_pb2.AnchorSettings(drift_ncd_threshold=settings.drift_ncd_threshold, reset_on_drift=settings.reset_on_drift)


def _settings_of(message: records_pb2.AnchorSettings) -> AnchorSettings:
    if not DRIFT_NCD_THRESHOLD_MIN <= message.drift_ncd_threshold <= DRIFT_NCD_THRESHOLD_MAX:
        raise ValueError("the threshold of a drift is out of range")
    return AnchorSettings(message.drift_ncd_threshold, message.reset_on_drift)


def _frozen_message(anchor: Anchor) -> state_pb2.FrozenAnchor:
    return state_pb2.FrozenAnchor(
        id=anchor.anchor_id.bytes,
        seq=anchor.seq,
        frozen_ns=anchor.frozen_ns,
        event=anchor.event,
        source=anchor.source,
        cause=anchor.cause,
        codec=anchor.codec,
        codec_level=anchor.codec_level,
        codec_version=anchor.codec_version,
        window=anchor.window,
        form=anchor.forms,
        line_column=anchor.order.tobytes(),
        own_ratio=anchor.own_ratios,
    )


def _anchor_of(message: state_pb2.FrozenAnchor) -> Anchor:
    order, forms = _column("I", message.line_column), tuple(message.form)
    if max(order, default=0) >= len(forms) or not message.own_ratio or message.window < 1:
        raise ValueError("the lines of an anchor do not fit together")
    return Anchor(
        anchor_id=UUID(bytes=message.id),
        seq=message.seq,
        frozen_ns=message.frozen_ns,
        event=message.event,
        source=AnchorSource(message.source),
        cause=AnchorCause(message.cause),
        codec=message.codec,
        codec_level=message.codec_level,
        codec_version=message.codec_version,
        window=message.window,
        forms=forms,
        order=order,
        own_ratios=tuple(message.own_ratio),
    )


def _far_of(message: state_pb2.FarWindow) -> FarWindow:
    times: Sequence[int] = tuple(_column("Q", message.times))
    if not times or len(times) != len(message.line):
        raise ValueError("the furthest window does not fit together")
    return FarWindow(message.distance, message.ratio, Gathered(message.first_event, tuple(message.line), tuple(times)))


def _column(kind: str, raw: bytes) -> "array[int]":
    """Numbers from their bytes; ValueError where a number is not whole."""
    column = array(kind)
    column.frombytes(raw)
    return column
