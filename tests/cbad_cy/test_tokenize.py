"""The scanner against its oracle, on any bytes."""

from array import array
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbad_cy import reference, reference_codelength
from cbad_cy.tokenize import (
    LINE_BYTES_MAX,
    SLOTS_MAX,
    TEXT_BYTES_MAX,
    TokenKind,
    mask,
    mask_line,
    mask_with_slots,
    scan_steps,
    slots,
    tokens,
)
from tests.cbad_cy.lines import LINES, joined, split

# Looks at one byte, at worst: as part of a failed number, of a failed UUID, of a run, of a piece, of its copy, of a repeat.
STEPS_PER_BYTE_MAX = 8


@settings(max_examples=500)
@given(LINES, st.booleans())
def test_masked_text_equals_the_oracle(line: bytes, paths_as_slots: bool) -> None:
    assert mask_line(line, paths_as_slots=paths_as_slots) == reference.mask_line(line, paths_as_slots=paths_as_slots)


@settings(max_examples=500)
@given(LINES, st.booleans())
def test_tokens_equal_the_oracle(line: bytes, paths_as_slots: bool) -> None:
    assert tokens(line, paths_as_slots=paths_as_slots) == reference.tokens(line, paths_as_slots=paths_as_slots)


@settings(max_examples=500)
@given(LINES)
def test_slots_equal_the_oracle(line: bytes) -> None:
    assert slots(line) == reference.slots(line)


@given(LINES, st.booleans())
def test_masked_text_is_never_longer_than_its_source(line: bytes, paths_as_slots: bool) -> None:
    assert len(mask_line(line, paths_as_slots=paths_as_slots)) <= len(line)


@given(LINES, st.booleans())
def test_tokens_tile_the_masked_text_and_stay_in_order_in_the_source(line: bytes, paths_as_slots: bool) -> None:
    masked = mask_line(line, paths_as_slots=paths_as_slots)
    masked_at, source_at = 0, 0
    for kind, masked_start, masked_end, source_start, source_end in tokens(line, paths_as_slots=paths_as_slots):
        assert masked[masked_at:masked_start] in (b"", b" ")
        assert masked_start < masked_end
        assert source_at <= source_start < source_end
        if kind in (TokenKind.WORD, TokenKind.PUNCT):
            assert line[source_start:source_end].startswith(masked[masked_start:masked_end])
        masked_at, source_at = masked_end, source_end
    assert masked_at == len(masked)
    assert source_at <= len(line)


@given(st.lists(LINES, max_size=8), st.integers(1, 40), st.booleans())
def test_a_batch_is_its_lines_cut_and_masked_one_by_one(lines: list[bytes], bytes_max: int, paths_as_slots: bool) -> None:
    masked = mask(*joined(lines), line_bytes_max=bytes_max, paths_as_slots=paths_as_slots)
    expected = [reference.mask_line(reference.cut(line, bytes_max), paths_as_slots=paths_as_slots) for line in lines]
    assert split(*masked) == expected


@given(st.text(max_size=40), st.integers(1, 60))
def test_a_cut_line_keeps_whole_characters(text: str, bytes_max: int) -> None:
    kept = reference.cut(text.encode(), bytes_max)
    assert text.startswith(kept.decode())
    assert len(kept) >= min(len(text.encode()), bytes_max - 3)


def test_a_cut_line_that_is_not_utf8_is_cut_at_the_limit() -> None:
    masked, lengths = mask(b"\x80" * 10, array("I", [10]), line_bytes_max=7)
    assert (masked, list(lengths)) == (b"\x80" * 7, [7])


ADVERSARIAL = [
    b"1", b"1.", b".", b"-", b"-1", b"1-", b"/", b"/a", b"/a/", b"/1", b"/a:", b"a/.", b":", b"::", b"_", b"a_", b"1_",
    b"_1", b"_-1",
    b"a_-1.", b"f", b"a1", b"1a", b"1,", b"1:1a", b"#", b"<", b"# ", b"1 , ", b"\x00", b"\xff", b"\xff1", b" ", b"\n",
    b"T", b"2024-01-15T10:",
    b"1/Oct/2000", b"1/Oct/", b"aaaaaaaa-", b"aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaa_",
    b"_12345678-1234-1234-1234-12345678901",
    b"12345678-1234-1234-1234-123456789012x", b"blk_-12345678-", b"January", b"Jan", b"(,", b"/a/..",
]  # fmt: skip


