import json
import random
import select
import signal
import subprocess
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.engine.canonical import CanonicalLimits
from driftlock.engine.profile import DEFAULT_PROFILE, PROFILES
from server.cli import main
from server.offline.belief import CONFIRMING_SPANS
from server.offline.events import STREAMS_MAX
from server.offline.spans import SpanReader
from server.offline.traces import SpanScorer
from tests.e2e.harness import COMMAND, environment
from tests.server.span_lines import FIRST_S, lines, spans

TRACES, ODD_FROM = 1200, 1100
READ_S_MAX = 60  # for what a process has to answer
SPANS = spans(TRACES, odd_from=ODD_FROM)
DATA = b"".join(lines(SPANS))


def score(*arguments: str, data: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["score", "--signal=spans", *arguments], input=data)


def objects(output: bytes | str) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=lambda name: pytest.fail(name)) for line in output.splitlines()]


WHOLE = score(data=DATA)
FOUND = objects(WHOLE.stdout)


def of(kind: str, found: list[dict[str, Any]] = FOUND) -> list[dict[str, Any]]:
    return [it for it in found if it["type"] == kind]


def test_every_span_and_every_trace_is_told_once() -> None:
    assert (WHOLE.exit_code, WHOLE.stderr) == (0, "")
    assert [it["index"] for it in of("span")] == list(range(5 * TRACES))
    assert [(it["trace"], it["span"], it["service"]) for it in of("span")] == [
        (it["trace"], it["span"], it["service"]) for it in SPANS
    ]
    assert all(it["bits"] >= 0 for it in of("span"))
    assert Counter(it["trace"] for it in of("trace")) == Counter({it["trace"]: 1 for it in SPANS})


def test_traces_are_put_together() -> None:
    first, last = of("trace")[0], of("trace")[-1]
    assert first["services"] == ["cart", "gateway", "payment"]
    assert (first["service"], first["root"], first["spans"], first["errors"], first["marks"]) == (
        "gateway",
        "POST /buy",
        5,
        0,
        [],
    )
    root = next(it for it in SPANS if it["trace"] == first["trace"] and "parent" not in it)
    assert (first["time"], first["dur_us"]) == ("2023-11-14T22:13:20Z", root["dur_us"])
    assert last["errors"] == 2


def test_the_fault_becomes_an_incident_with_its_culprit() -> None:
    found = [it for it in of("incident") if it["final"] and it["culprit"] == "payment"]
    assert found
    odd = {it["trace"] for it in SPANS if it["time"] >= FIRST_S + ODD_FROM * 0.5}
    assert set(found[0]["trace_ids"]) & odd
    assert found[0]["suspects"][0]["service"] == "payment"
    assert found[0]["findings"] >= 1
    ids = {it["id"] for it in of("finding")}
    assert set(found[0]["finding_ids"]) <= ids
    questions = {it["verdict"]["question"] for it in of("finding") if it["stream"] == "traces:_traces"}
    assert questions & {"latency", "errors"}


def test_incidents_are_told_when_they_begin_and_when_they_are_over() -> None:
    told = [(it["id"], it["final"]) for it in of("incident")]
    assert told
    assert len(set(told)) == len(told)
    assert {number for number, final in told if final} == {number for number, final in told if not final}
    for number in {number for number, _ in told}:
        assert told.index((number, False)) < told.index((number, True))


def test_traces_and_findings_without_spans() -> None:
    done = objects(score("--no-events", data=DATA).stdout)
    assert done == [it for it in FOUND if it["type"] != "span"]


def test_files_are_one_input(tmp_path: Path) -> None:
    raw = lines(SPANS)
    (tmp_path / "one").write_bytes(b"".join(raw[:777]))
    (tmp_path / "two").write_bytes(b"".join(raw[777:]))
    assert score(str(tmp_path / "one"), str(tmp_path / "two")).stdout == WHOLE.stdout


SOME = [SpanReader(CanonicalLimits()).span(line) for line in lines(spans(60))]


def run(cuts: list[int]) -> str:
    scorer = SpanScorer(PROFILES[DEFAULT_PROFILE], seed=0, events=True)
    bounds = [0, *sorted(cuts), len(SOME)]
    told = [scorer.take(SOME[first:last]) for first, last in pairwise(bounds)]
    return "".join([*told, scorer.finish()])


AT_ONCE = run([])


@settings(max_examples=20)
@given(st.lists(st.integers(0, 300), max_size=12))
def test_reads_change_nothing(cuts: list[int]) -> None:
    assert run(cuts) == AT_ONCE


def test_order_within_a_few_seconds_changes_no_trace() -> None:
    mixed = sorted(SPANS, key=lambda it: it["time"] + random.Random(it["span"]).random() * 4)
    told = of("trace", objects(score("--no-events", data=b"".join(lines(mixed))).stdout))
    assert {json.dumps(it) for it in told} == {json.dumps(it) for it in of("trace")}


def test_a_step_holds_so_many_spans() -> None:
    scorer = SpanScorer(PROFILES[DEFAULT_PROFILE], seed=0, events=True)
    told = [scorer.take([SOME[0]]) for _ in range(4097)]
    assert not any(told[:-1])
    assert len(of("span", objects(told[-1]))) == 4096


