"""One plain sentence about calls and traces."""

import doctest
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cbad_cy.judgement import POOL_CALLED, POOL_MADE
from driftlock.engine.evidence import CallEvidence
from driftlock.engine.traces import sentence as module
from driftlock.engine.traces.sentence import Told, sentence
from driftlock.engine.verdict import Question
from tests.engine.traces.rows import CLIENT, second

PAY = CallEvidence(
    caller="shop/checkout@prod",
    callee="shop/payment@prod",
    operation="POST /pay",
    measure="duration",
    calls=15,
    affected=14,
    value=1.2,
    usual=0.0031,
    unit="s",
    bits=30.0,
    instance="pod-3",
)
OFFERS = CallEvidence(
    caller="shop/checkout@prod",
    callee="shop/discount@prod",
    operation="GET /offers",
    measure="calls",
    calls=900,
    affected=12,
    value=12 / 900,
    usual=0.0,
    unit="1",
    bits=30.0,
)
CAUSE = "; payment is the most probable cause."
TOLD = Told(second(0), second(0), ["GET /cart"], suspects=[("payment", 0.8), ("checkout", 0.2)])
FAILING = replace(PAY, measure="errors", unit="1", calls=1200, affected=144, value=0.12, usual=0.0013, instance="")
REPEATS = replace(OFFERS, measure="repeats", usual=0.001, caller="shop/discount@prod")


def test_the_examples_are_true() -> None:
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {},
            "Calls from checkout to payment (POST /pay) take 1.2 s, usually 3.1 ms: 14 of 15 calls, most in pod-3" + CAUSE,
        ),
        (
            {"measure": "gap", "instance": ""},
            "Calls from checkout to payment (POST /pay) spend 1.2 s on the way, usually 3.1 ms: 14 of 15 calls" + CAUSE,
        ),
        (
            {"measure": "self_time", "caller": "", "instance": ""},
            "payment (POST /pay) takes 1.2 s by itself, usually 3.1 ms: 14 of 15 calls" + CAUSE,
        ),
        (
            {"caller": "shop/payment@prod", "calls": 0, "instance": ""},
            "payment (POST /pay) takes 1.2 s, usually 3.1 ms: 14 of them" + CAUSE,
        ),
    ],
)
def test_slow_calls(changes: dict[str, Any], text: str) -> None:
    assert sentence(Question.LATENCY, replace(PAY, **changes), TOLD) == text


def test_a_call_that_nobody_answers_is_told_as_a_call() -> None:
    insert = replace(PAY, caller="", operation="INSERT", measure="self_time", instance="")
    text = "Calls that payment makes (INSERT) take 1.2 s, usually 3.1 ms: 14 of 15 calls" + CAUSE
    assert sentence(Question.LATENCY, insert, TOLD._replace(kind=CLIENT)) == text
    errors = replace(insert, measure="errors", unit="1", calls=1200, affected=144, value=0.12, usual=0.0013)
    assert sentence(Question.ERRORS, errors, TOLD._replace(kind=CLIENT)).startswith(
        "12 % of the calls that payment makes (INSERT) fail, usually 0.13 %: 144 of 1,200 calls;"
    )


@pytest.mark.parametrize(
    ("lasted_s", "told"),
    [(0.0, ""), (0.9, ""), (1.0, " within 1 s"), (17.4, " within 17 s"), (119.9, " within 119 s"), (120.0, " since 22:13 UTC")],
)
def test_how_long_it_lasts_is_told(lasted_s: float, told: str) -> None:
    text = sentence(Question.LATENCY, PAY, TOLD._replace(time_ns=second(lasted_s)))
    assert f" 14 of 15 calls{told}, most in pod-3;" in text


def test_failing_calls() -> None:
    assert sentence(Question.ERRORS, FAILING, TOLD) == (
        "12 % of the calls from checkout to payment (POST /pay) fail, usually 0.13 %: 144 of 1,200 calls" + CAUSE
    )
    own = replace(FAILING, caller="")
    assert sentence(Question.ERRORS, own, TOLD).startswith("12 % of the calls of payment (POST /pay) fail, usually")
    assert " fail, never before: 144 of" in sentence(Question.ERRORS, replace(own, usual=0.0), TOLD)
    assert " fail, hardly ever before: 144 of" in sentence(Question.ERRORS, replace(own, usual=2.3e-7), TOLD)
    assert ": 1 of 1 call;" in sentence(Question.ERRORS, replace(own, calls=1, affected=1), TOLD)


def test_a_new_part() -> None:
    assert sentence(Question.SHAPE, OFFERS, TOLD._replace(sign=1, suspects=())) == (
        "Traces of GET /cart have a new part: checkout calls discount (GET /offers), in 12 of 900 traces, never before."
    )
    usual = sentence(Question.SHAPE, replace(OFFERS, usual=0.001), TOLD._replace(sign=1, suspects=()))
    assert " have a part more often than usual: " in usual
    assert usual.endswith("in 12 of 900 traces, usually in 0.1 %.")
    hardly = sentence(Question.SHAPE, replace(OFFERS, usual=4e-5), TOLD._replace(sign=1, suspects=()))
    assert " have a new part: " in hardly
    assert hardly.endswith("in 12 of 900 traces, hardly ever before.")


def test_a_missing_part() -> None:
    assert sentence(Question.SHAPE, replace(OFFERS, usual=0.02), TOLD._replace(sign=-1, suspects=())) == (
        "Traces of GET /cart lack a part: checkout calls discount (GET /offers), missing in 12 of 900 traces, usually in 2 %."
    )


