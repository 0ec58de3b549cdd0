"""The statistical coder as a row of the table of codecs: against its oracle, and what its past can and can not hold."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cbad_cy.codec import Codec
from cbad_cy.codelength import BIT, CAP_BITS, Coder
from cbad_cy.reference_codelength import lines_size
from tests.cbad_cy.codecs import NOISE, slices
from tests.cbad_cy.lines import LINES, joined

# Short, so that no cell is given up: that is where the oracle stops.
SHORT = st.lists(LINES, max_size=6).map(lambda lines: b"\n".join(lines)[:150])


@settings(deadline=None, max_examples=150)
@given(text=SHORT, past=SHORT)
@example(text=b"", past=b"a")
@example(text=b"\n", past=b"")
@example(text=b"a\n\na\n", past=b"a\na")
@example(text=b"a", past=b"a\n")
def test_sizes_are_those_of_the_oracle(text: bytes, past: bytes) -> None:
    codec = Codec("statistical")
    assert codec.size(text) == lines_size(text)
    assert codec.size_given(text, codec.prepare(past)) == lines_size(text, past)
    both, one, other = (lines_size(part) for part in (past + text, past, text))
    assert codec.ncd(past, text) == (both - min(one, other)) / max(one, other)


def test_a_long_text_of_few_lines_is_coded_as_the_oracle_codes_it() -> None:
    kinds = [b"stored order # in # ms", b"loaded cart # from <IP>", b"refused payment of user #"]
    text = b"\n".join(kinds[number * number % 7 % 3] for number in range(3000))
    codec = Codec("statistical")
    past = codec.prepare(text[:60_000])
    assert codec.size(text) == lines_size(text)
    assert codec.size_given(text[60_000:], past) == lines_size(text[60_000:], text[:60_000])


def test_a_text_costs_what_the_coder_of_a_stream_says_of_lines_without_slots() -> None:
    lines = [b"kind %d of worker %d" % (number % 5, number % 3) for number in range(50)]
    costs, _ = Coder().code(*joined(lines), array("Q"), array("B", bytes(50)), context=0, learn=True)
    assert Codec("statistical").size(b"\n".join(lines)) == 1 + -(-sum(costs) // (8 * BIT))


def test_a_known_past_makes_lines_cheap_and_unknown_lines_stay_dear() -> None:
    codec = Codec("statistical")
    lines = [b"disk sd%c is %s" % (97 + number % 5, (b"full", b"fine")[number % 2]) for number in range(200)]
    past = codec.prepare(b"\n".join(lines))
    usual, alien = b"\n".join(lines[:50]), b"\n".join(b"%x kernel panic %x" % (number, number * number) for number in range(50))
    assert codec.ratio_given(usual, past) < 0.5
    assert codec.ratio_given(alien, past) > 0.9


def test_a_line_costs_at_most_the_cap_however_long_it_is() -> None:
    codec = Codec("statistical")
    assert codec.size(b"x%d " * 40_000) == 1 + CAP_BITS // 8
    assert codec.size(bytes(range(11, 256)) * 50) == 1 + CAP_BITS // 8


def test_measuring_leaves_the_past_as_it_is_though_lines_are_learned_while_they_are_measured() -> None:
    codec = Codec("statistical")
    past = codec.prepare(b"usual line\n" * 50)
    again = b"never seen before\n" * 9
    first = codec.size_given(again, past)
    assert first < 9 * (codec.size_given(again[:18], past) - 1)
    assert codec.size_given(again, past) == first
    starts, stops = slices(again, 18, 18)
    assert set(codec.sizes_given(again, starts, stops, past)) == {codec.size_given(again[:18], past)}


@pytest.mark.parametrize("size", [1 << 14, 1 << 17])
def test_a_past_that_does_not_fit_still_says_something(size: int) -> None:
    """Noise fills the table many times over; frequent lines behind it are known all the same."""
    codec = Codec("statistical")
    past = codec.prepare(NOISE[:size] + b"\n" + b"usual line, and long enough\n" * 50)
    text = b"usual line, and long enough\n" * 10
    assert codec.size_given(text, past) < codec.size(text) / 2
