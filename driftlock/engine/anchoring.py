"""What a stream of lines does with its anchor: takes what people say of it, compares windows with it, tells what came of that.

A stream without an anchor does nothing here. Nothing here changes what is said of the stream's own windows.
"""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from cbad_cy.codec import Codec, Prepared
from cbad_cy.tokenize import Masks, mask
from driftlock.engine.anchor import (
    SEPARATOR,
    Anchor,
    AnchorCause,
    AnchorChange,
    AnchorEnd,
    AnchorNote,
    AnchorSettings,
    AnchorSource,
    AnchorStanding,
    Freeze,
    anchor_id_of,
    distinct,
    kept_lines,
    line_share,
    note_of,
    own_ratios,
)
from driftlock.engine.drift import DRIFT_HOURS, HOUR_NS, RECOVERY_SHARE, Closed, DriftHour, DriftSeries, FarWindow, Gathering
from driftlock.engine.drift_finding import DriftContext, drift_finding
from driftlock.engine.verdict import Finding, StreamEvent, StreamEventKind
from driftlock.engine.window import Incoming

CodecOf = Callable[[str, int], Codec]
"""The codec of a name and a level, with contexts of the calling thread."""

REASONS = {
    AnchorEnd.RESET: "another one was frozen",
    AnchorEnd.DRIFT: "the stream had drifted from it for long: another one was frozen by itself",
    AnchorEnd.DROPPED: "it was dropped",
    AnchorEnd.MASKS: "other masks are in force, and lines that are masked otherwise can not be compared with it",
    AnchorEnd.LOST: "what the stream had learned can not be read",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a change takes hold: the row `seq` of the stream, after `event` events, the newest of which was at `at_ns`."""

    stream_id: UUID
    seq: int
    event: int
    at_ns: int


@dataclass(frozen=True, slots=True)
class Told:
    """What is to be shown: anchors as they are now, and hours that have closed.

    `lost`: the state that knew of the stream's anchor can not be read; `kept` is in force all the same (None = none is), and
    `settings` are.
    """

    notes: tuple[AnchorNote, ...] = ()
    hours: tuple[DriftHour, ...] = ()
    lost: bool = False
    kept: UUID | None = None
    settings: AnchorSettings = field(default_factory=AnchorSettings)

    def __bool__(self) -> bool:
        return bool(self.notes or self.hours or self.lost)


class Anchoring:
    """The anchor of one stream, its settings and the drift from it."""

    def __init__(self) -> None:
        self.settings = AnchorSettings()
        self.anchor: Anchor | None = None
        self.gathering: Gathering | None = None
        self.series = DriftSeries()
        self._prepared: Prepared | None = None
        self._notes: list[AnchorNote] = []
        self._hours: list[DriftHour] = []
        self._lost = False

    # ---- what people say ---------------------------------------------------------------------------------------------

    def apply(
        self,
        change: AnchorChange,
        place: Place,
        *,
        window: int,
        event_bytes_max: int,
        baseline: Callable[[], Sequence[bytes]],
        masks: Masks | None,
        codec_of: CodecOf,
    ) -> None:
        """Take a control record. `window` lines are compared with an anchor that it freezes, from the accepted `baseline`.

        Lines that come with it are masked by `masks`, as far as `event_bytes_max` of each.
        """
        if change.settings is not None:
            self.settings = change.settings
        if change.drop:
            self.end(AnchorEnd.DROPPED, place.at_ns)
        if change.freeze is not None and self._wanted(change.freeze):
            freeze = change.freeze
            if freeze.text is None:
                self._freeze(freeze, place, window, baseline(), codec_of)
            else:
                given = _masked(freeze.text, freeze.lengths, event_bytes_max, masks)
                self._freeze(freeze, place, window, given, codec_of)

    def _wanted(self, freeze: Freeze) -> bool:
        """Whether what a freeze supposes is so: one that happens by itself is for one anchor, and for a drift that goes on."""
        if freeze.instead_of is None:
            return True
        return self.anchor is not None and self.anchor.anchor_id == freeze.instead_of and self.series.since_ns > 0

    def _freeze(self, freeze: Freeze, place: Place, window: int, found: Sequence[bytes], codec_of: CodecOf) -> None:
        lines = kept_lines(found, window)
        codec = codec_of(freeze.codec, freeze.codec_level)
        forms, order = distinct(lines)
        anchor = Anchor(
            anchor_id=anchor_id_of(place.stream_id, place.seq),
            seq=place.seq,
            frozen_ns=place.at_ns,
            event=place.event,
            source=AnchorSource.BASELINE if freeze.text is None else AnchorSource.EVENTS,
            cause=AnchorCause.REQUEST if freeze.instead_of is None else AnchorCause.DRIFT,
            codec=codec.name,
            codec_level=codec.level,
            codec_version=codec.version,
            window=window,
            forms=forms,
            order=order,
            own_ratios=own_ratios(codec, lines, window) if len(lines) >= max(2, window) else (1.0,),
        )
        if len(lines) < max(2, window):
            reason = f"{len(lines)} lines could be frozen; a window of this stream alone has {window}"
            self._notes.append(replace(note_of(anchor), standing=AnchorStanding.REFUSED, reason=reason))
            return
        self.end(AnchorEnd.RESET if freeze.instead_of is None else AnchorEnd.DRIFT, place.at_ns)
        self.take_up(anchor)
        self._notes.append(note_of(anchor))

    def take_up(self, anchor: Anchor) -> None:
        """Compare with `anchor` from here on; nothing is known of a drift yet."""
        self.anchor, self._prepared, self.series = anchor, None, DriftSeries()
        self.gathering = Gathering(anchor.window, line_share(anchor.window))

    def end(self, because: AnchorEnd, at_ns: int) -> bool:
        """Compare no more; false when there is no anchor."""
        anchor = self.anchor
        if anchor is None:
            return False
        self._notes.append(
            replace(
                note_of(anchor),
                standing=AnchorStanding.ENDED,
                ended_ns=at_ns,
                ended_because=because,
                reason=REASONS[because],
            )
        )
        self.anchor = self.gathering = self._prepared = None
        self.series = DriftSeries()
        return True

    def masked_anew(self, event: int, window: int, at_ns: int) -> list[StreamEvent]:
        """Other masks are in force: the anchor ends, for its lines are not like others any more. What is to be told of it."""
        if not self.end(AnchorEnd.MASKS, at_ns):
            return []
        return [StreamEvent(StreamEventKind.ANCHOR_ENDED, event, window, at_ns, f"its anchor ends: {REASONS[AnchorEnd.MASKS]}")]

    def lost(self) -> None:
        """What is shown of anchors may not be what is known here: an earlier state of the stream, or none, was taken up."""
        self._lost = True

    # ---- what records say --------------------------------------------------------------------------------------------

    def gather(self, incoming: Incoming, first: int) -> None:
        """Take what is to be compared of the records that come in; the first of them is the stream's `first`."""
        if self.gathering is not None:
            self.gathering.gather(incoming, first)

    def judge(self, codec_of: CodecOf, context_at: Callable[[int], DriftContext]) -> tuple[list[Finding], list[StreamEvent]]:
        """Compare what was gathered: a finding where a drift begins, an event where one ends, each with its hour.

        `context_at(event)` says what a finding needs to know of the stream as it was at that event.
        """
        findings: list[Finding] = []
        events: list[StreamEvent] = []
        if self.gathering is None or self.anchor is None:
            return findings, events
        for window in self.gathering.take():
            codec = codec_of(self.anchor.codec, self.anchor.codec_level)
            anchor, prepared = self._measured(self.anchor, codec)
            ratio = codec.ratio_given(SEPARATOR.join(window.lines), prepared)
            far = FarWindow(anchor.distance(ratio), ratio, window)
            closed = self.series.add(far, anchor.anchor_id, self.settings.drift_ncd_threshold)
            if closed is None:
                continue
            self._hours.append(closed.hour)
            context = context_at(window.first_event + len(window.lines) - 1)
            if closed.began:
                first_ns, threshold = self.series.recent[0][0], self.settings.drift_ncd_threshold
                findings.append(drift_finding(closed.hour, first_ns, threshold, closed.far, anchor, codec, prepared, context))
            if closed.ended:
                events.append(self._recovered(closed, context))
        return findings, events

    def _measured(self, anchor: Anchor, codec: Codec) -> tuple[Anchor, Prepared]:
        """The anchor as `codec` measures it: anew when another version of it did before, for sizes may differ between them."""
        if anchor.codec_version != codec.version:
            ratios = own_ratios(codec, anchor.lines, anchor.window)
            anchor = self.anchor = replace(anchor, codec_version=codec.version, own_ratios=ratios)
            self._prepared = None
            self._notes.append(note_of(anchor))
        if self._prepared is None:
            self._prepared = anchor.prepared(codec)
        return anchor, self._prepared

    def _recovered(self, closed: Closed, context: DriftContext) -> StreamEvent:
        below = RECOVERY_SHARE * self.settings.drift_ncd_threshold
        reason = (
            f"in the last {DRIFT_HOURS} hours with events its lines were {closed.hour.recent or 0.0:.2f} away from its anchor"
        )
        end_ns = closed.hour.hour_ns + HOUR_NS
        kind = StreamEventKind.DRIFT_ENDED
        return StreamEvent(kind, context.event, context.window, end_ns, f"{reason}, less than {below:.2f}: it is like it again")

    def take(self, seq: int) -> Told:
        """What came of the row `seq` is to be shown, once."""
        notes = tuple(replace(note, ended_seq=seq) if note.standing is AnchorStanding.ENDED else note for note in self._notes)
        kept = None if self.anchor is None else self.anchor.anchor_id
        told = Told(notes, tuple(self._hours), self._lost, kept, self.settings)
        if told.lost and self.anchor is not None and kept not in {note.anchor_id for note in notes}:
            told = replace(told, notes=(note_of(self.anchor), *notes))
        self._notes, self._hours, self._lost = [], [], False
        return told


def _masked(text: bytes, lengths: "array[int]", line_bytes_max: int, masks: Masks | None) -> list[bytes]:
    found, stops = mask(text, lengths, line_bytes_max=line_bytes_max, masks=masks)
    lines, at = [], 0
    for length in stops:
        lines.append(found[at : at + length])
        at += length
    return lines
