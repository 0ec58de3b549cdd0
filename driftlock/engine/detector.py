"""The fold of one stream: journal records in, findings out. No clock, no I/O; equal records give equal bytes.

records -> place in time, cut, mask -> the sliding window of `cbad_cy.slide` -> flagged windows -> findings
"""

from array import array
from collections.abc import Callable, Sequence
from hashlib import blake2b
from uuid import UUID

from cbad_cy.codec import Codec
from cbad_cy.slide import Slide, Window, largest
from cbad_cy.tokenize import mask
from driftlock.engine.calibration import events_until_calibrated, reference_sizes
from driftlock.engine.event import RecordBatch, StreamKey
from driftlock.engine.explain import explain
from driftlock.engine.limits import Limits
from driftlock.engine.permutation import permutation_test, window_seed
from driftlock.engine.profile import Profile, restarts_calibration
from driftlock.engine.verdict import Calibration, Finding, Observer, WindowScore, content_id
from driftlock.engine.window import Event, EventClock, Incoming, cut_lines, cut_utf8, event_share

BASELINE_EXCERPT_LINES = 20
SEPARATOR = b"\n"


class Abandoned(Exception):
    """Nobody wants the results of this fold any more."""


def stream_seed(seed: int, key: StreamKey) -> int:
    """The seed of a stream, 64 bits: a function of the configured seed and the stream's key, so replays agree."""
    return int.from_bytes(blake2b(f"{seed}:{key.text}".encode(), digest_size=8).digest(), "little")


def finding_id(stream_id: UUID, window: int) -> UUID:
    """The id of a window's finding: as hard to guess as the stream's random id, and the same on every replay."""
    return content_id(stream_id.bytes + window.to_bytes(8, "little"))


