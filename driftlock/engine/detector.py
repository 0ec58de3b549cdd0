"""The fold of one stream: journal records in, findings out. No clock, no I/O; equal records give equal bytes.

records -> cut, mask -> window (newest events) -> every `hop`: code length given the baseline
                            |                         |-> calibrated distance, p-value -> finding
                            └── leave unflagged ──> baseline (prepared once an epoch)
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from uuid import UUID

from cbad_cy.codec import Codec, entropies
from cbad_cy.tokenize import mask
from driftlock.engine.baseline import SEPARATOR, Baseline
from driftlock.engine.calibration import Median, Reference, Surprise, events_until_calibrated
from driftlock.engine.event import RecordBatch, StreamKey
from driftlock.engine.explain import explain
from driftlock.engine.limits import Limits
from driftlock.engine.profile import Profile
from driftlock.engine.verdict import Calibration, Finding, content_id
from driftlock.engine.window import Event, EventClock, cut_lengths

BASELINE_EXCERPT_LINES = 20


def stream_seed(seed: int, key: StreamKey) -> int:
    """The seed of a stream, 64 bits: a function of the configured seed and the stream's key, so replays agree."""
    return int.from_bytes(blake2b(f"{seed}:{key.text}".encode(), digest_size=8).digest(), "little")


def finding_id(stream_id: UUID, window: int) -> UUID:
    """The id of a window's finding: as hard to guess as the stream's random id, and the same on every replay."""
    return content_id(stream_id.bytes + window.to_bytes(8, "little"))


@dataclass(frozen=True, slots=True)
class _Measured:
    """One window in bytes: masked `size`, code length alone (`plain`) and given the baseline; `entropy` in bits per byte."""

    size: int
    plain: int
    given: int
    entropy: float

    @property
    def ratio(self) -> float:
        return self.given / self.plain

    @property
    def compression(self) -> float:
        return self.size / self.plain


@dataclass(frozen=True, slots=True)
class _Judged:
    """Calibrated distance, the ratio that is usual for the stream, and how rare the window is."""

    distance: float
    usual: float
    surprise: Surprise