def test_repeats() -> None:
    told = TOLD._replace(suspects=(), repeats=5)
    assert sentence(Question.SHAPE, REPEATS, told) == (
        "Traces of GET /cart repeat a part: discount does GET /offers 5 times or more, in 12 of 900 traces, usually in 0.1 %."
    )
    assert "never before" in sentence(Question.SHAPE, replace(REPEATS, usual=0.0), told)


def test_traces_that_begin_in_several_places() -> None:
    told = TOLD._replace(sign=1, roots=["GET /cart", "POST /order"])
    assert sentence(Question.SHAPE, OFFERS, told).startswith("Traces of GET /cart and POST /order have a new part: ")
    many = told._replace(roots=["GET /cart", "POST /order", "job"])
    assert sentence(Question.SHAPE, OFFERS, many).startswith("Traces of GET /cart and others have a new part: ")
    assert sentence(Question.SHAPE, OFFERS, told._replace(roots=())).startswith("Traces have a new part: ")


def test_dependencies() -> None:
    told = TOLD._replace(sign=1, time_ns=second(60))
    assert sentence(Question.DEPENDENCY, OFFERS, told) == (
        "checkout calls discount (GET /offers) for the first time: in 12 traces within 60 s."
    )
    gone = replace(OFFERS, affected=128, calls=128, usual=0.002)
    assert sentence(Question.DEPENDENCY, gone, TOLD._replace(sign=-1)) == (
        "checkout no longer calls discount (GET /offers): missing in 128 of 128 traces, usually in 0.2 %."
    )
    hardly = sentence(Question.DEPENDENCY, replace(gone, affected=120), told._replace(sign=-1))
    assert hardly.startswith("checkout hardly ever calls discount (GET /offers): missing in 120 of 128 traces")


def test_a_callee_whose_spans_are_lost_may_still_be_called() -> None:
    gone = replace(OFFERS, affected=128, calls=128)
    told = TOLD._replace(sign=-1, caller_kind=CLIENT, suspects=[("discount", 1.0)])
    assert sentence(Question.DEPENDENCY, gone, told) == (
        "Calls from checkout to discount (GET /offers) leave no spans of discount: 128 of 128, never before; "
        "discount is the most probable cause."
    )


def test_what_many_operations_show_together_is_said_of_their_service() -> None:
    told = TOLD._replace(pool=POOL_MADE, above="POST /pay", time_ns=second(30))
    assert sentence(Question.LATENCY, PAY, told) == (
        "Calls of payment take longer than usual, most in pod-3, above all POST /pay" + CAUSE
    )
    assert sentence(Question.ERRORS, FAILING, told) == (
        "Calls of payment fail more often than usual, above all POST /pay" + CAUSE
    )
    assert sentence(Question.LATENCY, replace(PAY, instance=""), told._replace(pool=POOL_CALLED)) == (
        "Calls of payment spend longer on the way than usual, above all POST /pay" + CAUSE
    )


def test_two_are_named_where_no_one_has_half_of_the_evidence() -> None:
    told = TOLD._replace(suspects=[("payment", 0.45), ("checkout", 0.4), ("cart", 0.15)])
    assert sentence(Question.LATENCY, PAY, told).endswith("; payment or checkout is the most probable cause.")


def test_services_of_one_name_are_told_apart() -> None:
    text = sentence(Question.LATENCY, replace(PAY, caller="a/api@prod", callee="b/api@prod"), TOLD)
    assert text.startswith("Calls from a/api@prod to b/api@prod (POST /pay) take")


def test_endless_names_are_cut() -> None:
    assert len(sentence(Question.LATENCY, replace(PAY, operation="x" * 10_000), TOLD)) < 400


def test_the_sentences_of_the_documentation_are_true() -> None:
    page = (Path(__file__).parents[3] / "docs" / "concepts.md").read_text()
    told = TOLD._replace(sign=1, suspects=())
    gone = replace(OFFERS, affected=128, calls=128, usual=0.002)
    for row, text in {
        "slow calls": sentence(Question.LATENCY, PAY, TOLD),
        "the way between two services": sentence(Question.LATENCY, replace(PAY, measure="gap", instance=""), TOLD),
        "an operation by itself": sentence(Question.LATENCY, replace(PAY, measure="self_time", caller="", instance=""), TOLD),
        "failing calls": sentence(Question.ERRORS, FAILING, TOLD),
        "a whole service, or an instance of it": sentence(
            Question.ERRORS, replace(FAILING, instance="pod-3"), TOLD._replace(pool=POOL_MADE, above="POST /pay")
        ),
        "a new part": sentence(Question.SHAPE, OFFERS, told),
        "a missing part": sentence(Question.SHAPE, replace(OFFERS, usual=0.02), told._replace(sign=-1)),
        "repeats": sentence(Question.SHAPE, REPEATS, told._replace(repeats=5)),
        "a new dependency": sentence(Question.DEPENDENCY, OFFERS, told._replace(time_ns=second(60))),
        "a service whose spans are gone": sentence(
            Question.DEPENDENCY, replace(gone, usual=0.0), TOLD._replace(sign=-1, caller_kind=CLIENT, suspects=())
        ),
        "a dependency that is gone": sentence(Question.DEPENDENCY, gone, told._replace(sign=-1, time_ns=second(60))),
    }.items():
        assert f"| {row} | {text} |" in page