@pytest.mark.parametrize("unit", ADVERSARIAL)
def test_the_scanner_looks_at_each_byte_a_bounded_number_of_times(unit: bytes) -> None:
    line = (unit * (LINE_BYTES_MAX // len(unit) + 1))[:LINE_BYTES_MAX]
    assert scan_steps(line) <= STEPS_PER_BYTE_MAX * len(line)


@given(st.lists(st.sampled_from(ADVERSARIAL), min_size=1, max_size=4).map(b"".join))
def test_steps_grow_no_faster_than_length(unit: bytes) -> None:
    line = unit * (4096 // len(unit) + 1)
    assert len(line) <= scan_steps(line) <= STEPS_PER_BYTE_MAX * len(line)


@pytest.mark.parametrize("unit", ADVERSARIAL)
def test_long_adversarial_lines_equal_the_oracle(unit: bytes) -> None:
    line = unit * (2000 // len(unit))
    assert (mask_line(line), tokens(line), slots(line)) == (
        reference.mask_line(line),
        reference.tokens(line),
        reference.slots(line),
    )


def test_four_threads_mask_as_one() -> None:
    batches = [joined([b"worker %d took %d ms for /api/v%d/items/%d" % (k, i, k, i) for i in range(500)]) for k in range(16)]
    alone = [mask(*batch, line_bytes_max=4096) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda batch: mask(*batch, line_bytes_max=4096), batches))
    assert together == alone


def test_any_contiguous_bytes_are_accepted() -> None:
    line = b"took 31 ms"
    assert mask_line(bytearray(line)) == mask_line(memoryview(line)) == mask_line(line) == b"took # ms"


def test_no_lines_and_empty_lines() -> None:
    assert mask(b"", array("I"), line_bytes_max=10) == (b"", array("I"))
    assert mask(b"", array("I", [0, 0]), line_bytes_max=10) == (b"", array("I", [0, 0]))
    assert (mask_line(b""), tokens(b""), slots(b"")) == (b"", [], [])


@pytest.mark.parametrize("bytes_max", [0, -1, LINE_BYTES_MAX + 1])
def test_line_bytes_max_has_bounds(bytes_max: int) -> None:
    with pytest.raises(ValueError, match="choose 1 to LINE_BYTES_MAX"):
        mask(b"a", array("I", [1]), line_bytes_max=bytes_max)


@pytest.mark.parametrize("lengths", [[], [3], [5], [2, 3], [2**32 - 1]])
def test_lengths_have_to_fit_the_text(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="give one length for each line"):
        mask(b"abcd", array("I", lengths), line_bytes_max=10)


def test_a_batch_over_the_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="hand over fewer lines"):
        mask(bytes(TEXT_BYTES_MAX + 1), array("I", [TEXT_BYTES_MAX + 1]), line_bytes_max=10)


@pytest.mark.parametrize("function", [mask_line, tokens, slots, scan_steps])
def test_a_single_line_over_the_limit_is_refused_and_one_at_it_is_not(function) -> None:  # type: ignore[no-untyped-def]
    function(bytes(LINE_BYTES_MAX))
    with pytest.raises(ValueError, match="over LINE_BYTES_MAX"):
        function(bytes(LINE_BYTES_MAX + 1))


def test_wrong_types_are_refused() -> None:
    with pytest.raises(TypeError):
        mask_line("text")  # type: ignore[arg-type]
    with pytest.raises((TypeError, ValueError)):
        mask(b"a", array("Q", [1]), line_bytes_max=10)


@settings(max_examples=300)
@given(st.lists(LINES, max_size=8), st.booleans(), st.integers(1, 40))
def test_slots_as_numbers_equal_the_oracle(lines: list[bytes], paths_as_slots: bool, line_bytes_max: int) -> None:
    limits = {"line_bytes_max": line_bytes_max, "paths_as_slots": paths_as_slots}
    masked, lengths, numbers, counts = mask_with_slots(*joined(lines), **limits)
    assert (masked, lengths) == mask(*joined(lines), **limits)
    texts = [reference.slots(reference.cut(line, line_bytes_max))[:SLOTS_MAX] for line in lines]
    assert list(counts) == [len(found) for found in texts]
    flat = [text for found in texts for text in found]
    assert [number >> 56 for number in numbers] == [reference_codelength.bucket(text) for text in flat]
    assert len(set(numbers)) == len(set(flat))
    assert len({*zip(numbers, flat, strict=True)}) == len(set(flat))


@given(st.integers(0, 10**22), st.text("0123456789", max_size=12), st.booleans())
def test_buckets_of_numbers_are_exact(whole: int, decimals: str, negative: bool) -> None:
    line = (b"-" * negative) + b"%d" % whole + (b"." + decimals.encode() if decimals else b"")
    _, _, numbers, _ = mask_with_slots(*joined([line]), line_bytes_max=100)
    assert [number >> 56 for number in numbers] == [reference_codelength.bucket(line)]


@pytest.mark.parametrize(
    ("line", "bucket"),
    [
        (b"0", 0),
        (b"0.0009765624", 0),
        (b"0.0009765625", 0),  # the tenth digit does not count
        (b"0.001", 1),
        (b"0.5", 19),
        (b"1", 21),
        (b"-1", 21),
        (b"1.414", 21),
        (b"1.416", 22),
        (b"2", 23),
        (b"9007199254740992", 127),
        (b"1" + b"0" * 18, 140),
        (b"9" * 300, 140),
        (b"10.1.2.3", 168),
        (b"a" * 20 + b"B1" * 60, 255),
        (b"/a1/b22/c", 168),
    ],
)
def test_buckets(line: bytes, bucket: int) -> None:
    _, _, numbers, counts = mask_with_slots(*joined([line]), line_bytes_max=1000)
    assert ([number >> 56 for number in numbers], list(counts)) == ([bucket], [1])


def test_numbers_of_slots_are_the_same_on_every_machine() -> None:
    _, _, numbers, _ = mask_with_slots(*joined([b"took 31 ms from 10.0.0.7 in /srv/data7/x"]), line_bytes_max=1000)
    assert [f"{number:016x}" for number in numbers] == ["1ed0dd5f2e6891cc", "a8d7d32001cac714", "ac8f81f83f5989c2"]


def test_only_the_first_slots_of_a_line_are_numbers() -> None:
    lines = [b"x1 " * 15, b"x1 " * 16, b"x1 " * 17, b""] * 50
    _, _, numbers, counts = mask_with_slots(*joined(lines), line_bytes_max=1000)
    assert list(counts) == [15, SLOTS_MAX, SLOTS_MAX, 0] * 50
    assert len(numbers) == sum(counts)


def test_slots_of_no_lines_and_limits() -> None:
    nothing = (b"", array("I"), array("Q"), array("B"))
    assert mask_with_slots(b"", array("I"), line_bytes_max=10) == nothing
    assert mask_with_slots(b"", array("I", [0, 0]), line_bytes_max=10) == (
        b"",
        array("I", [0, 0]),
        array("Q"),
        array("B", [0, 0]),
    )
    with pytest.raises(ValueError, match="choose 1 to LINE_BYTES_MAX"):
        mask_with_slots(b"a", array("I", [1]), line_bytes_max=0)
    with pytest.raises(ValueError, match="give one length for each line"):
        mask_with_slots(b"abcd", array("I", [3]), line_bytes_max=10)
    with pytest.raises(ValueError, match="hand over fewer lines"):
        mask_with_slots(bytes(TEXT_BYTES_MAX + 1), array("I", [TEXT_BYTES_MAX + 1]), line_bytes_max=10)
