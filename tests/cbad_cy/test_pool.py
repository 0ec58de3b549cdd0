"""Distinct lines with counts, and the choice of a dictionary."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbad_cy import reference_slide
from cbad_cy.pool import LINE_BYTES_MAX, LINES_MAX, Pool

LINES = st.lists(st.one_of(st.sampled_from([b"", b"a", b"bb", b"ccc", b"dd d"]), st.binary(max_size=12)), max_size=120)


@settings(max_examples=200, deadline=None)
@given(LINES, st.integers(1, 40), st.integers(1, 200), st.integers(0, 100))
def test_it_is_what_the_oracle_says(lines: list[bytes], lines_max: int, bytes_max: int, room: int) -> None:
    pool, oracle = Pool(lines_max=lines_max, bytes_max=bytes_max), reference_slide.Pool(lines_max, bytes_max)
    for line in lines:
        pool.accept(line)
        oracle.accept(line)
        assert len(pool) == len(oracle.lines)
    assert pool.distinct() == oracle.distinct()
    assert pool.dictionary(room) == oracle.dictionary(room)
    assert pool.text_bytes == sum(len(form) + 1 for form, _ in pool.distinct())


@settings(max_examples=100, deadline=None)
@given(LINES, LINES)
def test_a_restored_pool_goes_on_as_if_nothing_had_happened(before: list[bytes], after: list[bytes]) -> None:
    pool = Pool(lines_max=30, bytes_max=150)
    for line in before:
        pool.accept(line)
    other = Pool(lines_max=30, bytes_max=150)
    other.restore(*pool.parts())
    for line in after:
        pool.accept(line)
        other.accept(line)
    assert pool.parts() == other.parts()
    assert pool.dictionary(1000) == other.dictionary(1000)


def test_rare_forms_are_left_out_once_the_rest_covers_enough() -> None:
    pool = Pool(lines_max=400, bytes_max=10_000)
    for number in range(400):
        pool.accept(b"seen once" if number == 7 else b"common %d" % (number % 4))
    assert pool.dictionary(10_000) == b"common 0\ncommon 1\ncommon 2\ncommon 3"


def test_where_every_line_is_another_nearly_all_are_kept() -> None:
    pool = Pool(lines_max=400, bytes_max=100_000)
    for number in range(400):
        pool.accept(b"unique %d" % number)
    kept = pool.dictionary(100_000).split(b"\n")
    assert len(kept) == 380
    assert kept[0] == b"unique 20"  # of equally frequent forms the newest


def test_a_long_life_leaves_no_garbage() -> None:
    pool = Pool(lines_max=50, bytes_max=5_000)
    for number in range(20_000):
        pool.accept(b"line %d of a long life" % number)
    assert [form for form, _ in pool.distinct()] == [b"line %d of a long life" % number for number in range(19_950, 20_000)]


def test_one_line_larger_than_the_limit_is_kept_alone() -> None:
    pool = Pool(lines_max=5, bytes_max=10)
    for line in (b"a", b"b", b"x" * 50):
        pool.accept(line)
    assert pool.distinct() == [(b"x" * 50, 1)]


def test_limits_are_named() -> None:
    for lines_max in (0, LINES_MAX + 1):
        with pytest.raises(ValueError, match="choose 1 to LINES_MAX = 10000"):
            Pool(lines_max=lines_max, bytes_max=1)
    with pytest.raises(ValueError, match="over LINE_BYTES_MAX = 1048576; cut it first"):
        Pool(lines_max=1, bytes_max=1).accept(bytes(LINE_BYTES_MAX + 1))


@pytest.mark.parametrize(
    ("forms", "ring"), [([b"a"], []), ([], [0]), ([b"a", b"a"], [0, 1]), ([b"a"], [0] * 6), ([b"a" * 99, b"b"], [0, 1])]
)
def test_parts_that_do_not_fit_are_refused(forms: list[bytes], ring: list[int]) -> None:
    with pytest.raises(ValueError, match="make"):
        Pool(lines_max=5, bytes_max=50).restore(forms, ring)


def test_a_pool_does_not_travel_between_processes() -> None:
    with pytest.raises(TypeError, match="can not be pickled"):
        pickle.dumps(Pool(lines_max=1, bytes_max=1))