def new_slide(profile: Profile, limits: Limits) -> Slide:
    """The empty window and past of a stream under `profile`."""
    size, block, lag = reference_sizes(profile, limits)
    return Slide(
        baseline=profile.baseline_size,
        window=profile.window_size,
        hop=profile.hop_size,
        memory=limits.memory_events,
        past_bytes_max=limits.past_bytes_max,
        reference=size,
        block=block,
        lag=lag,
        normals=limits.normal_windows_max,
    )


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
        self.slide = new_slide(profile, limits)
        self.origin = 0  # events before the present window geometry and codec took hold
        self.recent: list[Event] = []

    @property
    def events(self) -> int:
        """Events folded."""
        return self.origin + self.slide.lines

    @property
    def windows(self) -> int:
        """Windows evaluated; also the number of the next one."""
        return self.slide.windows

    @property
    def calibration(self) -> Calibration:
        """How far this stream's p-values may be trusted by now."""
        if self.slide.lines < self.profile.baseline_size + self.profile.window_size:
            return Calibration.CALIBRATING
        return Calibration.PROVISIONAL if self.events_until_ready else Calibration.OK

    @property
    def events_until_ready(self) -> int:
        """Events until verdicts are calibrated; 0 when they are."""
        return max(0, events_until_calibrated(self.profile, self.limits) - self.slide.lines)

    def configure(self, profile: Profile) -> None:
        """Judge by `profile` from the next record on; where its numbers can not be compared, calibration restarts."""
        if restarts_calibration(self.profile, profile):
            self.origin, windows = self.events, self.windows
            self.slide = new_slide(profile, self.limits)
            self.slide.windows = windows
            self.recent = []
        self.profile = profile

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
        incoming = self._incoming(batch, received_ns)
        first = self.events
        self.slide.feed(incoming.masked, incoming.masked_lengths)
        findings = []
        while True:
            told = self.events
            window = self.slide.advance(
                codec,
                distance_threshold=batch.ncd_threshold or self.profile.ncd_threshold,
                p_value_threshold=batch.p_value_threshold or self.profile.p_value_threshold,
                watch=observer is not None,
            )
            if observer is not None and self.events > told:
                times = incoming.placed.times_ns[told - first : self.events - first]
                observer.events(told, times, self._event_bits(codec))
            if window is None:
                break
            if observer is not None:
                observer.window(self._score(window, self._window_times(incoming, self.events - first)))
            if abandoned():
                raise Abandoned
            if window.flagged:
                events = self._window_events(incoming, self.events - first)
                findings.append(self._finding(window, events, codec, batch))
        held = max(0, min(self.profile.window_size, self.slide.lines - self.profile.baseline_size))
        fresh = incoming.newest(held)
        self.recent = [*self.recent[len(self.recent) - held + len(fresh) :], *fresh] if len(fresh) < held else fresh
        return findings

    def _incoming(self, batch: RecordBatch, received_ns: int) -> Incoming:
        placed = self.clock.place(batch, received_ns)
        text, lengths = batch.text, batch.lengths
        lines = self._cut(batch)
        if lines is not None:
            self.truncated_events += sum(len(line) < length for line, length in zip(lines, lengths, strict=True))
            text, lengths = b"".join(lines), array("I", map(len, lines))
        masked, masked_lengths = mask(text, lengths, line_bytes_max=self.limits.event_bytes_max)
        return Incoming(text, lengths, masked, masked_lengths, placed, batch)

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

    def _event_bits(self, codec: Codec) -> list[int]:
        """Code lengths in bits of the events that were just taken, without what every text costs."""
        overhead = codec.size(b"")
        return [8 * max(0, cost - overhead) for cost in self.slide.line_costs()]

    def _score(self, window: Window, times_ns: Sequence[int]) -> WindowScore:
        return WindowScore(
            window=window.number,
            first_event=self.events - len(times_ns),
            last_event=self.events - 1,
            start_ns=min(times_ns),
            end_ns=max(times_ns),
            bits=8 * window.given,
            ncd=window.distance,
            p_value=window.p_value,
            confidence=window.confidence,
            flagged=window.flagged,
            calibration=self.calibration,
        )

    def _finding(self, window: Window, events: Sequence[Event], codec: Codec, batch: RecordBatch) -> Finding:
        slide, first = self.slide, self.events - len(events)
        known = slide.pool.distinct()
        baseline = [(form, count) for form, count in known if count]
        told = explain(events, first, dict(known), codec, slide.prepared, self.limits)
        lines = [event.masked for event in events]
        permutation = permutation_test(
            lines,
            baseline,
            codec,
            seed=window_seed(self.seed, window.number),
            draws_max=self.profile.permutations_max,
        )
        compression = window.size / window.plain
        return Finding(
            stream=self.key.text,
            window=window.number,
            first_event=first,
            last_event=self.events - 1,
            start_ns=min(event.time_ns for event in events),
            end_ns=max(event.time_ns for event in events),
            ncd=window.distance,
            ncd_threshold=batch.ncd_threshold or self.profile.ncd_threshold,
            ncd_classical=codec.ncd(slide.prepared.source_bytes + SEPARATOR, SEPARATOR.join(lines)),
            p_value=window.p_value,
            p_value_threshold=batch.p_value_threshold or self.profile.p_value_threshold,
            confidence=window.confidence,
            p_permutation=permutation.p_value,
            permutations=permutation.draws,
            ratio=window.given / window.plain,
            ratio_normal=window.usual,
            compression_ratio=compression,
            compression_ratio_normal=slide.compressions.median(compression),
            compression_ratio_p_value=slide.compressions.two_sided(compression),
            entropy=window.entropy,
            entropy_normal=slide.entropies.median(window.entropy),
            entropy_p_value=slide.entropies.two_sided(window.entropy),
            profile=self.profile.name,
            calibration=self.calibration,
            codec=codec.name,
            codec_level=codec.level,
            codec_version=codec.version,
            seed=self.seed,
            late_events=sum(event.late for event in events),
            receive_timed=any(event.receive_timed for event in events),
            explanation=told.sentence,
            lines=told.lines,
            window_lines=tuple(_shown(event.text) for event in events),
            baseline_lines=tuple(_shown(form) for form, _ in baseline[-BASELINE_EXCERPT_LINES:]),
        )


def _shown(line: bytes) -> str:
    return line.decode("utf-8", "replace")
