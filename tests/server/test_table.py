import io
from typing import Any

from rich.console import Console

from driftlock.engine.verdict import MissingLine, NovelLine, Question
from server.replay.run import grouped
from server.report.episodes import Episode, StreamReport, ToldLine, told_of_finding, told_of_json
from server.report.table import LINE_CHARS_MAX, PATHS_CHARS_MAX, line_text, print_report
from tests.api.fakes import make_finding


def line(segments: list[tuple[str, bool]], count: int = 1) -> dict[str, Any]:
    return {"segments": [{"text": text, "novel": novel} for text, novel in segments], "count": count}


def told(segments: list[tuple[str, bool]], count: int = 1) -> ToldLine:
    return ToldLine(tuple(segments), count)


def finding(**changes: Any) -> dict[str, Any]:
    return {
        "start": "2024-05-01T10:52:38.108Z",
        "first_event": 100,
        "last_event": 149,
        "ncd": 0.5,
        "p_value": 0.005,
        "explanation": "one line is new",
        "lines": [line([("known ", False), ("new", True)])],
        **changes,
    }


def printed(findings: list[dict[str, Any]], *, incidents: int = 1) -> str:
    out = io.StringIO()
    episodes = [
        Episode(told_of_json(item), 3, item["start"], item["start"], item["first_event"], item["last_event"])
        for item in findings
    ]
    print_report(Console(file=out, width=160), StreamReport("shop", episodes, incidents, len(findings)))
    return out.getvalue()


def test_a_quiet_short_input_is_not_said_to_hold_nothing_new() -> None:
    out = io.StringIO()
    print_report(Console(file=out, width=160), StreamReport("shop", [], 0, 0), quick=True)
    assert out.getvalue() == "shop: no window is unusual enough.\n"
    assert printed([]) == "shop: nothing in these lines that the stream's past does not explain.\n"


def test_novel_bytes_are_marked_without_colour_too() -> None:
    text = line_text(told([("status ", False), ("500", True), (" for user", False)], count=4))
    assert text.plain == "status [500] for user  (4 alike)"
    assert str(text.spans[0].style) == "bold black on yellow"


def test_bits_and_places_of_a_line_are_told() -> None:
    line = ToldLine((("status ", False), ("500", True)), 1, 11.4, ("http.status", "body"))
    assert line_text(line).plain == "status [500]  (11 bits; in http.status, body)"
    assert line_text(ToldLine((("all new", True),), 1, paths=("body",))).plain == "[all new]"
    assert (
        len(line_text(ToldLine((("x", True),), 1, paths=tuple(f"attribute.{n}" for n in range(99)))).plain)
        < PATHS_CHARS_MAX + 20
    )


def test_question_missing_lines_and_proof_are_told() -> None:
    segment = {"text": "500", "novel": True, "bits": 11.0, "path": "http.status"}
    missing = [{"text": "heartbeat \x1bok", "expected": 120.0, "observed": 0.0, "horizon": 500}]
    out = printed(
        [
            finding(
                question="less",
                lines=[{"segments": [segment], "count": 2, "bits": 14.0}],
                missing=missing,
                verified=True,
                p_without=0.61,
            )
        ]
    )
    for expected in ("less", "[500]  (2 alike; 14 bits; in http.status)", "missing: heartbeat \\x1bok  (0 times, usually 120)"):
        assert expected in out
    assert "verified: without these lines p is 0.610" in out
    assert "verified" not in printed([finding(verified=False, p_without=0.61)])


def test_a_finding_of_this_process_is_told_like_one_of_rest() -> None:
    line = NovelLine(7, 0, "status 500", ((7, 10),), 2, bits=14.0, span_bits=(11.0,), span_paths=("http.status",), count=2)
    missing = (MissingLine("heartbeat ok", 120.0, 0.0, 500),)
    here = make_finding(lines=(line,), missing=missing, question=Question.LESS, verified=True, p_without=0.5)
    rest = {
        "ncd": here.ncd,
        "p_value": here.p_value,
        "explanation": here.explanation,
        "question": "less",
        "verified": True,
        "p_without": 0.5,
        "missing": [{"text": "heartbeat ok", "expected": 120.0, "observed": 0.0, "horizon": 500}],
        "lines": [
            {
                "segments": [{"text": "status ", "novel": False}, {"text": "500", "novel": True, "path": "http.status"}],
                "count": 2,
                "bits": 14.0,
            }
        ],
    }
    assert told_of_finding(here) == told_of_json(rest)


def test_control_characters_never_reach_the_terminal() -> None:
    out = printed([finding(explanation="e\x1b[2Jvil", lines=[line([("\x1b]0;title\x07", True)])])])
    assert "\x1b" not in out
    assert "\\x1b]0;title\\x07" in out


def test_markup_in_a_log_line_is_text() -> None:
    assert "[red]not red[/red]" in printed([finding(explanation="[red]not red[/red]")])


def test_a_long_line_is_cut() -> None:
    text = line_text(told([("x" * 10_000, False), ("tail", True)])).plain
    assert len(text) < LINE_CHARS_MAX + 10
    assert text.endswith("…")


def test_the_table_says_what_when_and_how_strange() -> None:
    out = printed([finding()])
    for expected in (
        "shop: 1 incident of 1 finding.",
        "3 windows",
        "2024-05-01 10:52:38",
        "100-",
        "149",
        "0.500",
        "0.0050",
        "one line is new",
        "known [new]",
    ):
        assert expected in out


def test_more_incidents_than_shown_and_none() -> None:
    assert "7 incidents of 1 finding, the 1 strangest shown" in printed([finding(start=None)], incidents=7)
    assert "nothing in these lines" in printed([])


def test_findings_of_neighbouring_windows_are_one_group() -> None:
    windows = [3, 4, 9, 15, 16]
    assert [[item["window"] for item in group] for group in grouped([{"window": window} for window in windows])] == [
        [3, 4, 9],
        [15, 16],
    ]
