from hypothesis import given
from hypothesis import strategies as st

from server.logfile.lines import cut, split_lines

BYTES = st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r", b"\xef\xbb\xbf", "é".encode(), b" "]), max_size=40).map(b"".join)


def split(data: bytes, sizes: list[int], line_bytes_max: int) -> list[bytes]:
    portions, at = [], 0
    for size in [*sizes, len(data)]:
        portions.append(data[at : at + size])
        at += size
    return [line for lines in split_lines([portion for portion in portions if portion], line_bytes_max) for line in lines]


@given(BYTES, st.lists(st.integers(1, 7), max_size=40), st.integers(1, 12))
def test_where_portions_end_changes_no_line(data: bytes, sizes: list[int], line_bytes_max: int) -> None:
    lines = split(data, sizes, line_bytes_max)
    assert lines == split(data, [], line_bytes_max)
    assert all(len(line) <= line_bytes_max + 2 for line in lines)


def test_lines_are_handed_over_as_soon_as_they_are_complete() -> None:
    assert list(split_lines([b"one\ntw", b"o", b"\nthree"], 100)) == [[b"one"], [b"two"], [b"three"]]


def test_a_line_without_an_end_takes_bounded_memory() -> None:
    [[line]] = split_lines((b"x" * 1000 for _ in range(1000)), 50)
    assert line == b"x" * 52


def test_the_ends_of_lines_do_not_count_for_the_limit() -> None:
    assert split(b"x" * 50 + b"\r\n" + b"y" * 51 + b"\n", [], 50) == [b"x" * 50, b"y" * 51]


@given(st.text(max_size=20), st.integers(1, 30))
def test_cutting_never_leaves_half_a_character(text: str, bytes_max: int) -> None:
    kept = cut(text.encode(), bytes_max)
    assert kept.decode() == text[: len(kept.decode())]
    assert bytes_max - 3 <= len(kept) <= bytes_max or kept == text.encode()


def test_the_beginning_of_a_line_that_is_too_long_does_not_wait_for_its_end() -> None:
    given = split_lines(iter([b"a\n", b"x" * 40, b"x" * 40, b"x" * 40, b"x\nb\nc"]), 50)
    assert next(given) == [b"a"]
    assert next(given) == [b"x" * 52]
    assert list(given) == [[b"b"], [b"c"]]
