"""The fold of one stream."""

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbad_cy.codec import Codec
from driftlock.engine.calibration import events_until_first_alarm
from driftlock.engine.detector import Detector, stream_seed
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.limits import Limits
from driftlock.engine.profile import PROFILES
from driftlock.engine.records import Damaged
from driftlock.engine.state import pack, restore_stream, stream_state, unpack
from driftlock.engine.verdict import Calibration, Finding
from driftlock.v1 import state_pb2
from tests.engine.streams import BASE_NS, FAR_NS, KEY, SECOND_NS, batch, batches, bursty, iid, take

FAILURES = (
    b"FATAL payment gateway timeout after %d ms: java.net.SocketTimeoutException",
    b"FATAL circuit breaker opened for acquirer-eu, %d calls rejected",
    b"FATAL could not roll back: deadlock detected by transaction %d",
    b"FATAL heap exhausted, %d bytes requested in java.util.Arrays.copyOf",
    b"FATAL TLS handshake with vault failed: certificate expired %d s ago",
)
ALIEN = [FAILURES[number % len(FAILURES)] % number for number in range(30)]


def fold(lines: list[bytes], size: int = 1000, profile: str = "balanced") -> tuple[Detector, list[Finding]]:
    detector, codec, findings = Detector(KEY, PROFILES[profile], 7, Limits()), Codec("zstd"), []
    for part in batches(lines, size):
        findings += detector.fold(part, FAR_NS, codec)
    return detector, findings


def with_burst(at: int, total: int = 4000, aliens: int = 20) -> list[bytes]:
    lines = take(iid(1), total)
    lines[at : at + 2 * aliens : 2] = ALIEN[:aliens]
    return lines


def test_a_burst_of_alien_lines_is_found_where_it_is() -> None:
    _, findings = fold(with_burst(3000))
    hit = [finding for finding in findings if finding.last_event >= 3000 and finding.first_event < 3040]
    assert hit
    assert all(finding.last_event - finding.first_event == 49 for finding in findings)
    assert "lines are new: `FATAL " in hit[0].explanation
    assert {line.text.split()[0] for line in hit[0].lines} == {"FATAL"}
    assert hit[0].start_ns == BASE_NS + hit[0].first_event * SECOND_NS
    assert hit[0].end_ns == BASE_NS + hit[0].last_event * SECOND_NS
    assert 0 < hit[0].p_value <= hit[0].p_value_threshold
    assert hit[0].ncd >= hit[0].ncd_threshold
    assert len(hit[0].window_lines) == 50


def test_windows_that_saw_the_burst_stay_out_of_the_baseline() -> None:
    detector, findings = fold(with_burst(3000))
    assert findings
    flagged = {number for finding in findings for number in range(finding.first_event, finding.last_event + 1)}
    first = findings[0].first_event
    assert first in flagged
    past = b"\n".join(form for form, _ in detector.slide.pool.distinct())
    assert b"SocketTimeoutException" not in past


def test_hop_is_honoured() -> None:
    detector, _ = fold(take(iid(2), 1000))
    assert detector.windows == 1 + (1000 - 400 - 50) // 10


@pytest.mark.parametrize("size", [1, 7, 49, 50, 333, 5000])
def test_batch_size_does_not_change_findings(size: int) -> None:
    expected = [finding.canonical() for finding in fold(with_burst(2500, 3000))[1]]
    assert expected
    assert [finding.canonical() for finding in fold(with_burst(2500, 3000), size)[1]] == expected


@settings(max_examples=12, deadline=None)
@given(cuts=st.lists(st.integers(1, 2999), max_size=6, unique=True))
def test_a_restart_anywhere_does_not_change_findings(cuts: list[int]) -> None:
    lines = with_burst(2500, 3000)
    expected = [finding.canonical() for finding in fold(lines)[1]]
    detector, codec, findings = Detector(KEY, PROFILES["balanced"], 7, Limits()), Codec("zstd"), []
    bounds = [0, *sorted(cuts), len(lines)]
    for start, stop in itertools.pairwise(bounds):
        findings += detector.fold(batch(lines[start:stop], start), FAR_NS, codec)
        detector = restore_stream(stream_state(detector, codec), KEY, 7, Limits(), lambda _: codec)
    assert [finding.canonical() for finding in findings] == expected


@pytest.mark.parametrize("profile", ["sensitive", "balanced", "strict"])
def test_no_alarm_is_possible_before_the_stated_number_of_events(profile: str) -> None:
    first = events_until_first_alarm(PROFILES[profile], Limits())
    lines = take(iid(3), first + 200)
    lines[first - 250 : first - 200] = [b"%d zyx wvu tsr qpo nml kji hgf edc" % number for number in range(50)]
    _, findings = fold(lines, profile=profile)
    assert all(finding.last_event + 1 >= first for finding in findings)


