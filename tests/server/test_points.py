import json
import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.engine.limits import Limits
from server.offline.events import LINE_BYTES_MAX, BadLine
from server.offline.points import DEFAULT_SERIES, PointReader, Points, TooManySeries, no_points

SMALL = Limits(series_max=2, series_name_bytes_max=16)


def read(line: bytes | str) -> tuple[str, int, float]:
    reader = PointReader(Limits())
    series, time_ns, value = reader.point(line.encode() if isinstance(line, str) else line)
    return reader.names[series - 1], time_ns, value


def test_members_are_taken_apart() -> None:
    assert read('{"time": "2024-05-01T12:00:00.5+02:00", "value": 7, "series": " cpu\\n "}') == (
        "cpu",
        1_714_557_600_500_000_000,
        7.0,
    )
    assert read('{"time": 1714557600.25, "value": -1.5e3}') == (DEFAULT_SERIES, 1_714_557_600_250_000_000, -1500.0)
    assert read('{"series": null, "time": 0, "value": 0}') == (DEFAULT_SERIES, 0, 0.0)


@pytest.mark.parametrize(
    ("spelled", "value"),
    [
        ("null", math.nan),
        ("NaN", math.nan),
        ("Infinity", math.inf),
        ("-Infinity", -math.inf),
        ("1e999", math.inf),
        ("-1" + "0" * 400, -math.inf),
    ],
    ids=range(6),
)
def test_what_is_not_a_finite_number_can_be_said(spelled: str, value: float) -> None:
    found = read(f'{{"time": 1, "value": {spelled}}}')[2]
    assert found == value or (math.isnan(found) and math.isnan(value))


BAD = [
    ("plain text", "is not JSON"),
    (b'{"time": 1, "value": 2, "series": "caf\xe9"}', "is not UTF-8"),
    ("[" * 100_000, "nested too deeply"),
    ("[1]", "is not a JSON object"),
    ("7", "is not a JSON object"),
    ('{"value": 7}', 'has no "time"'),
    ('{"time": 7}', 'has no "value"'),
    ('{"time": 7, "value": 7, "name": "cpu"}', 'has a member "name"; a point has "time", "value" and "series"'),
    ('{"time": 7, "value": "7"}', '"value" that is neither a number nor null'),
    ('{"time": 7, "value": true}', '"value" that is neither a number nor null'),
    ('{"time": 7, "value": [7]}', '"value" that is neither a number nor null'),
    ('{"time": 7, "value": 7, "series": 7}', '"series" that is not a string'),
    ('{"time": 7, "value": 7, "series": []}', '"series" that is not a string'),
    ('{"time": 7, "value": 7, "series": " \\u202e"}', "without a printable character"),
    ('{"time": 7, "value": 7, "series": "a\\u0000b"}', "character that does not show"),
    ('{"time": 7, "value": 7, "series": "a\\u202e"}', "character that does not show"),
    ('{"time": 7, "value": 7, "series": "a\\ud800"}', "character that does not show"),
    ('{"time": 7, "value": 7, "series": "' + "\U0001d15e" * 256 + '"}', "more than 1024 bytes"),
    ('{"time": 7, "value": 1' + "0" * 5000 + "}", "has a number of more than 4,300 digits; write it with an exponent"),
    ('{"time": 7, "value": 7, "series": "' + "x" * 1025 + '"}', "more than 1024 bytes"),
    ('{"time": null, "value": 7}', "neither Unix seconds nor"),
    ('{"time": true, "value": 7}', "neither Unix seconds nor"),
    ('{"time": NaN, "value": 7}', '"time" that can not be read'),
    ('{"time": 4607280000, "value": 7}', '"time" that is outside the years 1970 to 2115'),
    ('{"time": 1e999, "value": 7}', '"time" that can not be read'),
    ('{"time": "yesterday", "value": 7}', "with an offset from UTC"),
    ('{"time": -1, "value": 7}', "numbers are seconds, not milliseconds"),
    ('{"time": 1714557600000000, "value": 7}', "numbers are seconds, not milliseconds"),
    ('{"time": 1, "value": 7' + " " * LINE_BYTES_MAX + "}", "line_bytes_max"),
]


