import itertools
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from api import models, views
from api.ports import AnomalyRow
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.verdict import Calibration
from tests.api.fakes import EPOCH, NAMESPACE, make_finding, make_stream

STREAM = UUID(int=1)
spans = st.lists(st.tuples(st.integers(-3, 60), st.integers(-3, 60)), max_size=6)


def row(**changes: object) -> AnomalyRow:
    return AnomalyRow(NAMESPACE, STREAM, "checkout", None, EPOCH, make_finding(**changes))  # type: ignore[arg-type]


@given(st.text(alphabet="aé€😀 <", max_size=20), spans)
def test_segments_joined_are_the_line_and_alternate(text: str, ranges: list[tuple[int, int]]) -> None:
    parts = views.segments(text, ranges)
    assert "".join(part.text for part in parts) == text
    assert all(part.text for part in parts)
    assert all(left.novel != right.novel for left, right in itertools.pairwise(parts))


@given(st.text(alphabet="aé€😀 <", max_size=20), spans)
def test_exactly_the_characters_touched_by_a_span_are_novel(text: str, ranges: list[tuple[int, int]]) -> None:
    marked, offset = [], 0
    for char in text:
        end = offset + len(char.encode())
        marked.append(any(max(start, offset) < min(stop, end) for start, stop in ranges))
        offset = end
    got = [part.novel for part in views.segments(text, ranges) for _ in part.text]
    assert got == marked


def test_a_seed_is_text_and_times_are_utc() -> None:
    body = views.anomaly(row())
    assert body.seed == "18446744073709551615"
    assert body.start == "2008-06-14T14:56:01Z"
    assert body.detected_at == "2027-01-01T00:00:00Z"
    assert body.calibration is models.StreamStatus.READY


def test_a_summary_shows_the_costliest_line() -> None:
    body = views.anomaly_summary(row())
    assert body.top_line is not None
    assert [(part.text, part.novel) for part in body.top_line.segments] == [("disk ", False), ("é", True), (" full", False)]
    assert views.anomaly_summary(row(lines=())).top_line is None


def test_a_missing_time_is_null() -> None:
    assert views.anomaly(row(start_ns=0)).start is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_response_can_not_hold_what_json_can_not_say(value: float) -> None:
    with pytest.raises(ValidationError):
        views.anomaly(row(ratio=value))


@pytest.mark.parametrize(("events", "missing", "percent"), [(4999, 1, 99), (5000, 0, 100), (20_100, 4900, 2)])
def test_calibration_is_whole_only_when_nothing_is_missing(events: int, missing: int, percent: int) -> None:
    stream = make_stream(STREAM, "checkout", StreamKey(Signal.LOGS, "checkout"))
    stream = replace(stream, events=events, events_until_ready=missing)
    assert views.calibration_progress(stream) == models.CalibrationProgress(events=events, needed=missing, percent=percent)


def test_every_calibration_has_a_status() -> None:
    stream = make_stream(STREAM, "checkout", StreamKey(Signal.LOGS, "checkout"))
    assert {views.stream_status(replace(stream, calibration=value)) for value in Calibration} == set(models.StreamStatus)


def test_nobody_knows_how_far_a_stream_is_before_its_first_events() -> None:
    stream = make_stream(STREAM, "checkout", StreamKey(Signal.LOGS, "checkout"))
    assert views.calibration_progress(stream) == models.CalibrationProgress(events=0, needed=None, percent=0)
