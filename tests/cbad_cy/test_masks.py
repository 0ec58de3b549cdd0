"""Masks of a stream's owner: against regular expressions whose runs give nothing back, and against whatever would grow."""

from array import array
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbad_cy import reference
from cbad_cy.tokenize import (
    LINE_BYTES_MAX,
    MASK_ELEMENTS_MAX,
    MASK_LITERAL_BYTES_MAX,
    MASK_NAME_BYTES_MAX,
    MASKS_MAX,
    MaskPattern,
    Masks,
    Run,
    TokenKind,
    mask,
    mask_line,
    mask_with_slots,
    scan_steps,
    slots,
    tokens,
)
from tests.cbad_cy.lines import FRAGMENTS, LINES, joined, split

DIGITS = b"0123456789"
HEX = DIGITS + b"abcdefABCDEF"
LETTERS = bytes([*range(ord("A"), ord("Z") + 1), *range(ord("a"), ord("z") + 1), *range(0x80, 0x100)])
WORD = LETTERS + DIGITS + b"_"
NOT_SPACE = bytes(byte for byte in range(256) if byte not in b"\t\n\v\f\r ")
NOT_COMMA = bytes(byte for byte in range(256) if byte != ord(","))

LITERALS = [
    b"a",
    b"order-",
    b"blk_",
    b"_",
    b"-",
    b"/",
    b"/a/",
    b"[",
    b"<",
    b" ",
    b"=",
    b"10",
    b".",
    "é".encode(),
    b"\x80",
    b"T",
]
SETS = [DIGITS, HEX, LETTERS, WORD, NOT_SPACE, NOT_COMMA, b" ", b"-", b"a-", bytes(range(256))]
RUNS = st.builds(
    lambda members, least, more: Run(members, least, LINE_BYTES_MAX if more is None else least + more),
    st.sampled_from(SETS) | st.binary(min_size=1, max_size=4),
    st.integers(1, 4),
    st.none() | st.integers(0, 4),
)


def name_that_fits(elements: list[bytes | Run], name: bytes) -> bytes:
    least = sum(element.least if isinstance(element, Run) else len(element) for element in elements)
    return name[: least - 2]


PATTERNS = (
    st.tuples(
        st.lists(st.sampled_from(LITERALS) | RUNS, min_size=1, max_size=4),
        RUNS.map(lambda run: run._replace(least=max(run.least, 3), most=max(run.most, 3))),
        st.lists(st.sampled_from(LITERALS) | RUNS, max_size=2),
        st.sampled_from([b"M", b"T", b"ORDER", b"X_1"]),
        st.booleans(),
        st.booleans(),
    )
    .map(lambda drawn: ([*drawn[0], drawn[1], *drawn[2]], *drawn[3:]))
    .map(lambda drawn: MaskPattern(name_that_fits(drawn[0], drawn[1]), tuple(drawn[0]), *drawn[2:]))
)
SHORT = st.sampled_from(
    [
        MaskPattern(b"ORDER", (b"order-", Run(HEX))),
        MaskPattern(b"B", (b"blk_", Run(DIGITS))),
        MaskPattern(b"N", (Run(DIGITS, 3, 3),)),
        MaskPattern(b"N", (Run(DIGITS, 3, 4),), True, True),
        MaskPattern(b"W", (Run(WORD, 3), b"/", Run(WORD))),
        MaskPattern(b"A", (b"a", Run(NOT_SPACE, 2)), False, True),
        MaskPattern(b"P", (b"/", Run(LETTERS), b"/", Run(WORD)), True, False),
        MaskPattern(b"C", (b"<", Run(NOT_COMMA, 2)),),
        MaskPattern(b"S", (Run(LETTERS), b" ", Run(DIGITS))),
    ]
)  # fmt: skip
MASKS = st.lists(SHORT | PATTERNS, max_size=MASKS_MAX).map(Masks)
TEXTS = st.one_of(
    LINES, st.lists(st.sampled_from(FRAGMENTS + LITERALS + [b"order-7f", b"blk_12", b"abc/d"]), max_size=20).map(b"".join)
)


