import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.strict_json import JsonLimits, parse
from driftlock.errors import InvalidArgument

LIMITS = JsonLimits(depth_max=4, values_max=10)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@given(json_values)
def test_what_json_can_say_is_read_as_it_was_said(value: object) -> None:
    assert parse(json.dumps(value).encode(), JsonLimits()) == value
    assert parse(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"), JsonLimits()) == value


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ('{"a":1}'.encode("utf-16"), "byte order mark"),
        ('{"a":1}'.encode("utf-16-le"), "not JSON"),
        (b'{"a":"\xff"}', "not UTF-8 (byte 6)"),
        (b'{"a":"\xed\xa0\x80"}', "not UTF-8"),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b"[Infinity]", "Infinity is not JSON"),
        (b"[-Infinity]", "-Infinity is not JSON"),
        (b"[1e400]", "too large"),
        (b"[-1e400]", "too large"),
        (b"[18446744073709551616]", "64 bits"),
        (b"[-9223372036854775809]", "64 bits"),
        (b"[" + b"9" * 5000 + b"]", "64 bits"),
        (b'{"a":1,"b":2,"a":3}', '"a" occurs twice'),
        (b'{"x":{"":1,"":2}}', '"" occurs twice'),
        (b'{"a":1,}', "not JSON"),
        (b"{'a':1}", "not JSON"),
        (b'{"a":1} {}', "not JSON"),
        (b'"\x00"', "not JSON"),
        (b"[[[[[]]]]]", "deeper than 4"),
        (b"[" * 100_000, "deeper than 4"),
        (b'{"a":' * 100_000, "deeper than 4"),
        (b"[1,2,3,4,5,6,7,8,9,10]", "more than 10 values"),
        (b"[" + b"{}," * 100_000 + b"{}]", "more than 10 values"),
    ],
)
def test_what_is_not_strict_json_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(body, LIMITS)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "body", [b"[[[[]]]]", b'["[[[[[[[,,,,,,,,,,,,,"]', b'["\\"[[[[[[", "\\\\", {}]', b"[1,2,3,4,5,6,7,8,9]"]
)
def test_limits_count_structure_and_not_text(body: bytes) -> None:
    assert parse(body, LIMITS) == json.loads(body)


@given(st.text(alphabet='[]{}",:\\0a ', max_size=60))
def test_any_text_is_parsed_as_the_standard_parser_does_or_refused(text: str) -> None:
    try:
        value = parse(text.encode(), JsonLimits())
    except InvalidArgument:
        return
    assert value == json.loads(text)


@pytest.mark.parametrize("unit", ['\\"', "\\\\", "[,]", '"', "\\u0000", "{}"])
def test_hostile_text_takes_time_in_proportion_to_its_size(unit: str) -> None:
    body = ('["' + unit * (2_000_000 // len(unit))).encode()
    started = time.perf_counter()
    with pytest.raises(InvalidArgument):
        parse(body, JsonLimits())
    assert time.perf_counter() - started < 5


def test_a_long_name_is_shortened_in_the_message() -> None:
    name = "x" * 10_000
    with pytest.raises(InvalidArgument) as caught:
        parse(f'{{"{name}":1,"{name}":2}}'.encode(), JsonLimits())
    assert len(str(caught.value)) < 200
