import json

import pytest

from driftlock.engine.canonical import CanonicalLimits
from server.offline.events import DEFAULT_STREAM, LINE_BYTES_MAX, BadLine, Event, EventReader, TooManyStreams


def read(line: bytes | str) -> Event:
    return EventReader(CanonicalLimits()).event(line.encode() if isinstance(line, str) else line)


def test_members_are_taken_apart() -> None:
    line = {"time": "2024-05-01T12:00:00.5+02:00", "text": "paid", "key": "order-7", "stream": " shop\u202e ", "total": 3}
    assert read(json.dumps(line)) == Event("shop", "order-7", 1_714_557_600_500_000_000, b"paid total=3")


def test_everything_but_the_event_itself_can_be_left_out() -> None:
    assert read('"only text"') == read('{"text": "only text", "key": null, "stream": null, "time": null}')
    assert read('"only text"') == Event(DEFAULT_STREAM, None, 0, b"only text")
    assert read('{"time": 1, "b": 2, "a": 1}') == Event(DEFAULT_STREAM, None, 10**9, b"a=1 b=2")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("plain text", "is not JSON"),
        ('{"text": "cut', "is not JSON"),
        (b'{"text": "caf\xe9"}', "is not UTF-8"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ' + "[" * 20 + "]" * 20 + "}", "nested deeper than 16"),
        ("[1]", "neither a JSON object nor a string"),
        ("7", "neither a JSON object nor a string"),
        ('{"text": 7}', '"text" that is not a string'),
        ('{"text": null}', '"text" that is not a string'),
        ('{"text": "a", "key": 7}', '"key" that is not a string'),
        ('{"text": "a", "stream": 7}', '"stream" that is not a string'),
        ('{"text": "a", "stream": " \\u202e"}', "without a printable character"),
        ('{"text": "a", "stream": "' + "x" * 257 + '"}', "more than 256 bytes"),
        ('{"text": "a", "time": NaN}', "NaN is not JSON"),
        ('{"text": "a", "time": -1}', "numbers are seconds, not milliseconds"),
        ('{"text": "a", "time": 1714557600000000000}', "numbers are seconds, not milliseconds"),
        ('{"text": "a", "time": 4607280000}', '"time" that is outside the years 1970 to 2115'),
        ('{"text": "a", "time": "2116-01-01T00:00:00Z"}', '"time" that is outside the years 1970 to 2115'),
        ('{"text": "a", "time": 1e999}', '"time" that can not be read'),
        ('{"text": "a", "time": true}', "neither Unix seconds nor"),
        ('{"text": "a", "time": "yesterday"}', "with an offset from UTC"),
        ('{"text": "a", "time": 1' + "0" * 5000 + "}", "is not JSON"),
        ('"' + "x" * LINE_BYTES_MAX + '"', "line_bytes_max"),
    ],
    ids=range(23),
)
def test_what_is_no_event_says_why(line: bytes | str, told: str) -> None:
    with pytest.raises(BadLine, match=told):
        read(line)


def test_streams_are_bounded() -> None:
    reader = EventReader(CanonicalLimits(), streams_max=2)
    for name in ("a", "b", "a"):
        reader.event(json.dumps({"text": "x", "stream": name}).encode())
    with pytest.raises(TooManyStreams, match="more than 2 streams"):
        reader.event(b'{"text": "x", "stream": "c"}')
