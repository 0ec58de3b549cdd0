"""One plain sentence about numbers; what it says of the past is true, or it is not said."""

import doctest
from dataclasses import replace

import pytest

from cbad_cy.series import EXPERTS
from driftlock.engine.evidence import SeriesEvidence
from driftlock.engine.numbers import sentence
from driftlock.engine.numbers.sentence import (
    EXPERT_WORDS,
    flatline_sentence,
    line_silence_sentence,
    missing_sentence,
    pattern_sentence,
    point_sentence,
    rate_sentence,
    resource_missing_sentence,
    shape_sentence,
    shift_sentence,
    silence_sentence,
    together_sentence,
    value_sentence,
)

HOUR_NS = 3600 * 10**9
NOON_NS = 20_000 * 24 * HOUR_NS + 12 * HOUR_NS
MINUTE_NS = 60 * 10**9
P99 = SeriesEvidence(
    series="http.server.duration{route=/a} p99",
    value=2.31,
    expected=0.31,
    low=0.18000000000000002,
    high=0.42,
    bits=14.0,
    score=0.8,
    expert="week",
    since_ns=NOON_NS - 4 * MINUTE_NS,
    instance="pod-3",
)


def test_the_examples_are_true() -> None:
    assert doctest.testmod(sentence).failed == 0


def test_every_expert_has_words() -> None:
    assert set(EXPERT_WORDS) == set(EXPERTS)


def test_a_value() -> None:
    assert value_sentence(P99, points=4210, end_ns=NOON_NS, record=True) == (
        "`http.server.duration{route=/a} p99` of pod-3 is 2.31, usually 0.18 to 0.42 at this hour of the week "
        "(since 11:56 UTC): the highest of 4,210 points."
    )


@pytest.mark.parametrize(
    ("changes", "record", "sentence"),
    [
        ({"value": 0.1}, True, "`x` is 0.1, usually 0.18 to 0.42 by its trend (at 12:00 UTC): the lowest of 90 points."),
        ({"value": 0.1}, False, "`x` is 0.1, usually 0.18 to 0.42 by its trend (at 12:00 UTC)."),
        ({"value": 0.4}, False, "`x` is 0.4, expected was 0.31 by its trend (at 12:00 UTC)."),
        ({"value": 0.420001, "expert": "?"}, False, "`x` is 0.420001, usually 0.18 to 0.42 (at 12:00 UTC)."),
        ({"value": 5.0, "low": 3.0, "high": 3.0, "expected": 3.0}, False, "`x` is 5, usually 3 by its trend (at 12:00 UTC)."),
        (
            {"value": 9.0, "low": 4.9999999981999999, "high": 5.0000000018000001, "expected": 5.0},
            False,
            "`x` is 9, usually 5 by its trend (at 12:00 UTC).",
        ),
        (
            {"value": 5.00000001, "low": 4.9999999981999999, "high": 5.0000000018000001, "expected": 5.0},
            False,
            "`x` is 5, 8.2e-09 above what is usual by its trend (at 12:00 UTC).",
        ),
        (
            {"value": 5.000000001, "low": 4.9999999981999999, "high": 5.0000000018000001, "expected": 5.0},
            False,
            "`x` is 5, very near to what was expected by its trend (at 12:00 UTC).",
        ),
    ],
)
def test_values_of_other_kinds(changes: dict[str, object], record: bool, sentence: str) -> None:
    it = replace(P99, series="x", instance="", expert="trend", since_ns=NOON_NS)
    assert value_sentence(replace(it, **changes), points=90, end_ns=NOON_NS, record=record) == sentence


def test_a_shift() -> None:
    assert shift_sentence(replace(P99, series="x"), end_ns=NOON_NS) == (
        "`x` of pod-3 stays away from what its long past expects (since 11:56 UTC): it is 2.31 now."
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "0.18 to 0.42 (since 11:56 UTC)"),
        ({"since_ns": NOON_NS}, "0.18 to 0.42 (at 12:00 UTC)"),
        ({"low": 0.31, "high": 0.31}, "0.31 (since 11:56 UTC)"),
        ({"low": 0.30999999999, "high": 0.31000000001}, "0.31 (since 11:56 UTC)"),
        ({"high": 9.0}, "0.31 (since 11:56 UTC)"),
    ],
)
def test_a_single_point(changes: dict[str, object], words: str) -> None:
    it = replace(P99, series="x", **changes)
    assert point_sentence(it, end_ns=NOON_NS) == f"`x` of pod-3 is 2.31, where its long past expects {words}."


def test_a_single_point_by_a_hair() -> None:
    it = replace(P99, series="x", value=0.42 + 3e-9)
    assert point_sentence(it, end_ns=NOON_NS) == (
        "`x` of pod-3 is 0.42, 3e-09 above what its long past expects (since 11:56 UTC)."
    )
    it = replace(it, value=0.18 - 3e-9)
    assert "is 0.18, 3e-09 below what" in point_sentence(it, end_ns=NOON_NS)


