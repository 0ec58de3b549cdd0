"""The fold of one stream."""

import itertools
import json
from array import array
from collections.abc import Sequence

import pytest

from cbad_cy.codec import CODECS, Codec
from cbad_cy.tokenize import mask_with_slots
from driftlock.engine.calibration import events_until_first_alarm
from driftlock.engine.detector import Detector, new_slide, stream_seed
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.findings import line_costs, without
from driftlock.engine.limits import Limits
from driftlock.engine.profile import DEFAULT_CODEC, PROFILES, Profile, custom
from driftlock.engine.verdict import Calibration, Finding, Question, WindowScore
from tests.engine.streams import (
    BASE_NS,
    FAR_NS,
    KEY,
    SECOND_NS,
    batch,
    batches,
    bursty,
    drifting,
    iid,
    take,
)

FAILURES = (
    b"FATAL payment gateway timeout after %d ms: java.net.SocketTimeoutException",
    b"FATAL circuit breaker opened for acquirer-eu, %d calls rejected",
    b"FATAL could not roll back: deadlock detected by transaction %d",
    b"FATAL heap exhausted, %d bytes requested in java.util.Arrays.copyOf",
    b"FATAL TLS handshake with vault failed: certificate expired %d s ago",
)
ALIEN = [FAILURES[number % len(FAILURES)] % number for number in range(30)]
every_codec = pytest.mark.parametrize("codec", CODECS)


def profile_with(codec: str, profile: str = "balanced") -> Profile:
    return custom(PROFILES[profile], {"codec": codec})


def fold(
    lines: list[bytes], size: int = 1000, profile: str = "balanced", codec: str = DEFAULT_CODEC, instances: int = 0
) -> tuple[Detector, list[Finding]]:
    detector, ruler, findings = Detector(KEY, profile_with(codec, profile), 7, Limits()), Codec(codec), list[Finding]()
    for part in batches(lines, size, instances=instances):
        findings += detector.fold(part, FAR_NS, ruler)
    return detector, findings


def with_burst(at: int, total: int = 4000, aliens: int = 20) -> list[bytes]:
    lines = take(iid(1), total)
    lines[at : at + 2 * aliens : 2] = ALIEN[:aliens]
    return lines


@every_codec
def test_a_burst_of_alien_lines_is_found_where_it_is(codec: str) -> None:
    _, findings = fold(with_burst(3000), codec=codec)
    hit = [finding for finding in findings if finding.last_event >= 3000 and finding.first_event < 3040]
    assert hit
    assert all(finding.last_event - finding.first_event == 49 for finding in findings)
    assert "`FATAL " in hit[0].explanation
    named = [line.text.split()[0] for line in hit[0].lines]
    assert named.count("FATAL") > 0.7 * len(named)
    assert codec != DEFAULT_CODEC or set(named) == {"FATAL"}
    assert hit[0].question is Question.NOVELTY
    assert hit[0].start_ns == BASE_NS + hit[0].first_event * SECOND_NS
    assert hit[0].end_ns == BASE_NS + hit[0].last_event * SECOND_NS
    assert 0 < hit[0].p_value <= hit[0].p_value_threshold
    assert hit[0].ncd >= hit[0].ncd_threshold
    assert len(hit[0].window_lines) == 50
    assert (hit[0].codec, hit[0].codec_version) == (codec, CODECS[codec].version)


def test_a_single_new_line_is_found_by_the_coder() -> None:
    lines = take(iid(1), 6000)
    lines[5500] = ALIEN[0]
    _, findings = fold(lines)
    assert [finding for finding in findings if finding.first_event <= 5500 <= finding.last_event]


@every_codec
def test_windows_that_saw_the_burst_stay_out_of_the_baseline(codec: str) -> None:
    detector, findings = fold(with_burst(3000), codec=codec)
    assert findings
    flagged = {number for finding in findings for number in range(finding.first_event, finding.last_event + 1)}
    first = findings[0].first_event
    assert first in flagged
    past = b"\n".join(form for form, _ in detector.slide.pool.distinct())
    assert b"SocketTimeoutException" not in past


@every_codec
def test_a_window_without_its_new_lines_would_have_been_usual(codec: str) -> None:
    """And without none of them, or without as many others, it is about as rare as it was: one more window has passed since."""
    ruler, lines = Codec(codec), with_burst(3000)
    slide = new_slide(profile_with(codec), Limits())
    text, lengths, slots, counts = mask_with_slots(b"".join(lines), array("I", map(len, lines)), line_bytes_max=4096)
    slide.feed(text, lengths, slots, counts)
    asked = 0
    while (window := slide.advance(ruler, distance_threshold=0.3, p_value_threshold=0.05)) is not None:
        if window.question != "novelty" or not 3000 < window.end - 25 < 3040:
            continue
        shown = slide.window_lines()
        costs = line_costs(shown, slide, ruler)
        new = frozenset(place for place, line in enumerate(shown) if line.startswith(b"FATAL"))
        usual = frozenset(place for place in range(50) if place not in new)
        assert without(frozenset(), window, costs, slide, ruler) == pytest.approx(window.p_value, abs=0.02)
        others = without(frozenset(sorted(usual)[: len(new)]), window, costs, slide, ruler)
        assert without(new, window, costs, slide, ruler) > max(0.2, 2 * others)
        asked += 1
    assert asked > 1


