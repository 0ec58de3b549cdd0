"""The fold of one stream: journal records in, findings out. No clock, no I/O; equal records give equal bytes.

records -> place in time, cut, mask -> the sliding window of `cbad_cy.slide` -> flagged windows -> findings
"""

from array import array
from collections.abc import Callable, Sequence
from hashlib import blake2b
from uuid import UUID

from cbad_cy.codec import Codec
from cbad_cy.codelength import BIT
from cbad_cy.columns import largest, looked_up
from cbad_cy.slide import MinuteTold, Window, minutes_of
from cbad_cy.tokenize import Masks, mask_with_slots
from driftlock.engine.anchoring import Anchoring
from driftlock.engine.baseline import Baseline
from driftlock.engine.event import RecordBatch, StreamKey
from driftlock.engine.findings import Context, finding_of, instance_number
from driftlock.engine.fold import Abandoned, Summary
from driftlock.engine.fresh import new_interactions, new_slide
from driftlock.engine.interaction_finding import interaction_finding
from driftlock.engine.lessons import Lessons
from driftlock.engine.limits import Limits
from driftlock.engine.masks import compiled
from driftlock.engine.numbers.finding import NumberContext
from driftlock.engine.numbers.level import alarm_level
from driftlock.engine.presence import LineColumns, LinePresence
from driftlock.engine.profile import Profile, restarts_calibration
from driftlock.engine.verdict import Calibration, Finding, Observer, Question, StreamEvent, WindowScore, content_id
from driftlock.engine.window import Event, EventClock, Incoming, cut_lines, cut_utf8, event_share

ODD_INTERACTIONS_SHARE = 0.05
"""From this share of alarms on, interactions of a stream are too unlike each other to tell what is usual."""


def stream_seed(seed: int, key: StreamKey) -> int:
    """The seed of a stream, 64 bits: a function of the configured seed and the stream's key, so replays agree."""
    return int.from_bytes(blake2b(f"{seed}:{key.text}".encode(), digest_size=8).digest(), "little")


def finding_id(stream_id: UUID, window: int, interaction: int = -1) -> UUID:
    """The id of a finding: as hard to guess as the stream's random id, and the same on every replay."""
    if interaction >= 0:
        return content_id(stream_id.bytes + b"interaction" + interaction.to_bytes(8, "little"))
    return content_id(stream_id.bytes + window.to_bytes(8, "little"))


def instance_numbers(batch: RecordBatch) -> "array[int] | None":
    """A number for the instance of each record, 0 for none; None when no record has one."""
    if not batch.instance_index:
        return None
    return looked_up(array("Q", [0, *map(instance_number, batch.instances)]), batch.instance_index)


