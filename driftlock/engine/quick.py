"""Detection inside one short input: its beginning is the past, the rest is judged against it. Pure and deterministic.

The calibrated p-values of a stream need more than a thousand events. A pasted excerpt has not so many, so here a window is
rare when a permutation test says so: lines of the window and of the past are exchanged, and the p-value is the share of
exchanges that are explained as badly. That is exact only if the lines are exchangeable. Bursts are not: on bursty logs it
alarms too often, each window is a test of its own, and therefore all of this is called provisional. And as equal lines
explain each other, one short new line many times over costs little and can pass, where as many different ones do not.
"""

from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from cbad_cy.codec import Codec, Prepared, entropy
from cbad_cy.codelength import Coder, template
from cbad_cy.rank import Sample
from cbad_cy.tokenize import Masks, mask_line
from driftlock.engine.detector import stream_seed
from driftlock.engine.event import RecordBatch, StreamKey
from driftlock.engine.explanation.explain import LineCost, Suspicion, explain
from driftlock.engine.findings import BASELINE_EXCERPT_LINES, SEPARATOR
from driftlock.engine.fresh import STATISTICAL
from driftlock.engine.limits import Limits
from driftlock.engine.masks import compiled
from driftlock.engine.permutation import Permutation, permutation_test, window_seed
from driftlock.engine.profile import CUSTOM, Profile
from driftlock.engine.verdict import Calibration, Finding, Question
from driftlock.engine.window import Event
from driftlock.errors import InvalidArgument, PayloadTooLarge, Unavailable

QUICK_EVENTS_MIN = 16
QUICK_EVENTS_MAX = 20_000
QUICK_WINDOWS_MAX = 5_000
QUICK_BLOCKS_MAX = 16


@dataclass(frozen=True, slots=True)
class QuickResult:
    """What was found in `windows` windows; `profile` was really used: `scaled` = its sizes are smaller than was asked for."""

    profile: Profile
    scaled: bool
    windows: int
    findings: tuple[Finding, ...]


