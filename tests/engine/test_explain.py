"""Novel lines and novel bytes."""

import itertools
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from cbad_cy.codec import Codec
from cbad_cy.tokenize import mask_line
from driftlock.engine.explain import explain, headline, source_spans
from driftlock.engine.limits import Limits
from driftlock.engine.window import Event

KNOWN = [b"INFO order # stored in # ms", b"INFO cart # loaded by worker #", b"DEBUG session <U> refreshed"] * 20


def told(*texts: str):
    codec = Codec("zstd")
    events = [Event(text.encode(), mask_line(text.encode()), 1000 + number) for number, text in enumerate(texts)]
    return explain(events, 100, Counter(KNOWN), codec, codec.prepare(b"\n".join(KNOWN)), Limits())


def novel(line) -> list[str]:
    return [line.text.encode()[start:stop].decode() for start, stop in line.spans]


def test_new_lines_are_named_with_their_bytes_and_neighbour() -> None:
    result = told("INFO order 17 stored in 3 ms", "INFO order 18 stored in 4 ms", "INFO order 19 refused: fraud score 0.93")
    [line] = result.lines
    assert (line.event, line.time_ns, line.count) == (102, 1002, 1)
    assert novel(line) == ["refused: fraud score"]
    assert line.nearest == "INFO order # stored in # ms"
    assert result.sentence.startswith("1 of 3 lines is new: `INFO order 19 refused: fraud score 0.93`")


def test_equal_forms_are_one_line_with_a_count() -> None:
    result = told(*(f"ERROR gateway timeout after {n} ms" for n in range(5)))
    [line] = result.lines
    assert line.count == 5
    assert result.sentence.startswith("5 of 5 lines are new")


def test_a_changed_mix_is_said_so() -> None:
    result = told(*(f"INFO order {n} stored in 3 ms" for n in range(9)), "INFO cart 1 loaded by worker 2")
    assert "No line is new, the mix changed: 9 of 10 lines are like `INFO order 0 stored in 3 ms`" in result.sentence
    assert "usually 3.3 of 10" in result.sentence
    assert result.lines[0].spans == ()


def test_values_are_novel_between_novel_words_or_when_no_word_is() -> None:
    text = "peer 10.20.30.40:443 gone"
    assert source_spans(text.encode(), text, [(0, 14)]) == [(0, 25)]
    assert source_spans(text.encode(), text, [(5, 9)]) == [(5, 20)]
    assert source_spans(text.encode(), text, [(0, 9)]) == [(0, 4)]


def test_sentences_begin_at_the_first_word() -> None:
    assert headline(b"2026-03-14T09:51:23.902Z [12] ERROR payment failed") == "`ERROR payment failed`"
    known = [b"<T> INFO order # stored"] * 9
    codec = Codec("zstd")
    event = Event(b"12:00:01 INFO order 7 lost", b"<T> INFO order # lost", 1)
    sentence = explain([event], 0, known, codec, codec.prepare(b"".join(known)), Limits()).sentence
    assert sentence == "1 of 1 lines is new: `INFO order 7 lost`; the nearest known line is `INFO order # stored`."


def test_lines_that_are_not_utf8_are_novel_as_a_whole() -> None:
    line = b"\xff\xfe broken"
    text = line.decode("utf-8", "replace")
    assert source_spans(line, text, [(0, 1)]) == [(0, len(text.encode()))]


@given(st.text(max_size=60))
def test_spans_are_ordered_disjoint_and_on_character_boundaries(text: str) -> None:
    line = text.encode("utf-8", "replace")
    shown = line.decode()
    masked = mask_line(line)
    spans = source_spans(line, shown, [(0, len(masked))])
    assert all(start < stop for start, stop in spans)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(spans))
    for start, stop in spans:
        line[start:stop].decode()