@settings(max_examples=400)
@given(TEXTS, MASKS, st.booleans())
def test_masked_text_tokens_and_slots_equal_the_oracle(line: bytes, masks: Masks, paths_as_slots: bool) -> None:
    how = {"paths_as_slots": paths_as_slots, "masks": masks}
    assert mask_line(line, **how) == reference.mask_line(line, **how)
    assert tokens(line, **how) == reference.tokens(line, **how)
    assert slots(line, masks=masks) == reference.slots(line, masks=masks)


@given(TEXTS, MASKS)
def test_tokens_tile_the_masked_text_and_stay_in_order_in_the_source(line: bytes, masks: Masks) -> None:
    masked = mask_line(line, masks=masks)
    assert len(masked) <= len(line)
    marks = {b"<" + pattern.name + b">" for pattern in masks.patterns}
    masked_at, source_at = 0, 0
    for kind, masked_start, masked_end, source_start, source_end in tokens(line, masks=masks):
        assert masked[masked_at:masked_start] in (b"", b" ")
        assert masked_start < masked_end
        assert source_at <= source_start < source_end <= len(line)
        if kind == TokenKind.MASK:
            assert masked[masked_start:masked_end] in marks
        masked_at, source_at = masked_end, source_end
    assert masked_at == len(masked)


@given(st.lists(TEXTS, max_size=8), MASKS, st.integers(1, 40))
def test_a_batch_is_its_lines_cut_and_masked_one_by_one(lines: list[bytes], masks: Masks, bytes_max: int) -> None:
    cut = [reference.cut(line, bytes_max) for line in lines]
    masked = mask(*joined(lines), line_bytes_max=bytes_max, masks=masks)
    assert split(*masked) == [mask_line(line, masks=masks) for line in cut]
    again, lengths, _, counts = mask_with_slots(*joined(lines), line_bytes_max=bytes_max, masks=masks)
    assert (again, lengths) == masked
    assert list(counts) == [min(16, len(slots(line, masks=masks))) for line in cut]


@given(TEXTS, MASKS)
def test_where_no_mask_matches_nothing_changes(line: bytes, masks: Masks) -> None:
    if all(kind != TokenKind.MASK for kind, *_ in reference.tokens(line, masks=masks)):
        assert tokens(line, masks=masks) == tokens(line)
        assert mask_line(line, masks=masks) == mask_line(line)


@given(TEXTS)
def test_no_masks_are_as_none(line: bytes) -> None:
    assert tokens(line, masks=Masks([])) == tokens(line, masks=None) == tokens(line)


# Every element looks at each byte in a run once, and every start at the literals; the rules look 8 times (test_tokenize.py).
def steps_max(masks: Masks, length: int) -> int:
    fixed = 10
    for pattern in masks.patterns:
        fixed += sum(3 if isinstance(element, Run) else 1 + len(element) for element in pattern.elements)
    return fixed * (length + 1)


