"""Distinct lines with counts, and the choice of a dictionary."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbad_cy import reference_slide
from cbad_cy.pool import BYTES_MAX, LINE_BYTES_MAX, LINES_MAX, Pool

LINES = st.lists(st.one_of(st.sampled_from([b"", b"a", b"bb", b"ccc", b"dd d"]), st.binary(max_size=12)), max_size=120)


@settings(max_examples=200, deadline=None)
@given(LINES, st.integers(1, 40), st.integers(0, 90), st.integers(1, 200), st.integers(0, 100))
def test_it_is_what_the_oracle_says(lines: list[bytes], lines_max: int, memory: int, bytes_max: int, room: int) -> None:
    pool = Pool(lines_max=lines_max, memory_lines=memory, bytes_max=bytes_max)
    oracle = reference_slide.Pool(lines_max, memory, bytes_max)
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
    pool = Pool(lines_max=20, memory_lines=60, bytes_max=100)
    for line in before:
        pool.accept(line)
    other = Pool(lines_max=20, memory_lines=60, bytes_max=100)
    other.restore(*pool.parts())
    for line in after:
        pool.accept(line)
        other.accept(line)
    assert pool.parts() == other.parts()
    assert pool.dictionary(1000) == other.dictionary(1000)


def test_rare_forms_are_left_out_once_the_rest_covers_enough() -> None:
    pool = Pool(lines_max=400, memory_lines=0, bytes_max=10_000)
    for number in range(400):
        pool.accept(b"seen once" if number == 7 else b"common %d" % (number % 4))
    assert pool.dictionary(10_000) == b"common 0\ncommon 1\ncommon 2\ncommon 3"


def test_where_every_line_is_another_nearly_all_are_kept() -> None:
    pool = Pool(lines_max=400, memory_lines=0, bytes_max=100_000)
    for number in range(400):
        pool.accept(b"unique %d" % number)
    kept = pool.dictionary(100_000).split(b"\n")
    assert len(kept) == 380
    assert kept[0] == b"unique 20"  # of equally frequent forms the newest


def test_a_long_life_leaves_no_garbage() -> None:
    pool = Pool(lines_max=50, memory_lines=1000, bytes_max=5_000)
    for number in range(20_000):
        pool.accept(b"line %d of a long life" % number)
    assert [form for form, _ in pool.distinct()] == [b"line %d of a long life" % number for number in range(19_950, 20_000)]


def test_many_forms_are_found_again() -> None:
    """Three thousand forms in any order, from a pool that began with room for none, and in one restored from its parts."""
    forms = [b"%d" % (number * 7919 % 3001) for number in range(1, 3001)]
    pool, other = (Pool(lines_max=LINES_MAX, memory_lines=10_000, bytes_max=1 << 20) for _ in range(2))
    for form in forms + forms[::-1]:
        pool.accept(form)
    assert pool.distinct() == [(form, 2) for form in forms]
    other.restore(*pool.parts())
    for form in forms:
        other.accept(form)
    assert other.distinct() == [(form, 3) for form in forms]


@given(st.lists(st.integers(0, 9), max_size=300))
def test_lines_of_all_lengths_keep_their_bytes_while_others_go(numbers: list[int]) -> None:
    """What is gone leaves gaps between what stays, wherever it stood."""
    pool, oracle = (kind(5, 40, 150) for kind in (made, reference_slide.Pool))
    for at, number in enumerate(numbers):
        line = b"%d" % number * (1 + number * number) if number % 3 else b"%d " % at * (1 + number)
        pool.accept(line)
        oracle.accept(line)
    assert pool.distinct() == oracle.distinct()


def made(lines_max: int, memory: int, bytes_max: int) -> Pool:
    return Pool(lines_max=lines_max, memory_lines=memory, bytes_max=bytes_max)


def test_one_line_larger_than_the_limit_is_kept_alone() -> None:
    pool = Pool(lines_max=5, memory_lines=9, bytes_max=10)
    for line in (b"a", b"b", b"x" * 50):
        pool.accept(line)
    assert pool.distinct() == [(b"x" * 50, 1)]


def test_limits_are_named() -> None:
    for lines_max in (0, LINES_MAX + 1):
        with pytest.raises(ValueError, match="choose 1 to LINES_MAX = 10000"):
            Pool(lines_max=lines_max, memory_lines=1, bytes_max=1)
    with pytest.raises(ValueError, match="choose at most BYTES_MAX = 1073741824"):
        Pool(lines_max=1, memory_lines=1, bytes_max=BYTES_MAX + 1)
    with pytest.raises(ValueError, match="over LINE_BYTES_MAX = 1048576; cut it first"):
        Pool(lines_max=1, memory_lines=1, bytes_max=1).accept(bytes(LINE_BYTES_MAX + 1))


def test_what_came_twice_is_remembered_and_what_came_once_is_not() -> None:
    pool = Pool(lines_max=10, memory_lines=1000, bytes_max=10_000)
    for line in (b"nightly", b"once", b"nightly"):
        pool.accept(line)
    for _ in range(900):
        pool.accept(b"usual")
    assert pool.distinct() == [(b"nightly", 0), (b"usual", 10)]
    assert pool.dictionary(1000) == b"nightly\nusual"
    for _ in range(200):
        pool.accept(b"usual")
    assert pool.distinct() == [(b"usual", 10)]


def test_the_stalest_form_makes_room_first() -> None:
    pool = Pool(lines_max=2, memory_lines=1000, bytes_max=12)
    for line in (b"aaa", b"aaa", b"bbb", b"bbb", b"ccc", b"ccc", b"aaa", b"c", b"d"):
        pool.accept(line)
    assert [form for form, _ in pool.distinct()] == [b"aaa", b"ccc", b"c", b"d"]


PARTS = ([b"a", b"b"], [0, 1], [1, 1], [2, 1])


@pytest.mark.parametrize(
    "parts",
    [
        ([b"a", b"a"], *PARTS[1:]),
        (PARTS[0], [0] * 6, *PARTS[2:]),
        (PARTS[0], [2], *PARTS[2:]),
        (*PARTS[:2], [1], PARTS[3]),
        (*PARTS[:2], [1, 65536], PARTS[3]),
        (*PARTS[:3], [1, 1]),
        (*PARTS[:3], [1, 0]),
        ([b"a" * 99, b"b"], *PARTS[1:]),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts: tuple[list[bytes], list[int], list[int], list[int]]) -> None:
    Pool(lines_max=5, memory_lines=9, bytes_max=50).restore(*PARTS)
    with pytest.raises(ValueError, match="make"):
        Pool(lines_max=5, memory_lines=9, bytes_max=50).restore(*parts)


def test_a_pool_does_not_travel_between_processes() -> None:
    with pytest.raises(TypeError, match="can not be pickled"):
        pickle.dumps(Pool(lines_max=1, memory_lines=1, bytes_max=1))
