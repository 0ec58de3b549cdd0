"""Coverage and nearest lines against naive sets of substrings."""

from __future__ import annotations

import pickle
from array import array
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbad_cy import reference
from cbad_cy.novelty import GRAM_BYTES_MAX, GRAM_BYTES_MIN, LINE_BYTES_MAX, REFERENCE_BYTES_MAX, Coverage, nearest
from tests.cbad_cy.lines import TEXTS, joined

GRAMS = st.integers(GRAM_BYTES_MIN, GRAM_BYTES_MAX)
# Two letters and a NUL: grams repeat, touch, overlap, and include the one of zero bytes.
FEW = st.text("ab\x00", max_size=60).map(str.encode)
EITHER = st.one_of(FEW, TEXTS)


@given(EITHER, EITHER, GRAMS)
def test_novel_spans_equal_the_oracle(past: bytes, line: bytes, gram: int) -> None:
    assert Coverage(past, gram).novel_spans(line) == reference.novel_spans(past, line, gram)


@given(EITHER, EITHER, GRAMS)
def test_shared_bytes_are_those_outside_novel_spans(past: bytes, line: bytes, gram: int) -> None:
    coverage = Coverage(past, gram)
    assert coverage.shared(line) == len(line) - sum(end - start for start, end in coverage.novel_spans(line))


@given(EITHER, st.data(), GRAMS)
def test_a_part_of_the_reference_is_never_novel(past: bytes, data: st.DataObject, gram: int) -> None:
    start = data.draw(st.integers(0, len(past)))
    part = past[start : data.draw(st.integers(start, len(past)))]
    assert Coverage(past, gram).novel_spans(part) == []


@given(EITHER, st.lists(EITHER, max_size=8), GRAMS)
def test_nearest_equals_the_oracle(line: bytes, lines: list[bytes], gram: int) -> None:
    assert nearest(line, *joined(lines), gram=gram) == reference.nearest(line, lines, gram)


def test_only_the_changed_bytes_are_novel() -> None:
    coverage = Coverage(b"user # opened <P>\nuser # closed <P>")
    assert coverage.novel_spans(b"user # deleted <P>") == [(7, 12)]
    assert coverage.novel_spans(b"user # opened <P>") == []
    assert coverage.novel_spans(b"nothing alike") == [(0, 13)]


def test_short_lines_are_covered_as_a_whole_or_not() -> None:
    coverage = Coverage(b"abcdefgh", 6)
    assert (coverage.novel_spans(b"cde"), coverage.shared(b"cde")) == ([], 3)
    assert (coverage.novel_spans(b"cdf"), coverage.shared(b"cdf")) == ([(0, 3)], 0)
    assert (coverage.novel_spans(b""), coverage.shared(b"")) == ([], 0)


def test_an_empty_reference_covers_nothing() -> None:
    assert Coverage(b"").novel_spans(b"line") == [(0, 4)]
    assert Coverage(b"").novel_spans(b"longer line") == [(0, 11)]


def test_many_distinct_grams_stay_exact() -> None:
    past = b"".join(b"%06x" % (i * 2654435761 % 2**24) for i in range(20_000))
    line = b"".join(b"%06X" % (i * 40503 % 2**24) for i in range(300)) + past[500:600]
    assert Coverage(past).novel_spans(line) == reference.novel_spans(past, line, 6)


def test_nearest_prefers_more_shared_grams_then_the_lowest_index() -> None:
    lines = [b"alpha beta", b"alpha beta gamma", b"gamma alpha beta", b""]
    assert nearest(b"alpha beta gamma", *joined(lines)) == 1
    assert nearest(b"beta", *joined(lines)) == 0
    assert nearest(b"none of it", *joined([b"xyz", b"q"])) == -1
    assert nearest(b"abc", *joined([b"abc"])) == -1, "shorter than a gram"
    assert nearest(b"abcd", b"", array("I")) == -1


def test_a_repeated_gram_counts_once() -> None:
    assert nearest(b"abcdefg", *joined([b"abcdabcdabcdabcd", b"bcdefg"])) == 1


def test_four_threads_compare_as_one() -> None:
    past = b"\n".join(b"line %d of the past" % i for i in range(2000))
    coverage = Coverage(past)
    lines = [b"line %d of the future %d" % (i, i * i) for i in range(400)]
    alone = [coverage.novel_spans(line) for line in lines]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(coverage.novel_spans, lines)) == alone


def test_limits_are_named() -> None:
    for gram in (GRAM_BYTES_MIN - 1, GRAM_BYTES_MAX + 1, 0, -3):
        with pytest.raises(ValueError, match="choose 2 to 8"):
            Coverage(b"past", gram)
        with pytest.raises(ValueError, match="choose 2 to 8"):
            nearest(b"line", b"line", array("I", [4]), gram=gram)
    with pytest.raises(ValueError, match="over REFERENCE_BYTES_MAX"):
        Coverage(bytes(REFERENCE_BYTES_MAX + 1))
    with pytest.raises(ValueError, match="over REFERENCE_BYTES_MAX"):
        nearest(b"line", bytes(REFERENCE_BYTES_MAX + 1), array("I", [REFERENCE_BYTES_MAX + 1]))
    coverage = Coverage(bytes(REFERENCE_BYTES_MAX))
    assert coverage.novel_spans(bytes(LINE_BYTES_MAX)) == []
    for call in (coverage.novel_spans, coverage.shared, lambda line: nearest(line, b"", array("I"))):
        with pytest.raises(ValueError, match="over LINE_BYTES_MAX"):
            call(bytes(LINE_BYTES_MAX + 1))


@pytest.mark.parametrize("lengths", [[], [3], [2, 3], [2**32 - 1]])
def test_lengths_have_to_fit_the_reference(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="give one length for each line"):
        nearest(b"line", b"past", array("I", lengths))


def test_a_coverage_does_not_travel_between_processes() -> None:
    with pytest.raises(TypeError, match="can not be pickled"):
        pickle.dumps(Coverage(b"past"))


def test_a_coverage_keeps_its_own_reference() -> None:
    source = bytearray(b"line 55 of the past")
    coverage = Coverage(source)
    source[:] = bytes(len(source))
    assert coverage.reference == b"line 55 of the past"
    assert (coverage.novel_spans(b"line 55 of the past"), coverage.gram) == ([], 6)
