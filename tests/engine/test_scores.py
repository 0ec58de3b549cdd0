"""Minutes of event time: however records are cut into rows, the sums and extremes are the same, and a restart adds nothing."""

from array import array
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbad_cy.codec import Codec
from cbad_cy.slide import MinuteTold, Slide, minutes_of
from driftlock.engine.detector import Detector
from driftlock.engine.fold import Summary
from driftlock.engine.limits import Limits
from driftlock.engine.profile import Profile
from driftlock.engine.scores import SCORE_MINUTES_MAX, MinuteScore, ScoreRow, added_up, minute_scores
from driftlock.engine.verdict import WindowScore
from tests.engine.streams import FAR_NS, KEY, batch, iid, take
from tests.storage.helpers import finding

MINUTE_NS = 60_000_000_000
TENANT, STREAM = UUID(int=1), UUID(int=2)


class Watching:
    """Every evaluated window."""

    def __init__(self) -> None:
        self.windows: list[WindowScore] = []

    def events(self, first_event: int, times_ns: object, bits: object) -> None:
        pass

    def window(self, score: WindowScore) -> None:
        self.windows.append(score)


def added(parts: list[tuple[MinuteScore, ...]]) -> dict[int, MinuteScore]:
    rows = added_up([ScoreRow(TENANT, STREAM, score) for part in parts for score in part])
    return {row.score.minute: row.score for row in rows}


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 300_000_000_000), max_size=40))
def test_events_are_counted_in_their_minutes(times: list[int]) -> None:
    told = minutes_of(array("Q", times))
    expected: dict[int, int] = {}
    for time_ns in times:
        expected[time_ns // MINUTE_NS] = expected.get(time_ns // MINUTE_NS, 0) + 1
    assert [(it.minute, it.events) for it in told] == sorted(expected.items())
    assert all((it.windows, it.surprise, it.distance, it.p_value) == (0, 0.0, 0.0, 1.0) for it in told)


def test_times_that_are_not_those_of_the_lines_are_refused() -> None:
    slide = Slide(baseline=8, window=4, hop=2, memory=100, past_bytes_max=1000, reference=100, block=5, lag=5, normals=10)
    slide.feed(b"ab" * 20, array("I", [2] * 20))
    slide.advance(Codec("zstd"), distance_threshold=0.3, p_value_threshold=0.05)
    with pytest.raises(ValueError, match="19 times for 20 lines"):
        minutes_of(array("Q", [0] * 19), slide)
    assert sum(it.windows for it in minutes_of(array("Q", [0] * 20), slide)) == slide.windows == 5
    slide.feed(b"", array("I"))
    assert minutes_of(array("Q"), slide) == []


@settings(max_examples=4, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=6), st.sampled_from(["statistical", "zstd"]))
def test_windows_are_those_that_an_observer_sees_however_lines_are_cut(sizes: list[int], codec_name: str) -> None:
    profile = Profile("small", 0.3, 0.05, 40, 10, 5, codec=codec_name)
    lines = [
        *take(iid(3), 260),
        *[b"something that was never there before %d" % number for number in range(20)],
        *take(iid(4), 220),
    ]
    codec = Codec(codec_name)

    def fold(cuts: list[int]) -> tuple[dict[int, MinuteScore], list[WindowScore]]:
        detector, watching, parts, at, number = Detector(KEY, profile, 0, Limits()), Watching(), [], 0, 0
        while at < len(lines):
            size = cuts[number % len(cuts)]
            records = batch(lines[at : at + size], at)
            findings = detector.fold(records, FAR_NS, codec, watching)
            parts.append(minute_scores(detector.take_minutes(), findings, (), detector.clock.watermark_ns))
            at, number = at + size, number + 1
        return added(parts), watching.windows

    scores, windows = fold([len(lines)])
    again, _ = fold(sizes)
    assert sum(score.events for score in scores.values()) == len(lines)
    assert sum(score.windows for score in scores.values()) == len(windows) > 50
    assert {minute: score[:4] for minute, score in again.items()} == {minute: score[:4] for minute, score in scores.items()}
    assert max(score.surprise_max for score in scores.values()) >= max(it.surprise for it in windows)
    assert min(score.p_value_min for score in scores.values()) <= min(it.p_value for it in windows)
    assert max(score.ncd_max for score in scores.values()) >= max((it.ncd for it in windows if it.flagged), default=0.0)


def test_minutes_that_are_too_old_are_not_counted() -> None:
    newest = 30_000_000
    told = [
        MinuteTold(minute, 1, 0, 0.0, 0.0, 1.0)
        for minute in (newest - SCORE_MINUTES_MAX, newest - SCORE_MINUTES_MAX + 1, newest)
    ]
    found = minute_scores(told, (), (), newest * MINUTE_NS)
    assert [score.minute for score in found] == [newest - SCORE_MINUTES_MAX + 1, newest]


def test_rows_of_a_minute_become_one() -> None:
    one = ScoreRow(TENANT, STREAM, MinuteScore(5, 1, 1, 0, 2.0, 0.1, 0.5))
    two = ScoreRow(TENANT, STREAM, MinuteScore(5, 2, 0, 1, 1.0, 0.4, 0.2))
    other = ScoreRow(TENANT, UUID(int=1), MinuteScore(9, 1))
    assert added_up([one, two, other]) == (other, ScoreRow(TENANT, STREAM, MinuteScore(5, 3, 1, 1, 2.0, 0.4, 0.2)))


def test_findings_count_in_the_minute_in_which_they_end() -> None:
    found = [finding(1, end_ns=5 * MINUTE_NS + 9, surprise=12.0, ncd=0.7, p_value=0.002), finding(2, end_ns=5 * MINUTE_NS)]
    [score] = minute_scores([MinuteTold(5, 3, 1, 2.0, 0.1, 0.3)], found, (), 6 * MINUTE_NS)
    assert score == MinuteScore(5, 3, 1, 2, 12.0, 0.7, 0.002)


def test_what_series_said_in_a_minute_counts_as_a_window() -> None:
    summary = Summary(minute=5, window=1, resource="pod", points=9, series=3, odd=0, digits=0.1, strongest=())
    [score] = minute_scores([MinuteTold(5, 9, 0, 0.0, 0.0, 1.0)], (), [summary, summary], 6 * MINUTE_NS)
    assert score == MinuteScore(5, 9, 2)