class Detector:
    """State and fold of one stream.

    The calibrated distance is d = clip((r - r0) / (1 - r0), 0, 1) with r = C(W given B) / C(W) and r0 the stream's own
    median of r over unflagged windows: 0 = as explainable as usual, 1 = nothing is explained. A window is flagged when d
    and its p-value pass the profile's thresholds. All that is done for every event and window happens in `cbad_cy.slide`;
    what is done here for a single event is done for those of flagged windows only.
    """

    def __init__(self, key: StreamKey, profile: Profile, seed: int, limits: Limits) -> None:
        self.key = key
        self.profile = profile
        self.seed = stream_seed(seed, key)
        self.limits = limits
        self.truncated_events = 0
        self.clock = EventClock(limits)
        self.lessons = Lessons()
        self.slide = new_slide(profile, limits, key.signal)
        self.baseline = Baseline(self.slide, profile, limits)
        self.presence = LinePresence(key.service)
        self.anchoring = Anchoring()
        self._recent: list[Event] = []
        self._newest: Incoming | None = None  # in place of them
        self.interactions = new_interactions(profile, limits)
        self.interactions_found = 0  # ever
        self.masks: Masks | None = compiled(profile.masks)
        self._minutes: list[MinuteTold] = []  # of the newest records; belongs to no state

    @property
    def events(self) -> int:
        """Events folded."""
        return self.baseline.events

    @property
    def windows(self) -> int:
        """Windows evaluated; also the number of the next one."""
        return self.slide.windows

    @property
    def calibration(self) -> Calibration:
        """How far this stream's p-values may be trusted by now."""
        return self.baseline.calibration

    @property
    def calibration_reason(self) -> str:
        """Why, in one plain sentence."""
        return self.baseline.calibration_reason

    @property
    def due_ns(self) -> int:
        """The wall-clock time from which on the silence of the stream is worth telling; 0 = never."""
        return self.presence.due_ns

    @property
    def health(self) -> tuple[Calibration, str]:
        """Calibration and its reason, interactions taken into account: for people, as it depends on how far one has read."""
        odd = 0.0 if self.interactions is None else self.interactions.keys.alarm_share
        if self.calibration is Calibration.OK and odd > ODD_INTERACTIONS_SHARE:
            return Calibration.DEGRADED, f"{100 * odd:.1f} % of the interactions went unlike the others: there is no usual one"
        return self.calibration, self.calibration_reason

    @property
    def events_until_ready(self) -> int:
        """Events until verdicts are calibrated; 0 when they are."""
        return self.baseline.events_until_ready

    def number_from(self, windows: int) -> None:
        """Number windows and interactions from here on: an earlier state is lost."""
        self.slide.windows = self.interactions_found = windows

    def configure(self, profile: Profile) -> None:
        """Judge by `profile` from the next record on; where its numbers can not be compared, calibration restarts."""
        if restarts_calibration(self.profile, profile):
            windows = self.windows
            self.slide = new_slide(profile, self.limits, self.key.signal)
            self.slide.windows = windows
            self.baseline.restart(self.slide, profile)
            self.recent = []
        if profile.masks != self.profile.masks:
            self.masks = compiled(profile.masks)
            self.presence.forget_lines()
            self.baseline.happened += self.anchoring.masked_anew(self.events, self.windows, self.clock.watermark_ns)
        if profile.group_by != self.profile.group_by:
            self.interactions = new_interactions(profile, self.limits)
        self.profile = self.baseline.profile = profile

    def fold(
        self,
        batch: RecordBatch,
        received_ns: int,
        codec: Codec,
        observer: Observer | None = None,
        abandoned: Callable[[], bool] = lambda: False,
    ) -> list[Finding]:
        """Take the records of one journal row; `received_ns` only bounds which event times are believed.

        `codec` is the profile's, of the calling thread. An observer sees every event and window; that costs time and
        changes no verdict. Raises `Abandoned` before the next finding when `abandoned()` says so; then the state is worthless.
        """
        if self.baseline.origin and not self.slide.lines and batch.lengths:
            self.baseline.tell_restart(self.clock.watermark_ns)
        incoming = self._incoming(batch, received_ns)
        first = self.events
        self.slide.feed(incoming.masked, incoming.masked_lengths, incoming.slots, incoming.slot_counts, instance_numbers(batch))
        findings = []
        while True:
            told = self.events
            window = self.slide.advance(
                codec,
                distance_threshold=batch.ncd_threshold or self.profile.ncd_threshold,
                p_value_threshold=batch.p_value_threshold or self.profile.p_value_threshold,
                watch=observer is not None,
                look_at=self.baseline.look_at(),
            )
            self.baseline.ready(incoming.placed.times_ns, told - first, self.events - first)
            if observer is not None and self.events > told:
                times = incoming.placed.times_ns[told - first : self.events - first]
                observer.events(told, times, self._event_bits(codec))
            if window is None:
                break
            end_ns = incoming.placed.times_ns[self.events - first - 1]
            if observer is not None:
                observer.window(self._score(window, self._window_times(incoming, self.events - first)))
            if abandoned():
                raise Abandoned
            self.baseline.looked(window, end_ns)
            if window.flagged:
                events = self._window_events(incoming, self.events - first)
                self.baseline.flagged(window, end_ns)
                findings.append(finding_of(window, events, self.slide, codec, self._context(batch)))
        self._minutes = minutes_of(incoming.placed.times_ns, self.slide)
        findings += self._interactions(incoming, first, codec, batch)
        findings += self._presence(incoming, first, received_ns)
        findings.sort(key=lambda finding: (finding.last_event, finding.interaction))
        self.anchoring.gather(incoming, first)
        held = max(0, min(self.profile.window_size, self.slide.lines - self.profile.baseline_size))
        self._remember(incoming, held)
        return findings

    @property
    def recent(self) -> list[Event]:
        """The events that the next window may hold too, oldest first."""
        if self._newest is not None:
            self._recent, self._newest = self._newest.events(0, len(self._newest)), None
        return self._recent

    @recent.setter
    def recent(self, events: list[Event]) -> None:
        self._recent, self._newest = events, None

    def _remember(self, incoming: Incoming, held: int) -> None:
        """Keep the last `held` events; where all are of this batch they stay columns until somebody asks for them."""
        if len(incoming) >= held > 0:
            self._recent, self._newest = [], incoming.newest(held)
        elif not held:
            self.recent = []
        else:
            self.recent = [*self.recent[len(self.recent) - held + len(incoming) :], *incoming.events(0, len(incoming))]

    def _interactions(self, incoming: Incoming, first: int, codec: Codec, batch: RecordBatch) -> list[Finding]:
        """What the records say of the interactions that they belong to."""
        if self.interactions is None or not len(incoming):
            return []
        found = self.interactions.fold(
            incoming.text,
            incoming.lengths,
            incoming.placed.times_ns,
            trace_ids=batch.trace_ids,
            first_event=first,
            p_value_threshold=batch.p_value_threshold or self.profile.p_value_threshold,
            masks=self.masks,
        )
        context = self._context(batch)
        findings = []
        for verdict in found:
            window = max(0, self.windows_by(verdict.at_event) - 1)
            number, self.interactions_found = self.interactions_found, self.interactions_found + 1
            finding = interaction_finding(verdict, window, number, codec, context)
            findings += [finding] if finding.ncd >= context.ncd_threshold else []
        return findings

    def windows_by(self, event: int) -> int:
        """How many windows ended with this event or before it, of those evaluated by now."""
        before = (
            self.windows
            - max(0, self.slide.lines - self._first_window()) // self.profile.hop_size
            - (self.slide.lines >= self._first_window())
        )
        line = event - self.baseline.origin + 1
        reached = 0 if line < self._first_window() else (line - self._first_window()) // self.profile.hop_size + 1
        return before + reached

    def _first_window(self) -> int:
        return self.profile.baseline_size + self.profile.window_size

    def _incoming(self, batch: RecordBatch, received_ns: int) -> Incoming:
        placed = self.clock.place(batch, received_ns)
        text, lengths = batch.text, batch.lengths
        lines = self._cut(batch)
        if lines is not None:
            self.truncated_events += sum(len(line) < length for line, length in zip(lines, lengths, strict=True))
            text, lengths = b"".join(lines), array("I", map(len, lines))
        masked, masked_lengths, slots, slot_counts = mask_with_slots(
            text, lengths, line_bytes_max=self.limits.event_bytes_max, masks=self.masks
        )
        return Incoming(text, lengths, masked, masked_lengths, slots, slot_counts, placed, batch)

    def _cut(self, batch: RecordBatch) -> list[bytes] | None:
        """The lines as they are kept, or None when all are kept whole.

        Those that fill the baseline are in no window yet: only their own bound counts.
        """
        size, limits = self.profile.window_size, self.limits
        if largest(batch.lengths) <= event_share(size, limits):
            return None
        missing = max(0, self.profile.baseline_size - self.slide.lines)
        lines = list(batch.lines())
        fills = [cut_utf8(line, limits.event_bytes_max) for line in lines[:missing]]
        return fills + cut_lines(lines[missing:], [len(event.text) for event in self.recent], size, limits)

    def _window_events(self, incoming: Incoming, taken: int) -> list[Event]:
        """The events of the window that ends with the `taken`-th incoming one."""
        fresh = incoming.events(max(0, taken - self.profile.window_size), taken)
        missing = self.profile.window_size - len(fresh)
        return [*self.recent[len(self.recent) - missing :], *fresh] if missing else fresh

    def _window_times(self, incoming: Incoming, taken: int) -> list[int]:
        """The event times of the same."""
        fresh = incoming.placed.times_ns[max(0, taken - self.profile.window_size) : taken]
        missing = self.profile.window_size - len(fresh)
        return [event.time_ns for event in self.recent[len(self.recent) - missing :]] * (missing > 0) + list(fresh)

    def _event_bits(self, codec: Codec) -> list[float]:
        """Code lengths in bits of the events that were just taken; under a compressor without what every text costs."""
        if self.slide.content.coder is not None:
            return [cost / BIT for cost in self.slide.line_costs()]
        overhead = 8 * codec.size(b"")
        return [max(0, cost // BIT - overhead) for cost in self.slide.line_costs()]

    def _score(self, window: Window, times_ns: Sequence[int]) -> WindowScore:
        return WindowScore(
            window=window.number,
            first_event=self.events - len(times_ns),
            last_event=self.events - 1,
            start_ns=min(times_ns),
            end_ns=max(times_ns),
            bits=window.bits,
            ncd=window.distance,
            p_value=window.p_value,
            confidence=window.confidence,
            flagged=window.flagged,
            calibration=self.calibration,
            surprise=window.surprise,
            question=Question(window.question),
        )

    def _context(self, batch: RecordBatch) -> Context:
        return Context(
            stream=self.key.text,
            service=self.key.service,
            origin=self.baseline.origin,
            profile=self.profile,
            ncd_threshold=batch.ncd_threshold or self.profile.ncd_threshold,
            p_value_threshold=batch.p_value_threshold or self.profile.p_value_threshold,
            seed=self.seed,
            calibration=self.calibration,
            calibration_reason=self.calibration_reason,
            first_event_ns=self.clock.first_event_ns,
            receive_timed=self.clock.receive_timed,
            limits=self.limits,
            masks=self.masks,
        )

    # ---- what does not come, and what comes too often -------------------------------------------------------------------

    def _presence(self, incoming: Incoming, first: int, received_ns: int) -> list[Finding]:
        """What the records, of which the first is the stream's `first`, say of its silences and of its rate."""
        batch, placed = incoming.batch, incoming.placed
        lines = LineColumns(placed.times_ns, self.slide.templates(len(incoming)), incoming.masked, incoming.masked_lengths)
        return self.presence.took_lines(
            lines,
            received_ns,
            historical=batch.historical,
            alarm_level=alarm_level(batch.p_value_threshold or self.profile.p_value_threshold),
            context_at=lambda record: self._number_context(
                first + record, receive_timed=bool(placed.receive_timed and placed.receive_timed[record])
            ),
        )

    def _number_context(self, event: int, *, receive_timed: bool) -> NumberContext:
        return NumberContext(
            stream=self.key.text,
            profile=self.profile,
            p_value_threshold=self.profile.p_value_threshold,
            seed=self.seed,
            window=max(0, self.windows_by(event) - 1),
            event=event,
            receive_timed=receive_timed,
        )

    def silence(self, now_ns: int) -> Finding | None:
        """The finding that nothing has come although it should have, by a journaled clock; None before `due_ns`."""
        if not 0 < self.due_ns <= now_ns:
            return None
        return self.presence.silence(now_ns, self._number_context(max(0, self.events - 1), receive_timed=True))

    def take_events(self) -> tuple[StreamEvent, ...]:
        """What happened since the last call."""
        return self.baseline.take_events()

    def take_summaries(self) -> tuple[Summary, ...]:
        """None: a stream of lines has no series but its own rate."""
        return ()

    def take_minutes(self) -> list[MinuteTold]:
        """The minutes of the newest records, and how windows scored in them."""
        told, self._minutes = self._minutes, []
        return told
