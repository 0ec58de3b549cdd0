"""Byte entropy against the textbook formula, and its bits."""

from __future__ import annotations

import struct
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbad_cy import reference
from cbad_cy.codec import WINDOW_BYTES_MAX, entropies, entropy
from tests.cbad_cy.codecs import PAST, slices
from tests.cbad_cy.lines import TEXTS


@given(TEXTS)
def test_entropy_is_shannons(data: bytes) -> None:
    assert entropy(data) == pytest.approx(reference.entropy(data), rel=1e-13, abs=1e-13)


@given(TEXTS, st.randoms())
def test_entropy_depends_on_counts_only(data: bytes, random) -> None:  # type: ignore[no-untyped-def]
    shuffled = bytearray(data)
    random.shuffle(shuffled)
    assert entropy(shuffled) == entropy(data)


@given(TEXTS, st.integers(0, 500), st.integers(1, 100))
def test_a_batch_measures_each_slice(text: bytes, size: int, step: int) -> None:
    starts, stops = slices(text, size, step)
    parts = [text[a:b] for a, b in zip(starts, stops, strict=True)]
    assert list(entropies(text, starts, stops)) == [entropy(part) for part in parts]


def test_entropy_is_exact_where_it_is_rational() -> None:
    assert entropy(b"") == entropy(b"aaaa") == entropy(bytes(1000)) == 0.0
    assert entropy(b"ab" * 77) == 1.0
    assert entropy(bytes(range(256)) * 3) == 8.0


def test_entropy_keeps_its_bits() -> None:
    """Goldens: these doubles are part of stored verdicts and have to be the same on every machine."""
    assert struct.pack(">d", entropy(b"aab")).hex() == "3fed62adf1ea257b"
    assert struct.pack(">d", entropy(PAST)).hex() == "40113cf04d08d984"


def test_limits_are_named() -> None:
    large, ends = bytes(WINDOW_BYTES_MAX + 1), (array("I", [0]), array("I", [WINDOW_BYTES_MAX + 1]))
    for call in (lambda: entropy(large), lambda: entropies(large, *ends)):
        with pytest.raises(ValueError, match="over WINDOW_BYTES_MAX = 16777216; split it"):
            call()
    assert entropy(large[:-1]) == 0.0


@pytest.mark.parametrize(("starts", "stops"), [([0], [5]), ([3], [2]), ([4], [2**32 - 1])])
def test_slices_stay_inside_the_text(starts: list[int], stops: list[int]) -> None:
    with pytest.raises(ValueError, match="keep it inside"):
        entropies(b"text", array("I", starts), array("I", stops))