def test_spans_without_a_place_in_a_trace_are_lines_only() -> None:
    some = [{name: it[name] for name in ("time", "service", "name", "dur_us")} for it in SPANS[:50]]
    told = objects(score(data=b"".join(lines(some))).stdout)
    assert [it["type"] for it in told] == ["span"] * 50
    assert {(it["trace"], it["span"]) for it in told} == {("", "")}


def test_an_empty_input_gives_an_empty_output() -> None:
    done = score(data=b"\n\n")
    assert (done.exit_code, done.output) == (0, "")


def test_a_live_pipe_is_answered_step_by_step() -> None:
    command = [*COMMAND, "score", "--signal=spans"]
    raw = lines(SPANS)
    with subprocess.Popen(command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"".join(raw[:60]))
        process.stdin.flush()
        answered, _, _ = select.select([process.stdout], [], [], READ_S_MAX)
        told = process.stdout.readline() if answered else b"{}"
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=READ_S_MAX)
        finally:
            process.kill()
    assert json.loads(told)["index"] == 0
    assert process.returncode == 130


@pytest.mark.parametrize("bad", [b"no json\n", b'{"time": 7}\n', b"[]\n"], ids=["no json", "no service", "no object"])
def test_a_bad_line_stops_the_run_and_is_named(bad: bytes) -> None:
    done = score(data=b"".join([*lines(SPANS[:100]), b"\n", bad, *lines(SPANS[100:])]))
    assert done.exit_code == 1
    [line] = done.stderr.splitlines()
    assert "standard input, line 102 " in line
    assert "--skip-bad" in line
    assert done.stdout == score(data=b"".join(lines(SPANS[:100]))).stdout


def test_bad_lines_can_be_left_out_and_are_counted() -> None:
    done = score("--skip-bad", data=b"".join([b"{\n", *lines(SPANS[:100]), b"7\n"]))
    assert (done.exit_code, done.stdout) == (0, score(data=b"".join(lines(SPANS[:100]))).stdout)
    assert done.stderr.startswith("2 lines skipped; the first: standard input, line 1 is not JSON")


AHEAD = {"time": FIRST_S + 20 * 365 * 86_400, "trace": "7", "span": "7", "service": "cart", "name": "GET", "dur_us": 5}


@pytest.mark.parametrize("place", [0, 1, 60, 3000, len(SPANS) - CONFIRMING_SPANS])
def test_one_clock_that_is_years_ahead_stops_no_judging(place: int) -> None:
    raw = lines(SPANS)
    raw.insert(place, *lines([AHEAD]))
    done = score("--skip-bad", data=b"".join(raw))
    assert (done.exit_code, done.stdout) == (0, WHOLE.stdout)
    assert done.stderr.startswith(f'1 lines skipped; the first: standard input, line {place + 1} has a "time" more than 10 min')


@pytest.mark.parametrize("more", [[], [b"no json\n"]], ids=["alone", "before another bad line"])
def test_a_clock_that_is_years_ahead_is_named_when_it_stops_the_run(more: list[bytes]) -> None:
    raw = lines(SPANS[:100])
    done = score(data=b"".join([*raw[:80], *lines([AHEAD]), *raw[80:], *more]))
    assert done.exit_code == 1
    [line] = done.stderr.splitlines()
    assert 'standard input, line 81 has a "time" more than 10 minutes ahead' in line
    assert "--skip-bad" in line
    assert done.stdout == score(data=b"".join(raw[:80])).stdout


def test_after_a_gap_spans_are_judged_as_before() -> None:
    before, after = spans(60), [it | {"time": it["time"] + 7200} for it in spans(60, seed=4)]
    done = score("--skip-bad", data=b"".join(lines([*before, *after])))
    assert (done.exit_code, done.stderr) == (0, "")
    assert len(of("span", objects(done.stdout))) == 600


@pytest.mark.parametrize("time", [4_607_279_999, 4_607_280_000], ids=["the last second", "beyond"])
def test_the_latest_time_is_judged_and_ends_and_a_later_one_is_refused(time: int) -> None:
    done = score("--skip-bad", data=b"".join(lines([*SPANS[:100], AHEAD | {"time": time}])))
    told = of("span", objects(done.stdout))
    assert done.exit_code == 0
    assert len(told) == (101 if time == 4_607_279_999 else 100)
    assert ("outside the years 1970 to 2115" in done.stderr) == (time == 4_607_280_000)


def test_too_many_services_stop_the_run_even_when_bad_lines_are_skipped() -> None:
    many = b"".join(b'{"time":1,"service":"s%d","name":"a","dur_us":1}\n' % number for number in range(STREAMS_MAX + 1))
    done = score("--skip-bad", "--no-events", data=many)
    assert done.exit_code == 1
    assert f"line {STREAMS_MAX + 1}: there are more than {STREAMS_MAX} services (services_max)" in done.stderr


def test_a_budget_marks_incidents() -> None:
    told = objects(score("--no-events", "--budget=0", data=DATA).stdout)
    assert {it["over_budget"] for it in of("incident", told)} == {True}
    assert "over_budget" not in of("incident")[0]


def test_spans_are_not_drawn(tmp_path: Path) -> None:
    done = score("--plot", str(tmp_path / "x.svg"), data=DATA)
    assert (done.exit_code, "--signal metrics" in done.stderr) == (2, True)