@pytest.mark.parametrize(
    ("value", "record", "words"),
    [
        (779.0, True, "is distributed as never before: 779 bits of change, usually 0 to 5.6"),
        (779.0, False, "is distributed otherwise than usual: 779 bits of change, usually 0 to 5.6"),
        (2.0, True, "is distributed otherwise than expected: 2 bits of change, expected was 1.2"),
        (-1.0, True, "changes its distribution less than usual: -1 bits of change, usually 0 to 5.6"),
    ],
)
def test_a_shape(value: float, record: bool, words: str) -> None:
    it = replace(P99, series="latency shape", value=value, low=0.0, high=5.6, expected=1.2)
    assert shape_sentence(it, end_ns=NOON_NS, record=record) == f"`latency` of pod-3 {words} (since 11:56 UTC)."


def test_a_pattern() -> None:
    it = replace(P99, series="x")
    assert pattern_sentence(it, points=4210, end_ns=NOON_NS) == (
        "`x` of pod-3 moves as in no stretch of the 4,210 points before (since 11:56 UTC): "
        "it is 2.31 at 12:00 UTC, usually 0.18 to 0.42 at this hour of the week."
    )


def test_a_flatline() -> None:
    it = replace(P99, series="x", value=0.30000000000000004, since_ns=NOON_NS - HOUR_NS)
    assert flatline_sentence(it, points=4210, end_ns=NOON_NS) == (
        "`x` of pod-3 has stood still at 0.3 for 60 minutes (since 11:00 UTC), longer than ever in 4,210 points."
    )


def test_a_missing_series() -> None:
    assert missing_sentence("x", "pod-3", last_ns=NOON_NS, step_ns=15 * 10**9, now_ns=NOON_NS + 12 * MINUTE_NS) == (
        "`x` of pod-3 has not come for 12 minutes (since 12:00 UTC); it usually comes every 15 s."
    )


def test_a_missing_resource() -> None:
    told = resource_missing_sentence("pod-3", missing=31, series=34, example="x", last_ns=NOON_NS, now_ns=NOON_NS + 3 * HOUR_NS)
    assert told == "31 of 34 series of pod-3 have not come for 3 hours (since 12:00 UTC), among them `x`."


@pytest.mark.parametrize(
    ("value", "record", "sentence"),
    [
        (
            412.0,
            True,
            "checkout had 412 events a minute, usually 18 to 42 in the long run (since 11:56 UTC): the most of 600 minutes.",
        ),
        (
            0.0,
            True,
            "checkout had 0 events a minute, usually 18 to 42 in the long run (since 11:56 UTC): the fewest of 600 minutes.",
        ),
        (412.0, False, "checkout had 412 events a minute, usually 18 to 42 in the long run (since 11:56 UTC)."),
        (
            40.0,
            False,
            "checkout had an unusual number of events a minute (since 11:56 UTC): 40, usually 18 to 42 in the long run.",
        ),
    ],
)
def test_a_rate(value: float, record: bool, sentence: str) -> None:
    it = replace(P99, series="events per minute", value=value, low=18.0, high=42.0, expected=30.0, expert="slow")
    assert rate_sentence("checkout", it, minutes=600, end_ns=NOON_NS, record=record) == sentence


def test_a_silent_line() -> None:
    told = line_silence_sentence(
        "`heartbeat ok`",
        last_ns=NOON_NS,
        now_ns=NOON_NS + 12 * MINUTE_NS,
        step_ns=60 * 10**9,
        longest_ns=64 * 10**9,
        gaps=4000,
    )
    assert told == "`heartbeat ok` has not come for 12 minutes; it usually comes every 60 s (longest gap in 4,000: 64 s)."


@pytest.mark.parametrize(("expected", "words"), [(123.4, "120 events were"), (1.02, "1 event was")])
def test_a_silent_stream(expected: float, words: str) -> None:
    told = silence_sentence("checkout", last_ns=NOON_NS, now_ns=NOON_NS + 150 * 10**9, expected=expected)
    assert told == f"Nothing has come from checkout for 2 minutes (since 12:00 UTC); about {words} to be expected."


def test_many_series() -> None:
    cpu = replace(P99, series="cpu", value=0.9, low=0.1, high=0.2)
    told = together_sentence("pod-3", [cpu, replace(cpu, series="mem", instance="")], odd=12, series=31, alone=False)
    assert told == (
        "12 of 31 series of pod-3 are unusual at once, none by itself enough: "
        "`cpu` 0.9 (usually 0.1 to 0.2), `mem` 0.9 (usually 0.1 to 0.2) and 10 more."
    )
    assert together_sentence("", [cpu], odd=1, series=31, alone=True) == (
        "1 of 31 series are unusual at once: `cpu` of pod-3 0.9 (usually 0.1 to 0.2)."
    )