def test_an_alarm_is_possible_right_after_it() -> None:
    first = events_until_first_alarm(PROFILES["balanced"], Limits())
    lines = take(iid(3), first + 40)
    lines[first - 10 : first + 40] = ALIEN + ALIEN[:20]
    assert fold(lines)[1]


@pytest.mark.parametrize("make", [iid, bursty])
@pytest.mark.parametrize("profile", ["sensitive", "balanced", "strict"])
def test_normal_streams_alarm_no_more_than_nominal(make: type, profile: str) -> None:
    alarms = windows = 0
    for seed in range(3):
        detector, findings = fold(take(make(seed), 15_000), profile=profile)
        settled = [finding for finding in findings if finding.first_event >= 5000]
        alarms += len(settled)
        windows += detector.windows - (5000 - detector.profile.baseline_size) // detector.profile.hop_size
    assert alarms <= PROFILES[profile].p_value_threshold * windows


def test_calibration_is_stated_honestly() -> None:
    assert fold(take(iid(4), 449))[0].calibration is Calibration.CALIBRATING
    detector, _ = fold(take(iid(4), 450))
    assert (detector.calibration, detector.events_until_ready) == (Calibration.PROVISIONAL, 4550)
    assert fold(take(iid(4), 5000))[0].calibration is Calibration.OK


def test_seed_depends_on_stream_and_setting() -> None:
    other = StreamKey(Signal.LOGS, "cart")
    assert len({stream_seed(0, KEY), stream_seed(1, KEY), stream_seed(0, other)}) == 3
    assert stream_seed(0, KEY) == stream_seed(0, StreamKey(Signal.LOGS, "checkout", "shop", "prod"))


def test_findings_survive_their_json() -> None:
    for finding in fold(with_burst(3000))[1]:
        assert Finding.from_json(finding.to_json()) == finding


def test_state_is_bounded_whatever_the_lines_are() -> None:
    limits = Limits()
    noise = [bytes((7 * number * position) % 90 + 33 for position in range(3000)) for number in range(1500)]
    detector, _ = fold(noise, 500)
    assert sum(len(event.text) for event in detector.recent) <= 2 * limits.window_bytes_max
    assert detector.slide.pool.text_bytes <= limits.past_bytes_max
    assert len(detector.slide.prepared.source_bytes) <= limits.past_bytes_max
    assert detector.truncated_events > 1000
    assert len(stream_state(detector, Codec("zstd"))) <= 128 * 1024


@pytest.mark.parametrize("lines", [[b""] * 3000, [b"same line"] * 3000, [b"a", b"b"] * 1500, [b"\x00\xff" * 9] * 3000])
def test_degenerate_streams_neither_fail_nor_alarm(lines: list[bytes]) -> None:
    assert fold(lines)[1] == []


def test_an_empty_batch_changes_nothing() -> None:
    detector = Detector(KEY, PROFILES["balanced"], 0, Limits())
    assert detector.fold(RecordBatch(), FAR_NS, Codec("zstd")) == []
    assert detector.events == 0


@pytest.mark.parametrize("size", [1, 7, 100])
def test_long_events_are_cut_alike_at_any_batch_size(size: int) -> None:
    lines = [line + " füllung".encode() * (number * 37 % 300) for number, line in enumerate(with_burst(2500, 3000))]
    detector, findings = fold(lines, 1000)
    other, others = fold(lines, size)
    assert detector.truncated_events == other.truncated_events > 0
    assert [finding.canonical() for finding in findings] == [finding.canonical() for finding in others]


def test_one_record_without_a_time_touches_only_its_own_windows() -> None:
    lines = with_burst(2500, 3000)
    results = []
    for size in (1, 1000):
        detector, codec, findings = Detector(KEY, PROFILES["balanced"], 7, Limits()), Codec("zstd"), list[Finding]()
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


def test_a_checkpoint_of_an_earlier_version_says_so() -> None:
    body = pack(state_pb2.StreamState(stream=KEY.text, events=5000))
    with pytest.raises(Damaged, match="written by a version whose numbers can not be compared"):
        restore_stream(body, KEY, 7, Limits(), lambda _: Codec("zstd"))


def test_another_version_of_the_codec_calibrates_anew_and_says_so() -> None:
    codec = Codec("zstd")
    detector, _ = fold(take(iid(1), 6000))
    state = unpack(state_pb2.StreamState(), stream_state(detector, codec))
    state.codec_version = "0.0.1"
    other = restore_stream(pack(state), KEY, 7, Limits(), lambda _: codec)
    assert (other.events, other.windows, other.calibration) == (6000, detector.windows, Calibration.CALIBRATING)
    assert other.events_until_ready == 5000