def test_hop_is_honoured() -> None:
    detector, _ = fold(take(iid(2), 1000))
    assert detector.windows == 1 + (1000 - 400 - 50) // 10


@every_codec
@pytest.mark.parametrize("size", [1, 7, 333])
def test_batch_size_does_not_change_findings(size: int, codec: str) -> None:
    expected = [finding.canonical() for finding in fold(with_burst(2500, 3000), codec=codec, instances=6)[1]]
    assert expected
    found = fold(with_burst(2500, 3000), size, codec=codec, instances=6)[1]
    assert [finding.canonical() for finding in found] == expected


class Watching:
    """Keeps what it is shown from some event on."""

    def __init__(self, first_event: int = 0) -> None:
        self.bits = [0.0] * first_event
        self.scores: list[WindowScore] = []

    def events(self, first_event: int, times_ns: Sequence[int], bits: Sequence[float]) -> None:
        assert (first_event, len(times_ns)) == (len(self.bits), len(bits))
        self.bits += bits

    def window(self, score: WindowScore) -> None:
        self.scores.append(score)


@every_codec
@pytest.mark.parametrize("size", [7, 1000])
def test_watching_changes_no_finding_and_shows_every_event_and_window(codec: str, size: int) -> None:
    lines = with_burst(2500, 3000)
    expected = [finding.canonical() for finding in fold(lines, codec=codec, instances=6)[1]]
    detector, watching, found = Detector(KEY, profile_with(codec), 7, Limits()), Watching(), list[Finding]()
    for part in batches(lines, size, instances=6):
        found += detector.fold(part, FAR_NS, Codec(codec), watching)
    assert [finding.canonical() for finding in found] == expected
    assert len(watching.bits) == 3000
    assert [score.window for score in watching.scores] == list(range(detector.windows))
    assert [score.window for score in watching.scores if score.flagged] == [finding.window for finding in found]
    assert [(score.first_event, score.last_event) for score in watching.scores[:2]] == [(400, 449), (410, 459)]


@pytest.mark.parametrize("profile", ["sensitive", "balanced", "strict"])
@pytest.mark.parametrize("codec", [DEFAULT_CODEC, "zstd"])
def test_no_alarm_is_possible_before_the_stated_number_of_events(profile: str, codec: str) -> None:
    first = events_until_first_alarm(PROFILES[profile], Limits())
    lines = take(iid(3), first + 200)
    lines[first - 250 : first - 200] = [b"%d zyx wvu tsr qpo nml kji hgf edc" % number for number in range(50)]
    _, findings = fold(lines, profile=profile, codec=codec)
    assert all(finding.last_event + 1 >= first for finding in findings)


@every_codec
@pytest.mark.parametrize("profile", ["sensitive", "balanced", "strict"])
def test_an_alarm_is_possible_right_after_it(profile: str, codec: str) -> None:
    """In a stream of two kinds: a third new line would begin a restless time, which says nothing of calm ones."""
    first, window = events_until_first_alarm(PROFILES[profile], Limits()), PROFILES[profile].window_size
    lines = [b"%s of worker %d" % (kind, at % 9) for at, kind in zip(range(first), itertools.cycle(KINDS), strict=False)]
    lines[first - window :] = (ALIEN * 4)[:window]
    [finding, *_] = fold(lines, profile=profile, codec=codec)[1]
    assert finding.last_event + 1 == first


KINDS = (b"stored order", b"loaded cart")


@pytest.mark.parametrize("make", [iid, bursty, drifting])
@pytest.mark.parametrize("profile", ["sensitive", "balanced", "strict"])
def test_normal_streams_alarm_no_more_than_nominal(make: type, profile: str) -> None:
    assert alarmed_share(make, profile, DEFAULT_CODEC, seeds=3, events=15_000) <= PROFILES[profile].p_value_threshold


@pytest.mark.parametrize("make", [iid, bursty, drifting])
@pytest.mark.parametrize("codec", sorted(set(CODECS) - {DEFAULT_CODEC}))
def test_normal_streams_alarm_no_more_than_nominal_under_compressors(make: type, codec: str) -> None:
    assert alarmed_share(make, "balanced", codec, seeds=1, events=15_000) <= PROFILES["balanced"].p_value_threshold


def alarmed_share(make: type, profile: str, codec: str, *, seeds: int, events: int) -> float:
    """Of windows after the first 5,000 events."""
    alarms = windows = 0
    for seed in range(seeds):
        detector, findings = fold(take(make(seed), events), profile=profile, codec=codec, instances=6)
        alarms += sum(finding.first_event >= 5000 for finding in findings)
        windows += detector.windows - (5000 - detector.profile.baseline_size) // detector.profile.hop_size
    return alarms / windows


