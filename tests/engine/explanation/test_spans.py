"""From masked lines back to the bytes that were sent."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbad_cy.tokenize import mask_line, slots, tokens
from driftlock.engine.explanation.spans import Range, covered, priced, shown

LINES = st.one_of(
    st.binary(max_size=80),
    st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")),
    st.lists(
        st.sampled_from(
            ["user", "10.0.0.7:80", "42", "E17", "/a/b9/c", "7 , 7", "2024-05-01T10:00:00Z", "é", "k=v", "ab12cd", "-5"]
        ),
        max_size=12,
    ).map(lambda words: " ".join(words).encode()),
)


def ranges_of(line: str, dear: list[tuple[str, float]], slot_bits: dict[int, float]) -> list[tuple[str, float]]:
    raw = line.encode()
    masked = mask_line(raw)
    found = [(masked.index(word.encode()), masked.index(word.encode()) + len(word.encode()), bits) for word, bits in dear]
    return [(raw[a:b].decode(), bits) for a, b, bits in priced(raw, tokens(raw), slots(raw), found, slot_bits)]


def novel(line: str, spans: list[tuple[int, int]]) -> list[str]:
    raw = line.encode()
    told = shown(raw, covered(tokens(raw), spans), 64, with_bits=False)
    return [raw[start:stop].decode() for start, stop in told.ranges]


def test_dear_tokens_are_whole_words_of_the_source() -> None:
    assert ranges_of("user 4711 fraud detected", [("fraud", 12.0)], {}) == [("fraud", 12.0)]
    assert ranges_of("open /var/lib/app77/x failed", [("lib", 7.0), ("app", 8.0)], {}) == [("/var/lib/app77/x", 15.0)]


@pytest.mark.parametrize(
    ("index", "expected"),
    [(0, "10.1.2.3"), (1, "/v2/items/93"), (2, "93"), (3, "17"), (4, "500")],
)
def test_dear_values_are_found_by_their_number(index: int, expected: str) -> None:
    line = "2024-05-01T10:00:00Z 10.1.2.3:80 GET /v2/items/93 item 93 node E17 status 500"
    assert ranges_of(line, [], {index: 9.0}) == [(expected, 9.0)]


def test_equal_values_are_told_apart_and_what_is_no_slot_is_passed_over() -> None:
    raw = b"10:10:10 a 10 b 10"
    assert priced(raw, tokens(raw), slots(raw), [], {1: 8.0}) == [(16, 18, 8.0)]


def test_bits_of_one_place_add_up() -> None:
    assert ranges_of("code E17", [("E#", 9.0)], {0: 7.0}) == [("E17", 16.0)]


def test_the_end_of_a_line_has_bits_but_no_bytes() -> None:
    raw = b"a b"
    assert priced(raw, tokens(raw), slots(raw), [(3, 3, 20.0)], {}) == []


def test_neighbours_are_one_span_unless_place_or_line_changes() -> None:
    raw = b"fraud, score high\nstack frame a.b=fresh"
    told = shown(
        raw, [(0, 5, 7.0), (7, 12, 8.0), (13, 17, 6.0), (18, 23, 9.0), (30, 33, 6.0), (34, 39, 6.5)], 64, with_bits=True
    )
    assert [raw[a:b] for a, b in told.ranges] == [b"fraud, score high", b"stack", b"a.b=fresh"]
    assert told.bits == (21.0, 9.0, 12.5)
    assert told.paths == ("body", "body", "a.b")


def test_of_too_many_spans_the_dearest_stay_in_order() -> None:
    raw = b"a 1 b 2 c 3 d"
    told = shown(raw, [(0, 1, 6.0), (4, 5, 9.0), (8, 9, 7.0), (12, 13, 8.0)], 2, with_bits=True)
    assert told.ranges == ((4, 5), (12, 13))


def test_values_are_novel_between_novel_words_or_when_no_word_is() -> None:
    text = "peer 10.20.30.40:443 gone"
    assert novel(text, [(0, 14)]) == [text]
    assert novel(text, [(5, 9)]) == ["10.20.30.40:443"]
    assert novel(text, [(0, 9)]) == ["peer"]


def test_offsets_are_those_of_the_text_that_is_shown() -> None:
    raw = b"\xff\xfe fraud"
    told = shown(raw, [(3, 8, 9.0)], 64, with_bits=True)
    text = raw.decode("utf-8", "replace").encode()
    assert [text[a:b] for a, b in told.ranges] == [b"fraud"]


@given(LINES, st.data())
def test_spans_are_ordered_disjoint_whole_characters_and_add_up(line: bytes, data: st.DataObject) -> None:
    masked, found, values = mask_line(line), tokens(line), slots(line)
    cuts = data.draw(st.lists(st.integers(0, len(masked)), max_size=12).map(sorted))
    dear: list[Range] = [(a, b, 8.0) for a, b in pairwise(cuts) if b > a][::2]
    slot_bits = data.draw(st.dictionaries(st.integers(0, 15), st.just(7.0), max_size=4))
    ranges = priced(line, found, values, dear, slot_bits)
    assert all(0 <= a < b <= len(line) for a, b, _ in ranges)
    assert all(one[1] <= other[0] for one, other in pairwise(ranges))
    touched = [span for span in dear if any(token[1] < span[1] and span[0] < token[2] for token in found)]
    priced_slots = [index for index in slot_bits if index < len(values)]
    assert sum(bits for _, _, bits in ranges) == 8.0 * len(touched) + 7.0 * len(priced_slots)
    for spans in (
        shown(line, ranges, 64, with_bits=True),
        shown(line, covered(found, [(0, len(masked))]), 64, with_bits=False),
    ):
        text = line.decode("utf-8", "replace").encode()
        assert all(a < b <= len(text) for a, b in spans.ranges)
        assert all(one[1] <= other[0] for one, other in pairwise(spans.ranges))
        assert len(spans.paths) == len(spans.ranges)
        for start, stop in spans.ranges:
            text[start:stop].decode()
