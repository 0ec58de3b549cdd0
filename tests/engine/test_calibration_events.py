"""What a stream tells of its own calibration: when, once, and the same whatever batches, restarts and watchers there were."""

from collections.abc import Sequence

import pytest

from cbad_cy.codec import Codec
from driftlock.engine.calibration import WATCHED_WINDOWS, events_until_calibrated
from driftlock.engine.detector import Detector
from driftlock.engine.limits import Limits
from driftlock.engine.profile import DEFAULT_CODEC, PROFILES, Profile, custom
from driftlock.engine.state import restore_stream, stream_state
from driftlock.engine.verdict import Calibration, StreamEvent, StreamEventKind
from tests.engine.streams import BASE_NS, FAR_NS, KEY, SECOND_NS, batch, iid, take
from tests.engine.test_detector import Watching, every_codec, profile_with, with_burst

BALANCED = PROFILES["balanced"]
CALIBRATED, DEGRADED, RECOVERED = StreamEventKind.CALIBRATED, StreamEventKind.DEGRADED, StreamEventKind.RECOVERED
REBASELINED, RESTARTED = StreamEventKind.REBASELINED, StreamEventKind.RESTARTED


def events_of(
    lines: Sequence[bytes],
    size: int = 1000,
    profile: Profile = BALANCED,
    *,
    restarts: bool = False,
    watched: bool = False,
    loose: range = range(0),
) -> tuple[list[StreamEvent], Detector]:
    """What is told while lines are folded; those in `loose` are judged with thresholds that flag half of everything."""
    detector, codec, told = Detector(KEY, profile, 7, Limits()), Codec(profile.codec), list[StreamEvent]()
    for start in range(0, len(lines), size):
        part = batch(lines[start : start + size], start)
        if start in loose:
            part.ncd_threshold, part.p_value_threshold = 0.001, 0.9
        detector.fold(part, FAR_NS, codec, Watching(start) if watched else None)
        if restarts:
            detector = restore_stream(stream_state(detector, codec), KEY, 7, Limits(), lambda _: codec)
        told += detector.take_events()
    return told, detector


WAYS = [{"size": 1}, {"size": 7}, {"size": 640}, {"size": 640, "restarts": True}, {"size": 640, "watched": True}]
every_way = pytest.mark.parametrize("way", WAYS, ids=["1", "7", "640", "restarts", "watched"])


@every_way
@pytest.mark.parametrize("profile", ["sensitive", "balanced", "strict"])
def test_calibration_is_told_once_with_the_very_record(profile: str, way: dict[str, int]) -> None:
    ready = events_until_calibrated(PROFILES[profile], Limits())
    told, detector = events_of(take(iid(1), ready + 700), profile=PROFILES[profile], **way)  # type: ignore[arg-type]
    [event] = [event for event in told if event.kind is CALIBRATED]
    geometry = detector.profile
    windows = 1 + (ready - geometry.baseline_size - geometry.window_size) // geometry.hop_size
    assert (event.event, event.window, event.time_ns) == (ready - 1, windows, BASE_NS + (ready - 1) * SECOND_NS)
    assert event.reason == f"at most {100 * geometry.p_value_threshold:g} % of normal windows are flagged"
    assert detector.calibration is Calibration.OK


def test_nothing_is_told_one_record_earlier() -> None:
    assert events_of(take(iid(1), 4999))[0] == []
    assert [event.event for event in events_of(take(iid(1), 5000))[0]] == [4999]


LOOSE = range(8960, 17_920)  # where batches of all these sizes begin
TIGHT = custom(BALANCED, {"p_value_threshold": 0.01})


