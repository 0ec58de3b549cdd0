"""What a flag involves, and which traces a finding names."""

from dataclasses import replace

import pytest

from driftlock.engine.correlation.flag import FINDING_TRACES_MAX, NO_TRACE, spans_services, traces_of
from driftlock.engine.event import Signal, StreamKey, trace_stream_key
from driftlock.engine.evidence import TraceExample
from driftlock.engine.verdict import NovelLine, Question
from tests.engine.correlation.shop import CART_SERVICE, LOGS, PAY_SERVICE, SPANS, TEXTS, blame, flag
from tests.storage.helpers import finding


@pytest.mark.parametrize("environment", ["", "prod", "a:b@c"])
def test_streams_of_many_services_are_known_by_their_text(environment: str) -> None:
    assert spans_services(trace_stream_key(environment).text)
    assert not spans_services(StreamKey(Signal.LOGS, "_traces", "", environment).text)
    assert not spans_services(StreamKey(Signal.TRACES, "_traces2", "", environment).text)
    assert not spans_services(StreamKey(Signal.TRACES, "_traces", "shop", environment).text)


def test_a_flag_involves_the_service_of_its_stream_or_its_suspects() -> None:
    assert flag(LOGS, 600).services == (CART_SERVICE,)
    found = blame(600, PAY_SERVICE, CART_SERVICE)
    assert (found.across, found.services) == (True, (PAY_SERVICE, CART_SERVICE))
    assert TEXTS[SPANS] == trace_stream_key("prod").text


def test_a_finding_names_the_traces_of_its_examples_and_lines_once() -> None:
    lines = tuple(NovelLine(0, 0, "x", (), 1, trace_id=trace_id) for trace_id in ("b" * 32, "", "c" * 32, NO_TRACE, "b" * 32))
    examples = tuple(TraceExample(trace_id, 0, 0, 1, "root") for trace_id in ("a" * 32, "c" * 32))
    assert traces_of(finding(1, lines=lines, examples=examples)) == ("a" * 32, "c" * 32, "b" * 32)
    assert traces_of(finding(1)) == ()


def test_an_interaction_that_is_a_trace_is_named() -> None:
    line = NovelLine(0, 0, "x", (), 1, trace_id="a" * 32)
    about = finding(1, question=Question.INTERACTION, subject="b" * 32, lines=(line,))
    assert traces_of(about) == ("b" * 32, "a" * 32)
    assert traces_of(replace(about, subject="session 4711")) == ("a" * 32,)
    assert traces_of(replace(about, question=Question.INSTANCE)) == ("a" * 32,)


def test_a_finding_can_be_found_by_so_many() -> None:
    examples = tuple(TraceExample(f"{number:032x}", 0, 0, 1, "root") for number in range(1, 2 * FINDING_TRACES_MAX))
    assert len(traces_of(finding(1, examples=examples))) == FINDING_TRACES_MAX
