"""Sentences about findings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbad_cy.tokenize import mask_line, tokens
from driftlock.engine.explanation.sentence import QUOTE_CHARACTERS_MAX, headline, lasting, masked_headline

SECOND = 10**9


def told(line: str, *novel: str) -> str:
    raw = line.encode()
    spans = [(raw.index(part.encode()), raw.index(part.encode()) + len(part.encode())) for part in novel]
    return headline(raw, mask_line(raw), tokens(raw), spans)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("payment gateway timeout after 31 ms", "`payment gateway timeout after <num> ms`"),
        ("2026-03-14T09:51:23.902Z [12] ERROR payment failed", "`ERROR payment failed`"),
        ("peer 10.0.0.1:80 sent 2.5.1 deadbeef01", "`peer <ip> sent <value> <hex>`"),
        ("code E17 at /api/v2/items/93", "`code E<num> at /api/v<num>/items/<num>`"),
        ('{"level": "error", "n": 3}', '`{"level": "error", "n": <num>}`'),
        ("one\n\ttwo", "`one two`"),
        ("  ", "``"),
        ("17", "`<num>`"),
    ],
)
def test_values_are_told_by_kind_and_what_stands_before_words_is_left_out(line: str, expected: str) -> None:
    assert told(line) == expected


def test_values_that_are_novel_are_shown() -> None:
    assert told("GET /pay status 500 in 12 ms", "500") == "`GET /pay status 500 in <num> ms`"


def test_masked_lines_are_told_alike() -> None:
    assert masked_headline("<T> [#] INFO order # of <U> stored") == "`INFO order <num> of <uuid> stored`"
    assert masked_headline("<T> #") == "`<time> <num>`"


@given(st.text(max_size=400))
def test_quotes_are_one_line_and_bounded(line: str) -> None:
    for quote in (told(line.encode("utf-8", "replace").decode()), masked_headline(line)):
        assert quote[0] == quote[-1] == "`"
        assert len(quote) <= QUOTE_CHARACTERS_MAX + 3
        assert "\n" not in quote


@given(st.integers(0, 10**20))
def test_spans_of_time_are_never_longer_than_they_were(span_ns: int) -> None:
    words = lasting(span_ns)
    if not words:
        assert span_ns < SECOND
        return
    count, unit = words.split()
    size = {"day": 86_400, "hour": 3600, "minute": 60, "second": 1}[unit.rstrip("s")]
    assert int(count) * size * SECOND <= span_ns < (int(count) + 1) * size * SECOND