@every_way
def test_too_many_flagged_windows_degrade_and_their_end_recovers(way: dict[str, int]) -> None:
    lines = take(iid(1), 30_000)
    told, detector = events_of(lines, profile=TIGHT, loose=LOOSE, **way)  # type: ignore[arg-type]
    expected, _ = events_of(lines, 1280, profile=TIGHT, loose=LOOSE)
    assert told == expected
    assert [event.kind for event in told] == [CALIBRATED, DEGRADED, RECOVERED]
    _, degraded, recovered = told
    assert LOOSE.start < degraded.event < LOOSE.stop < recovered.event
    assert "1.1 % of the last windows were flagged, 1 % of normal ones would be: the stream is changing" in degraded.reason
    assert recovered.window - degraded.window >= WATCHED_WINDOWS - 1
    assert recovered.time_ns == BASE_NS + recovered.event * SECOND_NS
    assert recovered.reason == "at most 1 % of normal windows are flagged"
    assert detector.calibration is Calibration.OK


def test_between_them_the_state_says_why() -> None:
    _, detector = events_of(take(iid(1), 17_920), 1280, profile=TIGHT, loose=LOOSE)
    assert detector.calibration is Calibration.DEGRADED
    assert "of the last windows were flagged, 1 % of normal ones would be" in detector.calibration_reason


@every_codec
@pytest.mark.parametrize("way", WAYS[1:], ids=["7", "640", "restarts", "watched"])
def test_a_new_normal_that_has_settled_is_told(codec: str, way: dict[str, int]) -> None:
    lines = take(iid(1), 6003) + take(iid(2), 3000)
    told, detector = events_of(lines, profile=profile_with(codec), **way)  # type: ignore[arg-type]
    assert told == events_of(lines, profile=profile_with(codec))[0]
    event = told[-1]
    # a baseline and a window, 45 windows, after the last one that was flagged
    assert event.window == 1 + 45 + max(number for number in detector.baseline.watch.flagged if number < event.window)
    assert event.kind is REBASELINED
    assert 6003 + 400 <= event.event < 8500
    assert event.time_ns == BASE_NS + event.event * SECOND_NS
    new, lines_kept = map(int, event.reason.split(" usual lines")[0].split(" of "))
    assert lines_kept == 400
    assert new > 380
    before = int(event.reason.split("before event ")[1].split(",")[0])
    assert 5900 < before < 6003
    assert "most often `" in event.reason


@every_codec
def test_what_passes_is_no_new_normal(codec: str) -> None:
    told, _ = events_of(with_burst(6000, 9000), profile=profile_with(codec))
    assert [event.kind for event in told] == [CALIBRATED]


@every_way
def test_another_geometry_is_told_with_the_next_records_and_calibrates_again(way: dict[str, int]) -> None:
    lines, codec = take(iid(1), 11_200), Codec(DEFAULT_CODEC)
    size = way["size"]
    _, detector = events_of(lines[:5120], size if size == 640 else 1024)
    windows = detector.windows
    detector.configure(custom(BALANCED, {"window_size": 40}))
    if "restarts" in way:
        detector = restore_stream(stream_state(detector, codec), KEY, 7, Limits(), lambda _: codec)
    assert detector.take_events() == ()
    told = list[StreamEvent]()
    for start in range(5120, len(lines), size):
        part = batch(lines[start : start + size], start)
        detector.fold(part, FAR_NS, codec, Watching(start) if "watched" in way else None)
        told += detector.take_events()
    restarted, calibrated = told
    assert (restarted.kind, restarted.event, restarted.window) == (RESTARTED, 5120, windows)
    assert restarted.time_ns == BASE_NS + 5119 * SECOND_NS
    assert "another profile" in restarted.reason
    assert (calibrated.kind, calibrated.event) == (CALIBRATED, 5120 + 4999)
    assert calibrated.window == windows + 1 + (5000 - 400 - 40) // 10


def test_other_thresholds_restart_nothing_and_a_stream_without_records_has_nothing_to_restart() -> None:
    codec, detector = Codec(DEFAULT_CODEC), Detector(KEY, BALANCED, 7, Limits())
    detector.configure(custom(BALANCED, {"window_size": 40}))
    detector.fold(batch(take(iid(1), 500)), FAR_NS, codec)
    detector.configure(custom(BALANCED, {"window_size": 40, "p_value_threshold": 0.1}))
    detector.fold(batch(take(iid(1), 500), 500), FAR_NS, codec)
    assert detector.take_events() == ()
    assert detector.events == 1000
