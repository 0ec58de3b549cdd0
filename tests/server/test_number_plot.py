import random
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.report.number_plot import STRIP, number_plot
from server.report.number_series import NumberCharts, NumberSeries
from server.report.timeline import TITLE

START_NS, MINUTE_NS = 1_700_000_000 * 10**9, 60 * 10**9
SVG = "{http://www.w3.org/2000/svg}"


def series(count: int, points_max: int = 50, odd: int = -1, name: str = "cpu") -> NumberSeries:
    made, source = NumberSeries(name, points_max), random.Random(4)
    for index in range(count):
        value = source.gauss(100, 1) + (80 if index == odd else 0)
        made.add(START_NS + index * MINUTE_NS, value, 100.0, 97.0, 103.0, 30.0 if index == odd else None)
    return made


def elements(svg: str, tag: str, of_class: str = "") -> list[ElementTree.Element]:
    found = ElementTree.fromstring(svg).iter(f"{SVG}{tag}")  # noqa: S314 - what we drew ourselves
    return [item for item in found if not of_class or item.get("class") == of_class]


def pairs(item: ElementTree.Element) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in (item.get("points") or "").split())]


@given(st.integers(1, 300), st.integers(1, 20), st.data())
def test_a_series_is_bounded_and_keeps_its_extremes_and_alarms(count: int, points_max: int, data: st.DataObject) -> None:
    odd = data.draw(st.integers(0, count - 1))
    made = series(count, points_max, odd)
    assert len(made.spans) <= 2 * points_max
    highest = max(span.most for span in made.spans)
    assert [span.alarm for span in made.spans if span.alarm is not None] == [highest]
    assert highest > 150
    assert [span.time_ns for span in made.spans] == sorted(span.time_ns for span in made.spans)
    assert (made.alarms, made.surprise) == (1, 30.0)


def test_a_panel_a_series_with_its_range_and_marked_alarms() -> None:
    svg = number_plot([series(40, odd=20, name="cpu"), series(40, name="mem")])
    assert [item.text for item in elements(svg, "text", "title")] == ["cpu", "mem"]
    assert len(elements(svg, "polygon", "band")) == len(elements(svg, "polyline", "value")) == 2
    [mark] = elements(svg, "circle", "found")
    peak = min(pairs(elements(svg, "polyline", "value")[0]), key=lambda pair: pair[1])
    assert (float(mark.get("cx") or 0), float(mark.get("cy") or 0)) == peak
    texts = [item.text or "" for item in elements(svg, "text")]
    assert [text.partition(";")[0] for text in texts if "shaded" in text] == ["1 alarm", "0 alarms"]
    assert "prefers-color-scheme:dark" in svg


def test_the_band_lies_around_what_was_expected() -> None:
    svg = number_plot([series(40)])
    [band], [expected] = elements(svg, "polygon", "band"), elements(svg, "polyline", "expected")
    upper, lower = pairs(band)[:40], pairs(band)[40:][::-1]
    for (x, middle), above, below in zip(pairs(expected), upper, lower, strict=True):
        assert x == above[0] == below[0]
        assert above[1] < middle < below[1]


def test_equal_numbers_give_equal_bytes() -> None:
    assert number_plot([series(90, odd=7)], "some") == number_plot([series(90, odd=7)], "some")


@pytest.mark.parametrize("name", ["</svg><script>", '"&\x1b[2J\u202e', "x" * 10_000], ids=["markup", "controls", "long"])
def test_a_name_is_only_text(name: str) -> None:
    svg = number_plot([series(3, name=name)])
    assert not elements(svg, "script")
    assert "\x1b" not in svg
    assert len(svg) < 10_000


HUGE = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(HUGE, HUGE, HUGE, HUGE, st.booleans()), min_size=1, max_size=12), st.integers(1, 4))
def test_numbers_of_any_size_stay_in_their_strip(rows: list[tuple[float, float, float, float, bool]], points_max: int) -> None:
    made = NumberSeries("any", points_max)
    for index, (value, expected, low, high, alarms) in enumerate(rows):
        made.add(START_NS + index, value, expected, min(low, high), max(low, high), 1.0 if alarms else None)
    svg = number_plot([made])
    assert "nan" not in svg
    for item in [*elements(svg, "polyline"), *elements(svg, "polygon")]:
        assert all(TITLE <= y <= TITLE + STRIP for _, y in pairs(item))


def test_equal_values_are_a_line_in_the_middle() -> None:
    for value in (0.0, 5.0, -1e300):
        made = NumberSeries("flat")
        for index in range(5):
            made.add(START_NS + index, value, value, value, value, None)
        assert {y for _, y in pairs(elements(number_plot([made]), "polyline", "value")[0])} == {TITLE + STRIP / 2}


def test_a_series_without_numbers_says_so() -> None:
    assert "No number has come" in number_plot([NumberSeries("none")])
    assert elements(number_plot([]), "rect")


def test_the_strongest_of_too_many_series_are_drawn_and_it_is_said() -> None:
    charts = NumberCharts(kept_max=4, drawn_max=2)
    for number in range(6):
        place = charts.next(f"s{number}")
        assert (place is None) == (number >= 4)
        if place is not None:
            place.add(START_NS, 1.0, 1.0, 1.0, 1.0, {1: 5.0, 3: 9.0}.get(number))
    assert [each.name for each in charts.drawn] == ["s1", "s3"]
    assert charts.note.startswith("2 of 6 series are drawn, those with the strongest alarms among the first 4")
    svg = number_plot(charts.drawn, charts.note)
    assert charts.note in [item.text for item in elements(svg, "text")]


def test_equally_quiet_series_are_drawn_in_their_order() -> None:
    charts = NumberCharts(kept_max=4, drawn_max=3)
    for number in range(3):
        charts.next(f"s{number}")
    assert ([each.name for each in charts.drawn], charts.note) == (["s0", "s1", "s2"], "")
    charts.next("s3")
    assert [each.name for each in charts.drawn] == ["s0", "s1", "s2"]
    assert charts.note == "3 of 4 series are drawn, those with the strongest alarms; give fewer series to see others"