@pytest.mark.parametrize(("line", "told"), BAD, ids=range(len(BAD)))
def test_what_is_no_point_says_why(line: bytes | str, told: str) -> None:
    with pytest.raises(BadLine, match=told):
        read(line)
    raw = line.encode() if isinstance(line, str) else line
    assert PointReader(Limits()).points([b'{"time": 1, "value": 1}', raw]) is None


NAMES = st.text(alphabet="ab \x00\x1f\n\u202e\u200bé\u0301\ud800", max_size=4)


@given(st.lists(NAMES, min_size=1, max_size=20))
def test_names_that_differ_in_more_than_space_around_them_are_series_of_their_own(names: list[str]) -> None:
    reader, numbers = PointReader(Limits()), dict[str, int]()
    for name in names:
        try:
            number = reader.point(json.dumps({"time": 1, "value": 1, "series": name}).encode())[0]
        except BadLine:
            continue
        numbers[unicodedata.normalize("NFC", name).strip()] = number
    assert len(set(numbers.values())) == len(numbers) == len(reader.names)


def test_series_are_bounded_and_so_are_their_spellings() -> None:
    reader = PointReader(SMALL)
    for name in ("a", "b", "a"):
        reader.point(json.dumps({"time": 1, "value": 1, "series": name}).encode())
    with pytest.raises(TooManySeries, match=r"more than 2 series \(series_max\)"):
        reader.point(b'{"time": 1, "value": 1, "series": "c"}')
    for spelling in range(50):
        assert reader.point(json.dumps({"time": 1, "value": 1, "series": " " * (spelling % 15) + "a"}).encode())[0] == 1
    assert len(reader._numbers) <= 8
    assert reader.names == ["a", "b"]


# Pieces of which lines are made that look like points: braces and quotes where they hurt most.
WHOLE = ['{"time":1,"value":2}', '{"time":1,"value":2,"series":"a{}"}']
CUT = [
    "{",
    "}",
    '"',
    ",",
    ":",
    "[",
    "]",
    "1",
    '"time"',
    '"value"',
    '"series"',
    '{"time":1,"value":"',
    '"}',
    '{"',
    '","value":1}',
]
PIECES = st.sampled_from([*WHOLE, *CUT, '{"series":"', " ", "null", "NaN", "\\", "\x00", "é"])
LINES = st.lists(st.lists(PIECES, min_size=1, max_size=6).map("".join), min_size=1, max_size=5)


def one_by_one(lines: list[bytes]) -> tuple[Points, list[str]] | None:
    reader, points = PointReader(Limits()), no_points()
    try:
        for line in lines:
            points.add(*reader.point(line))
    except BadLine:
        return None
    return points, reader.names


@given(LINES)
def test_lines_at_once_are_what_they_are_one_by_one(texts: list[str]) -> None:
    lines = [text.encode() for text in texts]
    reader = PointReader(Limits())
    at_once = reader.points(lines)
    if at_once is not None:
        expected = one_by_one(lines)
        assert expected is not None
        assert repr((at_once, reader.names)) == repr(expected)  # as text: NaN is not equal to itself


NUMBERS = st.one_of(st.floats(), st.integers(-(10**20), 10**20), st.none())
OBJECTS = st.fixed_dictionaries(
    {
        "time": st.one_of(st.integers(0, 10**9), st.floats(0, 10**9), st.sampled_from(["2024-05-01T12:00:00Z"])),
        "value": NUMBERS,
    },
    optional={"series": st.text(alphabet='ab {}"\\,é', min_size=1, max_size=5).map(lambda text: f"x{text}")},
)


@given(st.lists(OBJECTS, min_size=1, max_size=8))
def test_usual_lines_are_read_at_once(objects: list[dict[str, object]]) -> None:
    lines = [json.dumps(each).encode() for each in objects]
    reader = PointReader(Limits())
    at_once = reader.points(lines)
    assert repr((at_once, reader.names)) == repr(one_by_one(lines))


def test_a_line_can_not_lend_its_neighbour_what_it_lacks() -> None:
    """Joined these would be objects, though neither line is one by itself."""
    assert PointReader(Limits()).points([b'{"time":1,"value":1}, {"time":2', b'"value":2}']) is None
    assert PointReader(Limits()).points([b'{"time":1', b'"value":1},{"time":1,"value":2}']) is None
    assert PointReader(Limits()).points([b'{"time":1,', b'"value":1}']) is None
    assert PointReader(Limits()).points([b'{"time":1,"value":1}', b""]) is None