HOSTILE = [
    [MaskPattern(b"M", (Run(NOT_SPACE), b"!!", Run(DIGITS)), True, True)],
    [MaskPattern(b"M", (Run(bytes(range(256)), 1), b"!", Run(DIGITS, 2)), True, True)] * MASKS_MAX,
    [MaskPattern(b"M", (Run(b"a", 1, k + 1), Run(b"a-", 1, 3), Run(NOT_SPACE), b"!"), True) for k in range(MASKS_MAX)],
    [MaskPattern(b"M", tuple([Run(b"a-1/", 1, 1)] * 15 + [b"!"]), True, True)] * MASKS_MAX,
    [MaskPattern(b"M", (b"a" * 127 + b"!", Run(b"a")), True, True)] * MASKS_MAX,
    [MaskPattern(b"M", (b"a-" * 63 + b"!", Run(b"a")), True, True)] * MASKS_MAX,
    [MaskPattern(b"M", (b"a", Run(NOT_SPACE), b"\xff", Run(DIGITS)))],
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
@pytest.mark.parametrize("unit", [b"a", b"a-", b"-", b"1/", b"a ", b"!", b"a\x80"])
def test_no_mask_looks_more_often_the_longer_the_line_is(number: int, unit: bytes) -> None:
    masks = Masks(HOSTILE[number])
    for length in (1000, 16_000):
        line = (unit * length)[:length]
        assert scan_steps(line, masks=masks) <= steps_max(masks, length)


@settings(max_examples=300)
@given(st.lists(st.sampled_from([*FRAGMENTS, *LITERALS]), min_size=1, max_size=4).map(b"".join), MASKS)
def test_steps_are_bounded_by_bytes_times_patterns(unit: bytes, masks: Masks) -> None:
    line = unit * (2000 // max(1, len(unit)))
    assert scan_steps(line, masks=masks) <= steps_max(masks, len(line))


ORDER = MaskPattern(b"ORDER", (b"order-", Run(HEX)))


@pytest.mark.parametrize(
    ("pattern", "line", "masked"),
    [
        (ORDER, b"paid order-7f3, order-1, not order-1g nor reorder-1", b"paid <ORDER>, not order-#g nor reorder-#"),
        (ORDER, b"/api/v2/order-7f/items order-", b"/api/v#/<ORDER>/items order-"),
        (ORDER, b"order-7/5 a order-7 /5 b order-7-5", b"<ORDER>/# a <ORDER> # b <ORDER>-#"),
        (ORDER, b"order-1 7 order-2", b"<ORDER>"),
        (ORDER, b"order-1 at order-2", b"<ORDER> at <ORDER>"),
        (MaskPattern(b"M", (Run(DIGITS, 4, 4),)), b"1234 12345 123 z1234", b"<M> # z#"),
        (MaskPattern(b"M", (Run(DIGITS, 4, 4),), True, True), b"1234 12345 123 z1234", b"<M># z<M>"),
        (MaskPattern(b"M", (b'"', Run(NOT_COMMA), b",")), b'say "yes and no, "but', b'say <M> "but'),
        (MaskPattern(b"M", (b'"', Run(NOT_COMMA, 2))), b'say "yes and no, but', b"say <M>, but"),
        (MaskPattern(b"M", (b"n=", Run(LETTERS, 1, 3))), "n=éé n=é n=xy".encode(), "n=éé <M>".encode()),
        (MaskPattern(b"M", (b"n=", Run(LETTERS, 1, 3)), False, True), "n=éé n=éx".encode(), "n=éé <M>".encode()),
    ],
    ids=range(11),
)
def test_masks(pattern: MaskPattern, line: bytes, masked: bytes) -> None:
    masks = Masks([pattern])
    assert reference.mask_line(line, masks=masks) == masked
    assert mask_line(line, masks=masks) == masked


def test_the_first_mask_that_matches_at_the_leftmost_place_wins() -> None:
    long = MaskPattern(b"LONG", (b"a-", Run(WORD), b"-", Run(WORD, 3)))
    short = MaskPattern(b"SHORT", (b"a-", Run(WORD, 5)))
    later = MaskPattern(b"LATER", (Run(WORD, 5), b"-", Run(WORD)))
    line = b"a-bbbbb-ccc"
    assert mask_line(line, masks=Masks([long, short, later])) == b"<LONG>"
    assert mask_line(line, masks=Masks([later, short, long])) == b"<SHORT>-ccc"
    assert mask_line(line, masks=Masks([later])) == b"a-<LATER>"


def test_the_slot_reaches_from_the_first_run_to_the_last() -> None:
    masks = Masks([MaskPattern(b"M", (b"[", Run(WORD), b"@", Run(WORD), b"]"))])
    line = b"by [ann@db7] 31"
    assert slots(line, masks=masks) == [b"ann@db7", b"31"]
    _, _, numbers, counts = mask_with_slots(*joined([line]), line_bytes_max=100, masks=masks)
    assert [number >> 56 for number in numbers] == [160 + 7, 30]
    assert list(counts) == [2]


def test_masked_offsets_map_back_to_the_source() -> None:
    line = b"paid order-7f3, order-9 by card"
    found = [(TokenKind(kind).name, line[start:end]) for kind, _, _, start, end in tokens(line, masks=Masks([ORDER]))]
    assert found == [("WORD", b"paid"), ("MASK", b"order-7f3, order-9"), ("WORD", b"by"), ("WORD", b"card")]


def test_four_threads_mask_as_one_with_the_same_masks() -> None:
    masks = Masks([ORDER, MaskPattern(b"B", (b"blk_", Run(DIGITS)))])
    batches = [joined([b"order-%x moved blk_%d in %d ms" % (i, i * k, k) for i in range(500)]) for k in range(16)]
    alone = [mask(*batch, line_bytes_max=4096, masks=masks) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda batch: mask(*batch, line_bytes_max=4096, masks=masks), batches)) == alone


def test_masks_outlive_what_they_were_made_of() -> None:
    masks = Masks(MaskPattern(b"ORDER", (bytes(bytearray(b"order-")), Run(bytes(bytearray(HEX))))) for _ in range(1))
    assert masks.patterns == (ORDER,)
    assert mask_line(b"order-1", masks=masks) == b"<ORDER>"


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        (ORDER._replace(name=b""), "choose 1 to 16"),
        (ORDER._replace(name=b"order"), "A-Z, 0-9 and _"),
        (ORDER._replace(name=b"A B"), "A-Z, 0-9 and _"),
        (ORDER._replace(name=b"A" * (MASK_NAME_BYTES_MAX + 1)), "choose 1 to 16"),
        (ORDER._replace(elements=()), "0 elements is not possible"),
        (ORDER._replace(elements=(Run(DIGITS),) * (MASK_ELEMENTS_MAX + 1)), "17 elements is not possible"),
        (ORDER._replace(elements=(b"", Run(DIGITS))), "is empty; leave it out"),
        (ORDER._replace(elements=(b"constant",)), "has no run"),
        (ORDER._replace(elements=(b"a" * (MASK_LITERAL_BYTES_MAX + 1), Run(DIGITS))), "129 literal bytes; at most 128"),
        (ORDER._replace(elements=(b"order-", Run(b""))), "no members"),
        (ORDER._replace(elements=(b"order-", Run(DIGITS, 0))), "choose 1 to"),
        (ORDER._replace(elements=(b"order-", Run(DIGITS, 3, 2))), "choose 1 to"),
        (ORDER._replace(elements=(b"order-", Run(DIGITS, 1, LINE_BYTES_MAX + 1))), "choose 1 to"),
        (ORDER._replace(elements=(b"ord-", Run(DIGITS))), r"may match 5 bytes can not become b'<ORDER>'; shorten"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_masks_that_are_not_possible_are_refused(pattern: MaskPattern, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Masks([pattern])


def test_the_largest_masks_are_possible() -> None:
    largest = MaskPattern(b"A" * MASK_NAME_BYTES_MAX, (b"a" * MASK_LITERAL_BYTES_MAX, *[Run(b"b-")] * (MASK_ELEMENTS_MAX - 1)))
    masks = Masks([largest] * MASKS_MAX)
    assert mask_line(b"x a1", masks=masks) == b"x a#"
    with pytest.raises(ValueError, match="17 masks are more than MASKS_MAX = 16"):
        Masks([largest] * (MASKS_MAX + 1))


def test_wrong_types_are_refused() -> None:
    with pytest.raises((TypeError, AttributeError)):
        Masks(["order-{digits}"])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        mask(b"a", array("I", [1]), line_bytes_max=10, masks=[ORDER])  # type: ignore[arg-type]