class Detector:
    """State and fold of one stream.

    The calibrated distance is d = clip((r - r0) / (1 - r0), 0, 1) with r = C(W given B) / C(W) and r0 the stream's own
    median of r over unflagged windows: 0 = as explainable as usual, 1 = nothing is explained. A window is flagged when d
    and its p-value pass the profile's thresholds. Conditional compression as a distance: Cilibrasi and Vitanyi,
    "Clustering by compression", 2005; Keogh, Lonardi and Ratanamahatana, "Towards parameter-free data mining", 2004.
    """

    def __init__(self, key: StreamKey, profile: Profile, seed: int, limits: Limits) -> None:
        self.key = key
        self.profile = profile
        self.seed = stream_seed(seed, key)
        self.limits = limits
        self.events = 0
        self.windows = 0
        self.truncated_events = 0
        self.clock = EventClock(limits)
        self.baseline = Baseline(profile.baseline_size, limits.baseline_bytes_max)
        self.recent: list[Event] = []
        self.reference = Reference(limits)
        self.normal_ratio = Median(limits.normal_windows_max)
        self.normal_compression = Median(limits.normal_windows_max)
        self.normal_entropy = Median(limits.normal_windows_max)

    @property
    def calibration(self) -> Calibration:
        """How far this stream's p-values may be trusted by now."""
        if self.events < self.profile.baseline_size + self.profile.window_size:
            return Calibration.CALIBRATING
        return Calibration.PROVISIONAL if self.events_until_ready else Calibration.OK

    @property
    def events_until_ready(self) -> int:
        """Events until verdicts are calibrated; 0 when they are."""
        return max(0, events_until_calibrated(self.profile, self.limits) - self.events)

    def fold(self, batch: RecordBatch, received_ns: int, codec: Codec) -> list[Finding]:
        """Take the records of one journal row; `received_ns` only bounds which event times are believed."""
        incoming = self._incoming(batch, received_ns)
        missing = max(0, self.profile.baseline_size - self.events)
        if missing:
            self._fill(incoming[:missing])
        return self._slide(incoming[missing:], codec)

    def _incoming(self, batch: RecordBatch, received_ns: int) -> list[Event]:
        times = self.clock.place(batch, received_ns)
        lines = list(batch.lines())
        cut = self._cut_lengths(batch.lengths)
        if cut is not None:
            self.truncated_events += sum(kept < length for kept, length in zip(cut, batch.lengths, strict=True))
            lines = [_cut(line, kept) for line, kept in zip(lines, cut, strict=True)]
        masked, lengths = mask(b"".join(lines), array("I", map(len, lines)), line_bytes_max=self.limits.event_bytes_max)
        events, at = [], 0
        for line, length, placed in zip(lines, lengths, times, strict=True):
            form = masked[at : at + length]
            at += length
            if isinstance(placed, int):
                events.append(Event(line, form, placed))
            else:
                events.append(Event(line, form, placed.time_ns, placed.late, placed.receive_timed))
        _annotate(events, batch)
        return events

    def _cut_lengths(self, lengths: Sequence[int]) -> list[int] | None:
        """Bytes to keep of each event. Those that fill the baseline are in no window yet: only their own bound counts."""
        missing = max(0, self.profile.baseline_size - self.events)
        fills, slides = lengths[:missing], lengths[missing:]
        cut = cut_lengths(slides, [len(event.text) for event in self.recent], self.profile.window_size, self.limits)
        if cut is None and max(fills, default=0) <= self.limits.event_bytes_max:
            return None
        return [min(length, self.limits.event_bytes_max) for length in fills] + list(slides if cut is None else cut)

    def _fill(self, events: Sequence[Event]) -> None:
        self.events += len(events)
        self.baseline.accept([event.masked for event in events])
        if self.events >= self.profile.baseline_size:
            self.baseline.turn_epoch()

    def _slide(self, incoming: list[Event], codec: Codec) -> list[Finding]:
        """Feed events hop by hop; windows that surely share a dictionary are measured in one call into the kernel."""
        findings: list[Finding] = []
        at = 0
        while at < len(incoming):
            first_hop = self._events_until_window()
            within = 1 + (len(incoming) - at - first_hop) // self.profile.hop_size
            if within < 1:
                self._push(incoming[at:])
                break
            hops = min(within, self._windows_until_epoch(first_hop))
            taken = incoming[at : at + first_hop + (hops - 1) * self.profile.hop_size]
            at += len(taken)
            measured = self._measure(self.recent + taken, hops, codec)
            begin = 0
            for hop, window in enumerate(measured):
                end = first_hop + hop * self.profile.hop_size
                self._push(taken[begin:end])
                begin = end
                finding = self._evaluate(window, codec)
                if finding is not None:
                    findings.append(finding)
        return findings

    def _events_until_window(self) -> int:
        past = self.events - self.profile.baseline_size - self.profile.window_size
        return -past if past < 0 else self.profile.hop_size - past % self.profile.hop_size

    def _windows_until_epoch(self, first_hop: int) -> int:
        """Windows that are coded against the present dictionary even if every event that leaves is accepted."""
        room = self.baseline.events_until_epoch() - first_hop
        return 1 + max(0, -(-room // self.profile.hop_size))

    def _push(self, events: Sequence[Event]) -> None:
        self.events += len(events)
        self.recent.extend(events)
        leaving = self.recent[: max(0, len(self.recent) - self.profile.window_size)]
        if leaving:
            del self.recent[: len(leaving)]
            self.baseline.accept([event.masked for event in leaving if not event.flagged])

    def _measure(self, events: Sequence[Event], hops: int, codec: Codec) -> list[_Measured]:
        """Code lengths of the last `hops` windows of `events`, one a hop."""
        first = len(events) - (hops - 1) * self.profile.hop_size - self.profile.window_size
        lines = [event.masked for event in events[first:]]
        offsets, at = [], 0
        for line in lines:
            offsets.append(at)
            at += len(line) + len(SEPARATOR)
        offsets.append(at)
        begins = range(0, hops * self.profile.hop_size, self.profile.hop_size)
        starts = array("I", (offsets[begin] for begin in begins))
        stops = array("I", (offsets[begin + self.profile.window_size] - len(SEPARATOR) for begin in begins))
        text = SEPARATOR.join(lines)
        plain, given = codec.window_sizes(text, starts, stops, self.baseline.prepared(codec))
        entropies_ = entropies(text, starts, stops)
        sizes = (stop - start for start, stop in zip(starts, stops, strict=True))
        return [_Measured(*row) for row in zip(sizes, plain, given, entropies_, strict=True)]

    def _evaluate(self, measured: _Measured, codec: Codec) -> Finding | None:
        """Decide about the window that `recent` holds, learn from it, and turn the epoch when one is full."""
        window = self.windows
        self.windows += 1
        usual = self.normal_ratio.value(measured.ratio)
        distance = min(1.0, max(0.0, (measured.ratio - usual) / (1.0 - usual))) if usual < 1.0 else 0.0
        surprise = self.reference.surprise(measured.given)
        self.reference.add(measured.given)
        finding = None
        if distance >= self.profile.ncd_threshold and surprise.p_value <= self.profile.p_value_threshold:
            finding = self._finding(window, measured, _Judged(distance, usual, surprise), codec)
            for event in self.recent:
                event.flagged = True
        else:
            self.normal_ratio.add(measured.ratio)
            self.normal_compression.add(measured.compression)
            self.normal_entropy.add(measured.entropy)
        if not self.baseline.events_until_epoch():
            self.baseline.turn_epoch()
        return finding

    def _finding(self, window: int, measured: _Measured, judged: _Judged, codec: Codec) -> Finding:
        first = self.events - len(self.recent)
        prepared = self.baseline.prepared(codec)
        told = explain(self.recent, first, self.baseline.dictionary, codec, prepared, self.limits)
        return Finding(
            stream=self.key.text,
            window=window,
            first_event=first,
            last_event=self.events - 1,
            start_ns=min(event.time_ns for event in self.recent),
            end_ns=max(event.time_ns for event in self.recent),
            ncd=judged.distance,
            ncd_threshold=self.profile.ncd_threshold,
            ncd_classical=self._classical(codec, measured.plain),
            p_value=judged.surprise.p_value,
            p_value_threshold=self.profile.p_value_threshold,
            confidence=judged.surprise.confidence,
            ratio=measured.ratio,
            ratio_normal=judged.usual,
            compression_ratio=measured.compression,
            compression_ratio_normal=self.normal_compression.value(measured.compression),
            entropy=measured.entropy,
            entropy_normal=self.normal_entropy.value(measured.entropy),
            profile=self.profile.name,
            calibration=self.calibration,
            codec=codec.name,
            codec_level=codec.level,
            codec_version=codec.version,
            seed=self.seed,
            late_events=sum(event.late for event in self.recent),
            receive_timed=any(event.receive_timed for event in self.recent),
            explanation=told.sentence,
            lines=told.lines,
            window_lines=tuple(_shown(event.text) for event in self.recent),
            baseline_lines=tuple(
                line.decode("utf-8", "replace") for line in self.baseline.dictionary[-BASELINE_EXCERPT_LINES:]
            ),
        )

    def _classical(self, codec: Codec, plain: int) -> float:
        """(C(BW) - min(C(B), C(W))) / max(C(B), C(W)): the textbook distance, near 1 for any small window."""
        past = self.baseline.text()
        joined = SEPARATOR.join((past, *(event.masked for event in self.recent)))
        alone = codec.size(past)
        return (codec.size(joined) - min(alone, plain)) / max(alone, plain)


def _shown(line: bytes) -> str:
    return line.decode("utf-8", "replace")


def _annotate(events: Sequence[Event], batch: RecordBatch) -> None:
    """The optional columns: only batches that have them pay for them."""
    for event, index in zip(events, batch.instance_index, strict=False):
        event.instance = batch.instances[index - 1] if index else ""
    if batch.trace_ids:
        for number, event in enumerate(events):
            event.trace_id = batch.trace_ids[16 * number : 16 * number + 16]


def _cut(line: bytes, length: int) -> bytes:
    """The first `length` bytes, less a UTF-8 character that would be cut in two."""
    if length >= len(line):
        return line
    while length > 0 and line[length] & 0xC0 == 0x80:
        length -= 1
    return line[:length]
