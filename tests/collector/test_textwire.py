"""Text of numbers and repair of text, against the interpreter's own."""

from __future__ import annotations

import math
import struct
from array import array
from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from collector.otlp.textwire import cut, float_text, floats_text, int_text, is_utf8, repaired, uint_text
from driftlock.engine.canonical import Cuts, cut_utf8, scalar_text

BITS = st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0])
SUBNORMAL = st.integers(1, 2**52 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0])
DECIMAL = st.builds(lambda digits, exponent: float(f"{digits}e{exponent}"), st.integers(0, 10**18), st.integers(-340, 295))
# Every lead byte that is special, the ends of every range of second bytes, and what is between characters.
EDGES = bytes.fromhex("00417f808f909fa0bfc0c1c2dfe0e1ecedeeeff0f1f3f4f5ff")
BROKEN = st.one_of(st.binary(max_size=40), st.lists(st.sampled_from(EDGES), max_size=24).map(bytes))


def around(value: float) -> list[float]:
    """A double, the ones before and after it, and their negatives."""
    found = [math.nextafter(value, 0.0), value, math.nextafter(value, math.inf)]
    return found + [-each for each in found]


def texts(values: list[float]) -> list[str]:
    return floats_text(array("d", values)).decode().splitlines()


@given(st.one_of(BITS, SUBNORMAL, DECIMAL, st.floats(), st.integers(-(2**64), 2**64).map(float)))
@example(math.nan)
@example(-math.inf)
@example(-0.0)
@example(5e-324)
@example(2.0**-1022)
@example(9007199254740993.0)
@example(9999999999999998.0)
@example(1e16)
@example(0.0001)
@example(0.00001)
@example(1e23)
@example(1.7976931348623157e308)
def test_a_double_is_written_as_by_repr(value: float) -> None:
    assert float_text(value).decode() == scalar_text(value)


def test_powers_of_two_and_their_neighbours_are_written_as_by_repr() -> None:
    """At a power of two the interval that is read back as the double is not symmetric."""
    values = [each for exponent in range(-1074, 1024) for each in around(math.ldexp(1.0, exponent))]
    assert texts(values) == [scalar_text(value) for value in values]


def test_short_decimals_and_their_neighbours_are_written_as_by_repr() -> None:
    values = [each for exponent in range(-323, 309) for digit in (1, 2, 5, 9) for each in around(float(f"{digit}e{exponent}"))]
    values = [value for value in values if math.isfinite(value)]
    assert texts(values) == [scalar_text(value) for value in values]


@pytest.mark.parametrize("whole", [2**52, 2**53, 10**15, 10**16, 2**63, 2**64], ids=str)
def test_whole_numbers_around_where_their_text_changes(whole: int) -> None:
    values = [float(whole + offset) for offset in range(-300, 300)]
    assert texts(values) == [scalar_text(value) for value in values]


@given(st.lists(BITS, max_size=20))
def test_what_is_written_is_read_back(values: list[float]) -> None:
    assert [float(text) for text in texts([value for value in values if value == value])] == [v for v in values if v == v]


@given(st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 64).map(lambda bits: 2**bits - 1)))
@example(0)
@example(2**32)
def test_an_unsigned_integer_is_written_in_decimal(value: int) -> None:
    assert uint_text(value) == str(value).encode()


@pytest.mark.parametrize("digits", range(20))
def test_integers_where_a_digit_is_added(digits: int) -> None:
    for value in (10**digits - 1, 10**digits, 10**digits + 1):
        assert uint_text(value) == str(value).encode()


@given(st.integers(-(2**63), 2**63 - 1))
@example(-(2**63))
@example(2**63 - 1)
@example(-1)
def test_a_signed_integer_is_written_in_decimal(value: int) -> None:
    assert int_text(value) == str(value).encode()


@pytest.mark.parametrize("value", [2**64, -1])
def test_an_unsigned_integer_has_64_bits(value: int) -> None:
    with pytest.raises(OverflowError):
        uint_text(value)


@given(BROKEN)
@example(b"\xed\xa0\x80")  # a surrogate
@example(b"\xe0\x80\xaf")  # too long for what it says
@example(b"\xf4\x90\x80\x80")  # over U+10FFFF
@example(b"\xf1\x80\x80\xe1\x80\xc2\x62\x80\x63\x80\xbf\x64")  # maximal subparts, as the Unicode Standard shows them
@example(b"\xf0\x90\x80")  # ends inside of a character
def test_bytes_are_repaired_as_by_decode(raw: bytes) -> None:
    assert repaired(raw) == raw.decode(errors="replace").encode()


@given(st.text(max_size=40), BROKEN, st.text(max_size=40))
def test_what_is_around_a_repair_stays(before: str, raw: bytes, after: str) -> None:
    mixed = before.encode() + raw + after.encode()
    assert repaired(mixed) == mixed.decode(errors="replace").encode()


@given(
    st.one_of(
        BROKEN, st.text(max_size=60).map(str.encode), st.builds(bytes.__add__, st.text(max_size=60).map(str.encode), BROKEN)
    )
)
def test_valid_is_what_decodes(raw: bytes) -> None:
    try:
        raw.decode()
    except UnicodeDecodeError:
        assert not is_utf8(raw)
    else:
        assert is_utf8(raw)


@pytest.mark.parametrize("size", range(1, 40))
def test_one_bad_byte_is_found_wherever_it_stands(size: int) -> None:
    """ASCII is looked at several bytes at a time."""
    assert is_utf8(b"a" * size)
    for position in range(size):
        assert not is_utf8(b"a" * position + b"\x80" + b"a" * (size - 1 - position))


def test_every_pair_of_bytes_is_judged_as_by_decode() -> None:
    for pair in product(range(256), repeat=2):
        for raw in (bytes(pair), bytes(pair) + b"\x80\x80"):
            assert repaired(raw) == raw.decode(errors="replace").encode()


@given(st.text(max_size=40), st.integers(0, 200))
def test_a_cut_ends_between_characters(text: str, bytes_max: int) -> None:
    raw = text.encode()
    assert cut(raw, bytes_max).decode() == cut_utf8(text, bytes_max, Cuts())
    assert len(cut(raw, bytes_max)) > min(len(raw), bytes_max) - 4


def test_a_cut_is_never_negative() -> None:
    with pytest.raises(ValueError, match="negative"):
        cut(b"a", -1)
    assert cut("é".encode(), 1) == b""