def test_calibration_is_stated_honestly() -> None:
    assert fold(take(iid(4), 449))[0].calibration is Calibration.CALIBRATING
    detector, _ = fold(take(iid(4), 450))
    assert (detector.calibration, detector.events_until_ready) == (Calibration.PROVISIONAL, 4550)
    assert fold(take(iid(4), 5000))[0].calibration is Calibration.OK


def test_seed_depends_on_stream_and_setting() -> None:
    other = StreamKey(Signal.LOGS, "cart")
    assert len({stream_seed(0, KEY), stream_seed(1, KEY), stream_seed(0, other)}) == 3
    assert stream_seed(0, KEY) == stream_seed(0, StreamKey(Signal.LOGS, "checkout", "shop", "prod"))


@every_codec
def test_findings_survive_their_json(codec: str) -> None:
    for finding in fold(with_burst(3000), codec=codec)[1]:
        assert Finding.from_json(finding.to_json()) == finding


@every_codec
@pytest.mark.parametrize(
    "lines",
    [[b""] * 3000, [b"same line"] * 3000, [b"a", b"b"] * 1500, [b"\x00\xff" * 9] * 3000],
    ids=["empty", "same", "two", "binary"],
)
def test_degenerate_streams_neither_fail_nor_alarm(lines: list[bytes], codec: str) -> None:
    assert fold(lines, codec=codec)[1] == []


@every_codec
def test_an_empty_batch_changes_nothing(codec: str) -> None:
    detector = Detector(KEY, profile_with(codec), 0, Limits())
    assert detector.fold(RecordBatch(), FAR_NS, Codec(codec)) == []
    assert detector.events == 0


@every_codec
@pytest.mark.parametrize("size", [1, 100])
def test_long_events_are_cut_alike_at_any_batch_size(size: int, codec: str) -> None:
    lines = [line + " füllung".encode() * (number * 37 % 300) for number, line in enumerate(with_burst(2500, 3000))]
    detector, findings = fold(lines, 1000, codec=codec)
    other, others = fold(lines, size, codec=codec)
    assert detector.truncated_events == other.truncated_events > 0
    assert [finding.canonical() for finding in findings] == [finding.canonical() for finding in others]


def test_one_record_without_a_time_touches_only_its_own_windows() -> None:
    lines = with_burst(2500, 3000)
    results = []
    for size in (1, 1000):
        detector, codec, findings = Detector(KEY, PROFILES["balanced"], 7, Limits()), Codec(DEFAULT_CODEC), list[Finding]()
        for start in range(0, len(lines), size):
            part = batch(lines[start : start + size], start)
            if start <= 2515 < start + size:
                part.times_ns[2515 - start] = 0
            findings += detector.fold(part, BASE_NS + 2515 * SECOND_NS, codec)
        results.append([(finding.window, finding.receive_timed) for finding in findings])
    assert results[0] == results[1]
    assert {receive_timed for _, receive_timed in results[0]} == {False, True}


def test_findings_of_an_earlier_version_can_be_read() -> None:
    [finding, *_] = fold(with_burst(3000))[1]
    fields = json.loads(finding.to_json())
    for name in ("p_permutation", "permutations", "compression_ratio_p_value", "entropy_p_value"):
        del fields[name]
    old = Finding.from_json(json.dumps(fields).encode())
    assert (old.p_permutation, old.permutations, old.entropy_p_value) == (1.0, 0, 1.0)
    assert old.explanation == finding.explanation


@pytest.mark.parametrize("gap", [500, 5000])
def test_one_incident_does_not_hide_the_next(gap: int) -> None:
    errors = [
        b"FATAL disk quota exceeded on volume vol-7 while flushing",
        b"panic: runtime error: invalid memory address or nil pointer",
        b"WARN certificate for host expires tomorrow, renewal failed",
        b"kernel: Out of memory: Killed process 4711 (postgres)",
    ]
    lines = take(iid(2), 6150)
    usual = iter(take(iid(2), 6150 + gap * len(errors))[6150:])
    for error in errors:
        lines += [error, *(next(usual) for _ in range(gap - 1))]
    _, findings = fold(lines)
    named = {line.text for finding in findings for line in finding.lines}
    assert {error.decode() for error in errors} <= named


def test_of_lines_of_spans_only_what_is_new_is_asked() -> None:
    for signal, only in ((Signal.LOGS, False), (Signal.TRACES, True)):
        detector = Detector(StreamKey(signal, "shop"), PROFILES["balanced"], 0, Limits())
        assert detector.slide.content_only == only
        detector.configure(custom(PROFILES["balanced"], {"window_size": 60}))  # another geometry begins anew
        assert detector.slide.content_only == only
