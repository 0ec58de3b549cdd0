import itertools
from dataclasses import fields, replace
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from api import evidence_models, incident_views, models, views
from api.bundle_models import EvidenceRef
from api.ports import AnomalyRow
from cbad_cy.series import LEARNING_POINTS
from driftlock.engine.calibration import events_until_first_alarm
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.evidence import Chart, SeriesEvidence
from driftlock.engine.limits import Limits
from driftlock.engine.profile import PROFILES
from driftlock.engine.verdict import Calibration, Evidence, Finding, InstanceShare, MissingLine, Question
from tests.api.fakes import EPOCH, NAMESPACE, make_finding, make_incident, make_stream

STREAM = UUID(int=1)
NO_EVIDENCE = EvidenceRef(state="off", reason="", number=None, digest=None, key_id=None, bytes=0, made_at=None, href=None)
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
    body = views.anomaly(row(), NO_EVIDENCE)
    assert body.seed == "18446744073709551615"
    assert body.start == "2008-06-14T14:56:01Z"
    assert body.detected_at == "2027-01-01T00:00:00Z"
    assert body.calibration is Calibration.OK


def test_a_summary_shows_the_costliest_line() -> None:
    body = views.anomaly_summary(row())
    assert body.top_line is not None
    assert [(part.text, part.novel) for part in body.top_line.segments] == [("disk ", False), ("é", True), (" full", False)]
    assert views.anomaly_summary(row(lines=())).top_line is None


def test_a_missing_time_is_null() -> None:
    assert views.anomaly(row(start_ns=0), NO_EVIDENCE).start is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_response_can_not_hold_what_json_can_not_say(value: float) -> None:
    with pytest.raises(ValidationError):
        views.anomaly(row(ratio=value), NO_EVIDENCE)


FIRST_ALARM = events_until_first_alarm(PROFILES["balanced"], Limits())


@pytest.mark.parametrize(
    ("events", "missing", "percent", "first_alarm"),
    [(4999, 1, 99, 0), (5000, 0, 100, 0), (20_100, 4900, 2, FIRST_ALARM - 100)],
)
def test_calibration_is_whole_only_when_nothing_is_missing(events: int, missing: int, percent: int, first_alarm: int) -> None:
    stream = make_stream(STREAM, "checkout", StreamKey(Signal.LOGS, "checkout"))
    stream = replace(stream, events=events, events_until_ready=missing, calibration="degraded", calibration_reason="bursts")
    assert views.calibration_progress(stream) == models.CalibrationProgress(
        state=Calibration.DEGRADED,
        reason="bursts",
        events_until_first_alarm=first_alarm,
        events=events,
        needed=missing,
        percent=percent,
    )


@pytest.mark.parametrize(
    ("state", "events", "missing", "needed", "percent", "first_alarm"),
    [
        (Calibration.CALIBRATING, 0, 0, None, 0, views.POINTS_UNTIL_LEARNED),
        (Calibration.CALIBRATING, 100, 200, 200, 33, 200),
        (Calibration.PROVISIONAL, 29_999, 1, 1, 99, 0),
        (Calibration.OK, 30_000, 0, 0, 100, 0),
        (Calibration.DEGRADED, 700, 0, 0, 100, 0),
    ],
)
def test_numbers_are_not_calibrated_by_the_sizes_of_a_profile(
    state: Calibration, events: int, missing: int, needed: int | None, percent: int, first_alarm: int
) -> None:
    stream = make_stream(STREAM, "checkout", StreamKey(Signal.METRICS, "checkout"))
    stream = replace(stream, events=events, events_until_ready=missing, calibration=state, calibration_reason="why")
    assert views.calibration_progress(stream) == models.CalibrationProgress(
        state=state,
        reason="why",
        events_until_first_alarm=first_alarm,
        events=events,
        needed=needed,
        percent=percent,
    )


def test_points_until_a_series_is_learned_are_those_of_the_kernel() -> None:
    assert views.POINTS_UNTIL_LEARNED == LEARNING_POINTS


def test_every_calibration_has_a_status() -> None:
    stream = make_stream(STREAM, "checkout", StreamKey(Signal.LOGS, "checkout"))
    assert {views.stream_status(replace(stream, calibration=value)) for value in Calibration} == set(models.StreamStatus)


def test_nobody_knows_how_far_a_stream_is_before_its_first_events() -> None:
    stream = make_stream(STREAM, "checkout", StreamKey(Signal.LOGS, "checkout"))
    progress = views.calibration_progress(stream)
    assert (progress.state, progress.events, progress.needed, progress.percent) == (Calibration.CALIBRATING, 0, None, 0)
    assert progress.events_until_first_alarm == FIRST_ALARM


def test_bits_and_paths_belong_to_novel_pieces() -> None:
    spans = ((5, 7), (12, 16), (7, 8), (16, 17))
    parts = views.segments("disk full is slow!", spans, (1.0, 4.0, 2.0, 8.0), ("body", "body", "body", "severity"))
    assert [(part.text, part.novel, part.bits, part.path) for part in parts] == [
        ("disk ", False, None, None),
        ("ful", True, 3.0, "body"),
        ("l is", False, None, None),
        (" slo", True, 4.0, "body"),
        ("w", True, 8.0, "severity"),
        ("!", False, None, None),
    ]


def test_spans_without_bits_are_novel_all_the_same() -> None:
    assert [(part.novel, part.bits, part.path) for part in views.segments("new", ((0, 3),))] == [(True, None, None)]


