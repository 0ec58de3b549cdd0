"""The window kernel against its oracle; batches, restarts, watching and waiting for a window change nothing."""

from __future__ import annotations

import pickle
import random
from array import array
from collections import Counter
from ctypes import CDLL, Structure, c_size_t
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cbad_cy import reference_slide
from cbad_cy.codec import CODECS, Codec
from cbad_cy.codelength import BIT, Coder, template
from cbad_cy.slide import BATCH_BYTES_MAX, QUESTIONS, SHARES, Slide, Window
from tests.cbad_cy.codecs import every_codec
from tests.cbad_cy.slides import CODER_BYTES, SIZES, THRESHOLDS, feed, fold, known, new_slide, restarted, stream

Cost = tuple[int, int, bool, list[tuple[int, int, int, int]]]
SEEDS = st.integers(0, 10**6)
GROUPS = {"novelty": "novelty", "instance": "instance"}  # the other questions are the pattern's


def same(one: object, other: object) -> bool:
    """Equal, but for the last digits of what the oracle computes with another logarithm."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == (pytest.approx(other, rel=1e-11, abs=1e-11) if isinstance(one, float) else other)


def differing(windows: list[Window], expected: list[Window]) -> list[tuple[Window, Window]]:
    pairs = zip(windows, expected, strict=True)
    return [(window, oracle) for window, oracle in pairs if not same(tuple(window), tuple(oracle))]


# ---- what it says --------------------------------------------------------------------------------------------------


@every_codec
@settings(max_examples=12, deadline=None)
@given(seed=SEEDS, count=st.integers(0, 1400))
def test_it_is_what_the_oracle_says(name: str, seed: int, count: int) -> None:
    codec, lines = Codec(name), stream(seed, count)
    oracle = reference_slide.Slide(**SIZES, **THRESHOLDS, codec=codec)
    slide = new_slide(codec)
    assert differing(fold(slide, lines, codec, watch=True), oracle.fold(lines)) == []
    assert slide.content.ratios.values() == list(oracle.content.ratios)
    assert slide.content.dear_ratios.values() == list(oracle.content.dear_ratios)
    if name == "statistical":
        assert slide.window_costs() == oracle.told[40:][-12:]


@every_codec
def test_these_streams_hold_every_question_and_both_times(name: str) -> None:
    codec, flagged, restless, windows = Codec(name), Counter[str](), 0, 0
    for seed in range(10):
        slide = new_slide(codec)
        feed(slide, stream(seed, 1200))
        while (window := slide.advance(codec, watch=True, **THRESHOLDS)) is not None:
            flagged[GROUPS.get(window.question, "pattern")] += window.flagged
            restless += slide.content.restless
            windows += 1
    assert all(flagged[group] > 0 for group in SHARES)
    assert 30 < sum(flagged.values()) < windows / 3
    assert (0.05 < restless / windows < 0.5) == (name == "statistical")


def test_questions_share_the_false_alarm_rate() -> None:
    assert sum(SHARES.values()) == 1
    codec = Codec("statistical")
    for window in fold(new_slide(codec), stream(3, 1200), codec, watch=True):
        groups = [GROUPS.get(said.question, "pattern") for said in window.said]
        offers = [min(1.0, said.p_value / SHARES[group]) for said, group in zip(window.said, groups, strict=True)]
        assert {said.question for said in window.said} <= set(QUESTIONS)
        assert len(set(groups)) == len(groups)
        if window.flagged:
            assert window.p_value in offers
            assert window.p_value <= THRESHOLDS["p_value_threshold"]
            assert window.distance >= THRESHOLDS["distance_threshold"]
        else:
            assert window.p_value == min(offers, default=1.0)


# ---- batches, restarts, watching -----------------------------------------------------------------------------------


@every_codec
@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, size=st.integers(1, 300))
def test_batches_and_watching_change_nothing(name: str, seed: int, size: int) -> None:
    codec, lines = Codec(name), stream(seed, 900)
    slides = [new_slide(codec) for _ in range(3)]
    whole = fold(slides[0], lines, codec)
    assert fold(slides[1], lines, codec, size) == whole
    assert known(slides[1]) == known(slides[0])
    watched = fold(slides[2], lines, codec, size, watch=True)
    assert [window.number for window in watched] == list(range(len(watched)))
    assert [window for window in watched if window.flagged] == whole
    if name == "statistical":  # a compressor is asked for the cost of a line only while somebody watches
        assert known(slides[2]) == known(slides[0])


@every_codec
@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, cuts=st.lists(st.integers(0, 899), max_size=5), watch=st.booleans())
def test_a_restarted_slide_goes_on_as_if_nothing_had_happened(name: str, seed: int, cuts: list[int], watch: bool) -> None:
    codec, lines = Codec(name), stream(seed, 900)
    steady, slide, windows = new_slide(codec), new_slide(codec), []
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), 900], strict=True):
        slide = restarted(slide, codec)
        windows += fold(slide, lines[start:stop], codec, watch=watch)
    assert windows == fold(steady, lines, codec, watch=watch)
    assert known(slide) == known(steady)


@every_codec
@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, number=st.integers(0, 215), size=st.integers(1, 900))
def test_a_window_that_somebody_waits_for_is_returned_and_changes_nothing(name: str, seed: int, number: int, size: int) -> None:
    codec, lines = Codec(name), stream(seed, 900)
    watched = fold(new_slide(codec), lines, codec, watch=True)
    slide, found = new_slide(codec), list[Window]()
    for start in range(0, len(lines), size):
        feed(slide, lines[start : start + size])
        while (window := slide.advance(codec, look_at=number, **THRESHOLDS)) is not None:
            found.append(window)
    assert found == [window for window in watched if window.flagged or window.number == number]


def test_a_window_is_seen_as_a_whole_by_whoever_comes_late() -> None:
    """What a flagged window says of novelty is measured even where another question flagged it."""
    codec = Codec("statistical")
    windows = [window for seed in range(6) for window in fold(new_slide(codec), stream(seed, 1200), codec)]
    others = [window for window in windows if window.question != "novelty"]
    assert len(others) > 9
    assert all(window.plain > 0 and window.given > 0 and window.usual > 0 for window in others)
    assert sum(window.entropy > 2 for window in others) > len(others) / 2


# ---- costs ---------------------------------------------------------------------------------------------------------


def test_costs_under_a_compressor_are_those_of_each_line_given_the_dictionary_of_its_time() -> None:
    codec, lines = Codec("zstd"), stream(3, 200)
    slide, costs = new_slide(codec), list[int]()
    feed(slide, lines)
    while True:
        window = slide.advance(codec, watch=True, **THRESHOLDS)
        costs += slide.line_costs()
        late = min(len(slide.line_costs()), slide.lines - 40)  # those that came after the baseline
        prepared = slide.prepared
        assert prepared is not None
        expected = [8 * BIT * codec.size_given(line, prepared) for line, _, _ in lines[slide.lines - late : slide.lines]]
        assert costs[len(costs) - late :] == expected
        if window is None:
            break
    assert costs[:40] == [8 * BIT * codec.size(line) for line, _, _ in lines[:40]]
    assert len(costs) == 200


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, size=st.integers(1, 400))
def test_costs_under_the_coder_are_those_that_it_tells_itself(seed: int, size: int) -> None:
    codec, lines = Codec("statistical"), stream(seed, 400)
    slide, coder, costs = new_slide(codec), Coder(bytes_max=1 << 20), list[int]()
    for start in range(0, 400, size):
        feed(slide, lines[start : start + size])
        while True:
            window = slide.advance(codec, **THRESHOLDS)
            costs += slide.line_costs()
            if window is None:
                break
    columns = b"".join(line for line, _, _ in lines), array("I", [len(line) for line, _, _ in lines])
    slots = array("Q", [slot for _, values, _ in lines for slot in values]), array("B", [len(s) for _, s, _ in lines])
    expected, templates = coder.code(*columns, *slots, context=0, learn=True)
    assert costs == list(expected)
    assert slide.content.context == templates[-1]
    assert slide.content.coder is not None
    assert slide.content.coder.parts() == coder.parts()


def test_dear_lines_of_the_window_keep_their_marks_and_usual_ones_have_none() -> None:
    codec, lines = Codec("statistical"), stream(1, 400, eventful=False)
    lines[-3] = (b"disk # is on fire", [9 << 56 | 4], 2)
    slide = new_slide(codec)
    fold(slide, lines, codec)
    costs = slide.window_costs()
    assert [new for _, _, new, _ in costs] == [False] * 9 + [True, False, False]
    cost, words, _, marks = costs[-3]
    assert cost > 60 * BIT
    assert cost - BIT < words <= cost  # a slot that was never seen costs less than a bit
    assert [lines[-3][0][start:stop] for start, stop, slot, _ in marks if slot < 0] == [b"disk", b"is", b"on", b"fire"]
    assert sum(bits for _, _, _, bits in marks) <= cost
    assert all(marks == [] for cost, _, _, marks in costs if cost < 20 * BIT)


# ---- the window ----------------------------------------------------------------------------------------------------


@every_codec
def test_flagged_lines_never_enter_the_past(name: str) -> None:
    codec, lines = Codec(name), stream(1, 400, eventful=False)
    strange = random.Random(1)
    lines[300:306] = [(b"zyx" + bytes(strange.choices(range(97, 123), k=40)), [], 1) for _ in range(6)]
    slide = new_slide(codec)
    assert [window for window in fold(slide, lines, codec) if window.question == "novelty"]
    assert not any(b"zyx" in form for form, _ in slide.pool.distinct())


@every_codec
def test_the_window_is_shown_as_it_stands(name: str) -> None:
    codec, lines = Codec(name), stream(5, 47)
    slide = new_slide(codec)
    fold(slide, lines, codec)
    assert slide.window_lines() == [line for line, _, _ in lines[40:]]
    assert slide.window_flags() == [False] * 7
    assert len(slide.window_costs()) == 7
    assert (slide.lines, slide.windows, slide.accepted) == (47, 0, 0)


def test_nothing_is_counted_that_a_coder_does_not_need() -> None:
    """Lines since a dictionary was chosen would be counted for ever where none is."""
    slide = new_slide(Codec("statistical"))
    fold(slide, stream(5, 300), Codec("statistical"))
    assert (slide.accepted, slide.prepared) == (0, None)


# ---- borders -------------------------------------------------------------------------------------------------------


def test_wrong_sizes_and_columns_are_refused() -> None:
    for wrong in ({"hop": 0}, {"hop": 13}, {"window": 41}):
        with pytest.raises(ValueError, match="keep 1 <= hop <= window <= baseline"):
            Slide(**SIZES | wrong)
    slide = Slide(**SIZES)
    with pytest.raises(ValueError, match="lengths add up to 3 bytes but the text has 4"):
        slide.feed(b"abcd", array("I", [3]))
    with pytest.raises(ValueError, match="1 lines but 2 slot counts"):
        slide.feed(b"abcd", array("I", [4]), array("Q"), array("B", [0, 0]))
    with pytest.raises(ValueError, match="1 lines but 1 slot counts"):
        slide.feed(b"abcd", array("I", [4]), None, array("B", [1]))
    with pytest.raises(ValueError, match="slot counts add up to 2 but there are 1 slots"):
        slide.feed(b"abcd", array("I", [4]), array("Q", [7]), array("B", [2]))
    with pytest.raises(ValueError, match="1 lines but 2 instances"):
        slide.feed(b"abcd", array("I", [4]), None, None, array("Q", [7, 7]))
    assert slide.lines == 0
    slide.feed(b"abcd", array("I", [4]))
    with pytest.raises(RuntimeError, match="call advance until it returns None"):
        slide.feed(b"abcd", array("I", [4]))
    with pytest.raises(TypeError, match="can not be pickled"):
        pickle.dumps(slide)


def test_a_batch_has_a_limit() -> None:
    lengths = array("I", bytes(4))
    lengths[0] = BATCH_BYTES_MAX
    with pytest.raises(ValueError, match="over BATCH_BYTES_MAX = 1073741824; hand over fewer"):
        new_slide(Codec("zstd")).feed(memoryview(Zeros(BATCH_BYTES_MAX).bytes), lengths)


class Zeros:
    """So many bytes of which none takes memory."""

    def __init__(self, size: int) -> None:
        import mmap

        self.bytes = mmap.mmap(-1, size, prot=mmap.PROT_READ)


def test_parts_of_another_slide_are_refused() -> None:
    plain: dict[str, Any] = {"taken": 60, "windows": 1, "accepted": 0, "odd_one": None}
    costs: list[Cost] = [(0, 0, False, [])]
    with pytest.raises(ValueError, match="parts belong to another slide"):
        Slide(**SIZES).restore_window([b"a"], [False], costs, **plain, codec=Codec("zstd"), dictionary=b"a")
    lines = [b"a"] * 12
    for flags, twelve, dictionary in ((1, 12, b""), (12, 1, b""), (12, 12, None)):
        with pytest.raises(ValueError, match="parts belong to another slide"):
            Slide(**SIZES).restore_window(
                lines, [False] * flags, costs * twelve, **plain, codec=Codec("zstd"), dictionary=dictionary
            )
    codec = Codec("statistical")
    with pytest.raises(ValueError, match="parts belong to another slide"):
        new_slide(codec).restore_window(lines, [False] * 12, costs * 12, **plain, codec=codec, dictionary=b"")
    many: list[Cost] = [(0, 0, False, [(0, 1, -1, 5)] * 17)] * 12
    with pytest.raises(ValueError, match="17 parts of one line are more than 16"):
        new_slide(codec).restore_window(lines, [False] * 12, many, **plain, codec=codec, dictionary=None)
    begun = new_slide(codec)
    fold(begun, stream(1, 5), codec)
    with pytest.raises(ValueError, match="this slide has begun already"):
        begun.restore_window(lines, [False] * 12, costs * 12, **plain, codec=codec, dictionary=None)


@pytest.mark.parametrize("other", sorted(set(CODECS) - {"zstd"}))
def test_another_codec_than_before_is_refused(other: str) -> None:
    slide = new_slide(Codec("zstd"))
    fold(slide, stream(1, 60), Codec("zstd"))
    with pytest.raises(ValueError, match=r"prepared for zstd level 1|without a coder does not work with statistical"):
        fold(slide, stream(1, 60), Codec(other))
    with pytest.raises(ValueError, match="with a coder does not work with zstd"):
        fold(new_slide(Codec("statistical")), stream(1, 60), Codec("zstd"))


def test_templates_of_the_newest_lines_can_be_asked_for_until_the_next_ones_come() -> None:
    slide = Slide(baseline=8, window=4, hop=2, memory=100, past_bytes_max=1000, reference=100, block=5, lag=5, normals=10)
    lines = [b"a", b"b", b"a"]
    slide.feed(b"".join(lines), array("I", [1, 1, 1]))
    assert list(slide.templates(3)) == [template(line) for line in lines]
    assert list(slide.templates(1)) == [template(b"a")]
    with pytest.raises(ValueError, match="4 lines are asked for and 3 are held"):
        slide.templates(4)


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(0, 120), max_size=12))
@example(sizes=[13, 0])  # an empty batch takes nothing away
def test_templates_of_a_batch_are_told_when_its_lines_have_been_taken(sizes: list[int]) -> None:
    codec, lines = Codec("statistical"), stream(5, sum(sizes))
    slide, start = new_slide(codec), 0
    for size in sizes:
        newest = lines[start : start + size]
        fold(slide, newest, codec)
        start += size
        assert list(slide.templates(size)) == [template(line) for line, _, _ in newest]
        assert slide.window_lines() == [line for line, _, _ in lines[max(40, start - 12) : start]]
        with pytest.raises(ValueError, match="are held; ask before the next ones come"):
            slide.templates((size or start) + 13)


class Heap(Structure):
    """What glibc's mallinfo2 tells: ten numbers of one type, by place; named are those that are read."""

    _fields_ = [(name, c_size_t) for name in (*map(str, range(4)), "mapped", "5", "6", "in_use", "8", "9")]


