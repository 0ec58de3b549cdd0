import random
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.engine.profile import PROFILES
from driftlock.engine.verdict import Calibration, WindowScore
from server.report.picture import Picture, PictureError
from server.report.plot import Thresholds, plot
from server.report.series import Point, ScoreSeries

BALANCED = Thresholds(0.3, 0.05)
DAY_NS = 86_400 * 10**9
START_NS = 1_700_000_000 * 10**9
SVG = "{http://www.w3.org/2000/svg}"


def score(window: int, *, ncd: float = 0.1, p_value: float = 0.5, flagged: bool = False) -> WindowScore:
    time_ns = START_NS + window * 10**9
    return WindowScore(window, 0, 1, time_ns, time_ns, 8, ncd, p_value, 0.5, flagged, Calibration.OK)


def series(count: int, points_max: int, odd: int = -1) -> ScoreSeries:
    made = ScoreSeries(points_max)
    for window in range(count):
        made.window(score(window, ncd=0.9, p_value=0.001, flagged=True) if window == odd else score(window))
    return made


def elements(svg: str, tag: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(svg).iter(f"{SVG}{tag}"))  # noqa: S314 - what we drew ourselves


@given(st.integers(1, 400), st.integers(1, 20), st.data())
def test_a_series_is_bounded_and_keeps_its_peak(count: int, points_max: int, data: st.DataObject) -> None:
    odd = data.draw(st.integers(0, count - 1))
    points = series(count, points_max, odd).points
    assert len(points) <= 2 * points_max
    assert [point.flagged for point in points].count(True) == 1
    assert max(points, key=lambda point: point.ncd).surprise == pytest.approx(3)
    assert [point.time_ns for point in points] == sorted(point.time_ns for point in points)


def test_a_short_series_is_kept_as_it_is() -> None:
    assert [point.time_ns for point in series(30, 20).points] == [START_NS + window * 10**9 for window in range(30)]


def test_a_panel_a_stream_with_thresholds_and_marked_findings() -> None:
    svg = plot([("shop", series(50, 100, odd=20).points), ("mail", series(50, 100).points)], BALANCED)
    titles = [item.text for item in elements(svg, "text") if item.get("class") == "title"]
    assert titles == ["shop", "mail"]
    assert len(elements(svg, "polyline")) == 4
    assert len([item for item in elements(svg, "path") if item.get("class") == "limit"]) == 4
    assert len(elements(svg, "circle")) == 2
    assert "prefers-color-scheme:dark" in svg


def test_equal_scores_give_equal_bytes() -> None:
    assert plot([("shop", series(50, 20).points)], BALANCED) == plot([("shop", series(50, 20).points)], BALANCED)


@pytest.mark.parametrize("name", ["</svg><script>", '"&\x1b[2J\u202e', "x" * 10_000], ids=["markup", "controls", "long"])
def test_a_name_is_only_text(name: str) -> None:
    svg = plot([(name, series(3, 20).points)], BALANCED)
    assert not elements(svg, "script")
    assert "\x1b" not in svg
    assert len(svg) < 10_000


def test_a_stream_without_windows_says_so() -> None:
    assert "too short" in plot([("shop", [])], BALANCED)
    assert elements(plot([], BALANCED), "rect")


@pytest.mark.parametrize("span_ns", [0, 1, 10**9, 3600 * 10**9, DAY_NS, 40 * DAY_NS, 20_000 * DAY_NS])
def test_ticks_stay_few_and_inside(span_ns: int) -> None:
    points = [Point(START_NS, 0.1, 0.1, False), Point(START_NS + span_ns, 0.2, 5.0, False)]
    svg = plot([("shop", points)], BALANCED)
    ticks = [item for item in elements(svg, "path") if (item.get("d") or "").endswith("v5")]
    assert len(ticks) <= 8
    assert all(60 <= float((item.get("d") or "M0 ").split()[0][1:]) <= 945 for item in ticks)


def test_scores_of_any_size_stay_in_their_strip() -> None:
    source = random.Random(1)
    points = [Point(START_NS + index, source.random(), source.random() * 300, False) for index in range(100)]
    for line in elements(plot([("shop", points)], BALANCED), "polyline"):
        heights = [float(pair.split(",")[1]) for pair in (line.get("points") or "").split()]
        assert max(heights) - min(heights) <= 110


def test_the_ending_names_the_format(tmp_path: Path) -> None:
    drawn = [("shop", series(50, 100, odd=20))]
    Picture(tmp_path / "x.svg").draw(drawn, PROFILES["balanced"])
    assert elements((tmp_path / "x.svg").read_text(), "polyline")
    Picture(tmp_path / "x.png").draw(drawn, PROFILES["balanced"])
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_what_can_not_be_drawn_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PictureError, match=r"name the file \.svg or \.png"):
        Picture(tmp_path / "x.pdf")
    with pytest.raises(PictureError, match="there is no folder"):
        Picture(tmp_path / "missing" / "x.svg")
    (tmp_path / "x.svg").mkdir()
    with pytest.raises(PictureError, match="can not be written"):
        Picture(tmp_path / "x.svg").draw([], PROFILES["balanced"])
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(PictureError, match=r"pip install 'driftlock\[png\]'"):
        Picture(tmp_path / "x.png")