def test_a_finding_shows_what_it_is_about_and_why() -> None:
    finding = {
        "question": Question.INSTANCE,
        "surprise": 12.5,
        "subject": "pod-17",
        "calibration": Calibration.DEGRADED,
        "calibration_reason": "bursts",
        "evidence": (Evidence(Question.NOVELTY, 0.2, 0.1, 0.0), Evidence(Question.INSTANCE, 0.001, 0.9, 12.5)),
        "missing": (MissingLine("heartbeat ok", 120.0, 0.0, 500),),
        "instances": (InstanceShare("pod-17", 12, 9),),
        "p_without": 0.4,
        "p_without_others": 0.002,
        "verified": True,
    }
    body = views.anomaly(row(**finding), NO_EVIDENCE).model_dump()
    assert {name: body[name] for name in ("question", "surprise", "subject", "calibration", "calibration_reason")} == {
        name: finding[name] for name in ("question", "surprise", "subject", "calibration", "calibration_reason")
    }
    assert [each["question"] for each in body["evidence"]] == ["novelty", "instance"]
    assert body["evidence"][1] == {"question": "instance", "p_value": 0.001, "distance": 0.9, "surprise": 12.5}
    assert body["missing"] == ({"text": "heartbeat ok", "expected": 120.0, "observed": 0.0, "horizon": 500},)
    assert body["instances"] == ({"instance": "pod-17", "events": 12, "named": 9},)
    assert (body["p_without"], body["p_without_others"], body["verified"]) == (0.4, 0.002, True)


def test_every_member_of_a_finding_is_shown() -> None:
    """But for the stream's key, which is there as a reference, and for times and codecs, which have names of their own."""
    renamed = {"interaction", "stream", "start_ns", "end_ns", "codec_level", "codec_version"}
    assert {field.name for field in fields(Finding)} - renamed <= set(models.Anomaly.model_fields)


LATENCY = SeriesEvidence(
    series="http.server.duration{route=/a} p99",
    value=2.31,
    expected=0.3,
    low=0.18,
    high=0.42,
    bits=17.5,
    score=0.75,
    expert="day",
    since_ns=1_213_455_361_500_000_000,
    instance="pod-3",
    chart=Chart((1_213_455_301_500_000_000, 1_213_455_361_500_000_000), (0.25, 2.31), (0.3, 0.3), (0.18, 0.18), (0.4, 0.42)),
)
SHOWN = {
    "name": "http.server.duration{route=/a} p99",
    "instance": "pod-3",
    "value": 2.31,
    "expected": 0.3,
    "low": 0.18,
    "high": 0.42,
    "bits": 17.5,
    "score": 0.75,
    "expert": "day",
    "since": "2008-06-14T14:56:01.500Z",
}


def test_a_finding_about_numbers_shows_its_series_with_their_charts() -> None:
    unknown = replace(LATENCY, instance="", since_ns=0, chart=Chart())
    body = views.anomaly(row(question=Question.TOGETHER, series=(LATENCY, unknown)), NO_EVIDENCE).model_dump()
    chart = {
        "times": ("2008-06-14T14:55:01.500Z", "2008-06-14T14:56:01.500Z"),
        "values": (0.25, 2.31),
        "expected": (0.3, 0.3),
        "low": (0.18, 0.18),
        "high": (0.4, 0.42),
    }
    empty = {"times": (), "values": (), "expected": (), "low": (), "high": ()}
    assert body["series"] == (SHOWN | {"chart": chart}, SHOWN | {"instance": None, "since": None, "chart": empty})
    assert body["question"] == "together"


def test_a_summary_shows_the_strongest_series_without_its_chart() -> None:
    weaker = replace(LATENCY, series="weaker", score=0.6)
    assert views.anomaly_summary(row(series=(LATENCY, weaker), lines=())).model_dump()["top_series"] == SHOWN
    assert views.anomaly_summary(row()).top_series is None


@pytest.mark.parametrize("question", Question)
def test_every_question_can_be_shown(question: Question) -> None:
    assert views.anomaly(row(question=question), NO_EVIDENCE).question is question


@pytest.mark.parametrize(("alerted_ns", "alerted_at"), [(None, None), (1_213_455_361_500_000_000, "2008-06-14T14:56:01.500Z")])
def test_an_incident_says_whether_it_alerted(alerted_ns: int | None, alerted_at: str | None) -> None:
    stream = make_stream(STREAM, "checkout", StreamKey(Signal.LOGS, "checkout"))
    stored = replace(make_incident(1, stream, alerted=alerted_ns is not None, surprise_max=7.5), alerted_ns=alerted_ns)
    body = incident_views.incident(stored)
    assert (body.alerted, body.alerted_at, body.surprise_max) == (alerted_ns is not None, alerted_at, 7.5)


@pytest.mark.parametrize("question", Question)
def test_every_question_is_documented(question: Question) -> None:
    page = Path(__file__).parent.parent.parent / "docs" / "rest.md"
    assert f"\n| `{question}` | " in page.read_text()


@pytest.mark.parametrize("member", sorted({*evidence_models.Series.model_fields, *evidence_models.Chart.model_fields}))
def test_every_member_of_a_series_is_documented(member: str) -> None:
    page = Path(__file__).parent.parent.parent / "docs" / "rest.md"
    assert f"`{member}`" in page.read_text().partition("**Numbers.**")[2].partition("\n## ")[0]