def heap_bytes() -> int:
    """Bytes that this process has from malloc."""
    tell = CDLL(None).mallinfo2
    tell.restype = Heap
    heap = tell()
    return int(heap.in_use + heap.mapped)


@every_codec
def test_a_stream_does_not_keep_the_memory_that_its_largest_batch_took(name: str) -> None:
    """4,000 lines of 100 bytes take 700,000 bytes while they wait; their templates and costs stay, 12 bytes a line."""
    codec, lines, slides = Codec(name), [(b"%d " % (number % 50) * 33, [7] * 5, 1) for number in range(4000)], []
    fold(new_slide(codec), lines, codec, size=4000)
    before = heap_bytes()
    for _ in range(8):
        slides.append(new_slide(codec))
        fold(slides[-1], lines, codec, size=4000)
    kept = (heap_bytes() - before) / len(slides)
    assert 12 * 4000 < kept < 250_000
    for slide in slides:
        fold(slide, lines[:20], codec)
    assert (heap_bytes() - before) / len(slides) < kept - 10 * 4000


@every_codec
def test_content_only_asks_what_is_new_and_nothing_else(name: str) -> None:
    codec, others = Codec(name), 0
    for seed in range(10):
        lines = stream(seed, 1200)
        alone = Slide(**SIZES, coder=Coder(bytes_max=CODER_BYTES) if name == "statistical" else None, content_only=True)
        windows, asked = fold(alone, lines, codec, watch=True), fold(new_slide(codec), lines, codec, watch=True)
        assert {window.question for window in windows} == {"novelty"}
        assert all(said.question == "novelty" for window in windows for said in window.said)
        for one, other in zip(windows, asked, strict=True):  # the past is the same until another question flags
            assert (one.bits, one.distance) == (other.bits, other.distance) or other.question != "novelty"
            assert one.said == tuple(said for said in other.said if said.question == "novelty")
            if other.flagged and other.question != "novelty":
                others += 1
                break
    assert others > 0