def quick_profile(profile: Profile, events: int) -> Profile:
    """`profile` as it is used for so many events: sizes that do not fit are scaled down, and then it is called `custom`.

    With fewer than `baseline_size + window_size` events the past is the first half, a window an eighth of the events and
    the hop half a window, none of them above its own size in `profile`. Raises `InvalidArgument` for fewer than
    `QUICK_EVENTS_MIN` events, `PayloadTooLarge` for more than `QUICK_EVENTS_MAX`.

    >>> from driftlock.engine.profile import PROFILES
    >>> used = quick_profile(PROFILES["balanced"], 80)
    >>> used.baseline_size, used.window_size, used.hop_size
    (40, 10, 5)
    >>> quick_profile(PROFILES["balanced"], 450).name
    'balanced'
    """
    if events < QUICK_EVENTS_MIN:
        raise InvalidArgument(f"{events} events are too few to compare; send at least {QUICK_EVENTS_MIN} (events_min)")
    if events > QUICK_EVENTS_MAX:
        raise PayloadTooLarge(f"{events} events are more than {QUICK_EVENTS_MAX} (events_max); a stream has no such limit")
    if events >= profile.baseline_size + profile.window_size:
        return profile
    window = min(profile.window_size, events // 8)
    return replace(
        profile,
        name=CUSTOM,
        baseline_size=min(profile.baseline_size, events // 2),
        window_size=window,
        hop_size=min(profile.hop_size, max(1, window // 2)),
    )


def quick_detect(
    key: StreamKey,
    records: RecordBatch,
    profile: Profile,
    *,
    seed: int,
    limits: Limits,
    abandoned: Callable[[], bool] = lambda: False,
) -> QuickResult:
    """Judge the windows of one input by the past inside it. Equal arguments give equal findings.

    The first `baseline_size` events are the past; windows of `window_size` follow every `hop_size` events, and the last one
    ends with the input. A window is flagged when its calibrated distance is at least `ncd_threshold` and its permutation
    p-value at most `p_value_threshold`. Events of flagged windows never enter the past; others do once they have left the
    window, and the newest `baseline_size` are kept. `abandoned` is asked before every window, from the calling thread.

    Raises `InvalidArgument` and `PayloadTooLarge` as `quick_profile` does, `PayloadTooLarge` for more than
    `QUICK_WINDOWS_MAX` windows, and `Unavailable` when it is abandoned.
    """
    used = quick_profile(profile, len(records))
    starts = _starts(len(records), used)
    if len(starts) > QUICK_WINDOWS_MAX:
        raise PayloadTooLarge(
            f"hop_size {used.hop_size} makes {len(starts)} windows, at most {QUICK_WINDOWS_MAX} are judged (windows_max); "
            "use a larger hop_size"
        )
    judge = _Judge(key, used, stream_seed(seed, key), Codec(used.codec, used.level), limits)
    events = _events(records, used, limits, judge.masks)
    accepted = deque((event.masked for event in events[: used.baseline_size]), maxlen=used.baseline_size)
    past = judge.past(accepted)
    findings = []
    flagged = bytearray(len(events))
    left = used.baseline_size
    for number, start in enumerate(starts):
        if abandoned():
            raise Unavailable("the detection was abandoned; send fewer events, a larger hop_size or a lower codec_level")
        leaving = [events[index].masked for index in range(left, start) if not flagged[index]]
        left = start
        if leaving:
            accepted.extend(leaving)
            past = judge.past(accepted)
        window = events[start : start + used.window_size]
        finding = judge.finding(number, start, window, past)
        if finding is not None:
            findings.append(finding)
            flagged[start : start + len(window)] = b"\1" * len(window)
    return QuickResult(used, used != profile, len(starts), tuple(findings))


def _starts(events: int, profile: Profile) -> list[int]:
    """First events of the windows; the last window ends with the input, or its newest events would go untested."""
    last = events - profile.window_size
    starts = list(range(profile.baseline_size, last + 1, profile.hop_size))
    return starts if starts[-1] == last else [*starts, last]


def _events(records: RecordBatch, profile: Profile, limits: Limits, masks: Masks | None) -> list[Event]:
    """The records with their masked forms. A record without a time stands at the latest time before it (0 = none yet).

    Texts are cut at `event_bytes_max`; where a window of such texts would pass `window_bytes_max`, at a window's fair share.
    """
    kept = [min(length, limits.event_bytes_max) for length in records.lengths]
    size = profile.window_size
    held = largest = sum(kept[:size])
    for entering, leaving in zip(kept[size:], kept, strict=False):
        held += entering - leaving
        largest = max(largest, held)
    if largest > limits.window_bytes_max:
        share = max(1, limits.window_bytes_max // size)
        kept = [min(length, share) for length in kept]
    events, latest = [], 0
    for number, (line, length) in enumerate(zip(records.lines(), kept, strict=True)):
        latest = records.times_ns[number] or latest
        text = _cut(line, length)
        index = records.instance_index[number] if records.instance_index else 0
        instance = records.instances[index - 1] if index else ""
        trace_id = records.trace_ids[16 * number : 16 * number + 16]
        events.append(Event(text, mask_line(text, masks=masks), latest, instance=instance, trace_id=trace_id))
    return events


def _cut(line: bytes, length: int) -> bytes:
    """The first `length` bytes, less a UTF-8 character that would be cut in two."""
    while 0 < length < len(line) and line[length] & 0xC0 == 0x80:
        length -= 1
    return line[:length]


@dataclass(frozen=True, slots=True)
class _Measured:
    """Some lines in numbers: C(lines given past)/C(lines), raw/compressed bytes, bits per byte."""

    ratio: float
    compression: float
    entropy: float


@dataclass(frozen=True, slots=True)
class _Past:
    """Accepted lines as a dictionary, and what is usual among them: samples of one number a block."""

    lines: tuple[bytes, ...]
    prepared: Prepared
    ratios: Sample
    compressions: Sample
    entropies: Sample


class _Judge:
    """Verdicts about windows, each given a past; it remembers nothing between them.

    Distance: d = clip((r - r0) / (1 - r0), 0, 1) with r = C(W given B) / C(W) and r0 its median over blocks of the past.
    Conditional compression as a distance: Cilibrasi and Vitanyi, "Clustering by compression", 2005. Leaving one block out
    at a time: Quenouille, "Notes on bias in estimation", 1956. Permutation test: Pitman, "Significance tests which may be
    applied to samples from any populations", 1937.
    """

    def __init__(self, key: StreamKey, profile: Profile, seed: int, codec: Codec, limits: Limits) -> None:
        self._key, self._profile, self._seed, self._codec, self._limits = key, profile, seed, codec, limits
        self.masks = compiled(profile.masks)

    def past(self, accepted: Sequence[bytes]) -> _Past:
        """What is usual for `accepted`, by jackknife: blocks as long as a window, each measured against the other lines.

        At most half of the lines are one block, so that there is something to compare it with, and at most
        `QUICK_BLOCKS_MAX` blocks, evenly spread, are measured.
        """
        lines = _newest(accepted, self._limits.past_bytes_max)
        past = _Past(lines, self._prepare(lines), *(Sample(QUICK_BLOCKS_MAX) for _ in range(3)))
        for block, rest in _blocks(lines, self._profile.window_size):
            measured = self._measure(block, self._prepare(rest))
            past.ratios.add(measured.ratio)
            past.compressions.add(measured.compression)
            past.entropies.add(measured.entropy)
        return past

    def finding(self, number: int, first: int, window: Sequence[Event], past: _Past) -> Finding | None:
        """The finding about a window; None when it is as usual. `first` is the index of its first event."""
        lines = [event.masked for event in window]
        measured = self._measure(lines, past.prepared)
        usual = past.ratios.median(measured.ratio)
        distance = min(1.0, max(0.0, (measured.ratio - usual) / (1.0 - usual))) if usual < 1.0 else 0.0
        if distance < self._profile.ncd_threshold:
            return None
        permutation = self._permuted(lines, number, past)
        if permutation.p_value > self._profile.p_value_threshold:
            return None
        return self._finding(number, first, window, past, measured, distance, permutation)

    def _permuted(self, lines: Sequence[bytes], number: int, past: _Past) -> Permutation:
        """The test of some lines; nothing at all is as usual."""
        if not lines:
            return Permutation(1.0, 0, 0)
        return permutation_test(
            lines,
            list(Counter(past.lines).items()),
            self._codec,
            seed=window_seed(self._seed, number),
            draws_max=self._profile.permutations_max,
        )

    def _line_costs(self, lines: Sequence[bytes], past: _Past) -> list[LineCost]:
        """What each line costs given the past; only the statistical coder tells of which of its tokens."""
        if self._codec.name == STATISTICAL:
            return _coded(lines, past.lines)
        stops = array("I", accumulate(map(len, lines)))
        starts = array("I", [0, *stops[:-1]])
        nothing = self._codec.size(b"")
        sizes = self._codec.sizes_given(b"".join(lines), starts, stops, past.prepared)
        return [LineCost(8.0 * max(0, size - nothing)) for size in sizes]

    def _finding(
        self,
        number: int,
        first: int,
        window: Sequence[Event],
        past: _Past,
        measured: _Measured,
        distance: float,
        permutation: Permutation,
    ) -> Finding:
        profile, codec = self._profile, self._codec
        lines = [event.masked for event in window]
        told = explain(
            window,
            first,
            Counter(past.lines),
            self._line_costs(lines, past),
            Suspicion(Question.NOVELTY),
            lambda places: self._permuted([line for at, line in enumerate(lines) if at not in places], number, past).p_value,
            alpha=profile.p_value_threshold,
            limits=self._limits,
            seed=window_seed(self._seed, number),
            stream=self._key.service,
            masks=self.masks,
        )
        times = [event.time_ns for event in window if event.time_ns] or [0]
        return Finding(
            stream=self._key.text,
            window=number,
            first_event=first,
            last_event=first + len(window) - 1,
            start_ns=min(times),
            end_ns=max(times),
            ncd=distance,
            ncd_threshold=profile.ncd_threshold,
            ncd_classical=codec.ncd(past.prepared.source_bytes + SEPARATOR, SEPARATOR.join(lines)),
            p_value=permutation.p_value,
            p_value_threshold=profile.p_value_threshold,
            confidence=sum(ratio < measured.ratio for ratio in past.ratios.values()) / len(past.ratios),
            p_permutation=permutation.p_value,
            permutations=permutation.draws,
            ratio=measured.ratio,
            ratio_normal=past.ratios.median(measured.ratio),
            compression_ratio=measured.compression,
            compression_ratio_normal=past.compressions.median(measured.compression),
            compression_ratio_p_value=past.compressions.two_sided(measured.compression),
            entropy=measured.entropy,
            entropy_normal=past.entropies.median(measured.entropy),
            entropy_p_value=past.entropies.two_sided(measured.entropy),
            profile=profile.name,
            calibration=Calibration.PROVISIONAL,
            codec=codec.name,
            codec_level=codec.level,
            codec_version=codec.version,
            seed=self._seed,
            late_events=0,
            receive_timed=False,
            explanation=told.sentence,
            lines=told.lines,
            missing=told.missing,
            instances=told.instances,
            p_without=told.p_without,
            p_without_others=told.p_without_others,
            verified=told.verified,
            window_lines=tuple(_shown(event.text) for event in window),
            baseline_lines=tuple(_shown(line) for line in past.lines[-BASELINE_EXCERPT_LINES:]),
        )

    def _prepare(self, lines: Sequence[bytes]) -> Prepared:
        return self._codec.prepare(SEPARATOR.join(lines))

    def _measure(self, lines: Sequence[bytes], prepared: Prepared) -> _Measured:
        text = SEPARATOR.join(lines)
        plain = self._codec.size(text)
        return _Measured(self._codec.size_given(text, prepared) / plain, len(text) / plain, entropy(text))


def _coded(lines: Sequence[bytes], past: Sequence[bytes]) -> list[LineCost]:
    """What each of `lines` costs a coder that has learned `past`, masked values left out; dear tokens of new ones."""
    coder = Coder()
    coder.code(b"".join(past), array("I", map(len, past)), array("Q"), array("B", bytes(len(past))), context=0, learn=True)
    costs, before = [], 0
    for line in lines:
        found = coder.explain(line, array("Q"), context=before)
        costs.append(LineCost(found.total, tuple(found.tokens) if found.new else ()))
        before = template(line)
    return costs


def _newest(lines: Sequence[bytes], bytes_max: int) -> tuple[bytes, ...]:
    """The newest lines that fit, in their order; at least two."""
    room, kept = bytes_max, list[bytes]()
    for line in reversed(lines):
        room -= len(line) + len(SEPARATOR)
        if room < 0 and len(kept) >= 2:
            break
        kept.append(line)
    return tuple(reversed(kept))


def _blocks(lines: Sequence[bytes], size: int) -> Iterator[tuple[Sequence[bytes], Sequence[bytes]]]:
    """Neighbouring lines, and all the others; the newest lines are in a block, an older remainder in none."""
    size = min(size, len(lines) // 2)
    count = len(lines) // size
    chosen = range(count) if count <= QUICK_BLOCKS_MAX else (n * count // QUICK_BLOCKS_MAX for n in range(QUICK_BLOCKS_MAX))
    for number in chosen:
        stop = len(lines) - number * size
        yield lines[stop - size : stop], (*lines[: stop - size], *lines[stop:])


def _shown(line: bytes) -> str:
    return line.decode("utf-8", "replace")
