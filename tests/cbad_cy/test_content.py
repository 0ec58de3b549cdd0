"""Is the window new: calm and restless times, what one new line does, and what is kept of it."""

from __future__ import annotations

import pickle
import random

import pytest

from cbad_cy.codec import Codec
from cbad_cy.codelength import BIT
from cbad_cy.content import NOVEL_LINES_MAX, Content
from cbad_cy.slide import Slide, Window
from tests.cbad_cy.codecs import every_codec
from tests.cbad_cy.slides import Line, feed, fold, new_slide, stream

LARGE = {"baseline": 100, "window": 20, "hop": 5, "reference": 400, "block": 2, "lag": 4, "past_bytes_max": 8000}
ALIEN: Line = (b"panic: segment checksum mismatch, volume is read only", [], 1)


def kind(rng: random.Random) -> bytes:
    return b" ".join(bytes(rng.choices(range(97, 123), k=6)) for _ in range(4)) + b" # ms"


def learned_late(seed: int, count: int) -> list[Line]:
    """For 1,500 lines one in seven is of a kind that never was, and after that none is."""
    rng, lines, kinds = random.Random(seed), list[Line](), list[bytes]()
    for number in range(count):
        if not kinds or (number < 1500 and rng.random() < 0.15):
            kinds.append(kind(rng))
            form = kinds[-1]
        else:
            form = kinds[int(len(kinds) * rng.random() ** 3)]
        lines.append((form, [3 << 56 | rng.randrange(8)], 0))
    return lines


def windows_with(windows: list[Window], line: int) -> list[Window]:
    return [window for window in windows if window.end - 20 <= line < window.end]


def p_of(slide: Slide, times: int) -> float:
    """The p-value of the window at hand among those of calm (0) or restless (1) times."""
    costs = sorted(cost for cost, _, _, _ in slide.window_costs())
    content = slide.content
    return 2 * min(content.lengths[times].surprise(sum(costs))[0], content.accents[times].surprise(sum(costs[-3:]))[0])


@pytest.mark.parametrize("seed", range(4))
def test_one_new_line_is_found_in_a_stream_that_was_full_of_novelty_while_it_was_learned(seed: int) -> None:
    codec, lines = Codec("statistical"), learned_late(seed, 6100)
    lines[6000] = (kind(random.Random(999)), [3 << 56 | 1], 0)
    slide = new_slide(codec, **LARGE)
    feed(slide, lines)
    found, calm, restless = [], 1.0, 0.0
    while (window := slide.advance(codec, distance_threshold=0.3, p_value_threshold=0.05)) is not None:
        if window.end > 6000 and window.question == "novelty":
            found.append(window)
            calm, restless = (p_of(slide, times) for times in (0, 1)) if len(found) == 1 else (calm, restless)
    assert windows_with(found, 6000)
    assert len(found) <= 5
    assert calm <= 0.025 < 0.1 < restless  # there were many windows like that while the stream was learned
    assert not slide.content.restless


def test_three_new_lines_within_ten_windows_make_a_time_restless() -> None:
    codec = Codec("statistical")
    lines = stream(1, 700, eventful=False)
    new = [400, 450, 500]
    for number, at in enumerate(new):
        lines[at] = (b"never seen before %c" % (97 + number), [], 1)
    slide = new_slide(codec)
    feed(slide, lines)
    restless = []
    while (window := slide.advance(codec, watch=True, distance_threshold=1.0, p_value_threshold=0.0)) is not None:
        if slide.content.restless and window.end > 400:
            restless.append(window.end - 12)
    assert restless == [first for first in range(40, 689, 4) if first - 120 <= 400 and first > 500]
    assert slide.content.novel_lines() == new


@pytest.mark.parametrize("name", ["zstd", "lz4", "gzip"])
def test_under_a_compressor_all_times_are_calm(name: str) -> None:
    codec = Codec(name)
    slide = new_slide(codec)
    assert fold(slide, stream(2, 1200), codec)
    assert not slide.content.restless
    assert slide.content.novel_lines() == []
    calm, restless = slide.content.lengths
    assert len(calm.parts()[1]) == 60
    assert restless.parts()[1] == []


@every_codec
def test_one_new_line_again_and_again_is_as_unexplained_as_many(name: str) -> None:
    """It is cheap, but nothing of it is known: the second statistic sees that."""
    codec, lines = Codec(name), stream(1, 3000, eventful=False)
    lines[2800:2820] = [ALIEN] * 20
    slide = new_slide(codec, **LARGE)
    feed(slide, lines)
    found = []
    while (window := slide.advance(codec, distance_threshold=0.3, p_value_threshold=0.05)) is not None:
        found.append(window)
    hits = [window for window in windows_with(found, 2810) if window.question == "novelty"]
    assert hits
    assert max(window.distance for window in hits) > 0.5


def test_the_distance_is_that_of_the_statistic_that_is_rare() -> None:
    """One dear line of twenty: hardly a difference to the whole window, and nothing of the line is explained."""
    codec, lines = Codec("statistical"), learned_late(2, 4000)
    lines[3800] = ALIEN
    slide = new_slide(codec, **LARGE)
    feed(slide, lines)
    while (window := slide.advance(codec, watch=True, distance_threshold=0.3, p_value_threshold=0.05)) is not None:
        if window.end > 3800:
            break
    assert window is not None
    [novelty] = [said for said in window.said if said.question == "novelty"]
    usual = window.usual
    whole = max(0.0, (window.given / window.plain - usual) / (1 - usual))
    assert whole < 0.5 < novelty.distance


@every_codec
def test_the_p_value_of_other_statistics_is_asked_of_the_same_times(name: str) -> None:
    codec = Codec(name)
    slide = new_slide(codec)
    fold(slide, stream(4, 1200), codec)
    content = slide.content
    lengths, accents = content.lengths[content.restless], content.accents[content.restless]
    for whole, accent in ((0, 0), (50, 30_000), (100_000, 60_000), (10**7, 10**7)):
        expected = 2 * min(lengths.surprise(whole)[0], accents.surprise(accent)[0])
        assert content.p_value(whole, accent) == min(1.0, expected)
    assert content.p_value(0, 0) == 1.0
    assert content.p_value(10**7, 10**7) < 0.1


def test_bits_of_a_window_are_the_sum_of_its_lines() -> None:
    codec = Codec("statistical")
    slide = new_slide(codec)
    feed(slide, stream(6, 300))
    while (window := slide.advance(codec, watch=True, distance_threshold=1.0, p_value_threshold=0.0)) is not None:
        costs = slide.window_costs()
        assert window.bits == sum(cost for cost, _, _, _ in costs) / BIT
        assert window.given == 1 + -(-sum(words for _, words, _, _ in costs) // (8 * BIT))


def test_what_is_restored_has_limits() -> None:
    content = Content(window=10, reference=60, block=1, lag=3, normals=9)
    content.restore(context=5, novel=[3, 8])
    assert (content.context, content.novel_lines()) == (5, [3, 8])
    with pytest.raises(ValueError, match="4 new lines are more than 3"):
        content.restore(context=5, novel=list(range(NOVEL_LINES_MAX + 1)))
    with pytest.raises(TypeError, match="can not be pickled"):
        pickle.dumps(content)


def test_sizes_that_make_no_reference_are_refused() -> None:
    with pytest.raises(ValueError, match="keep both within it"):
        Content(window=10, reference=3, block=4, lag=0, normals=9)
    with pytest.raises(ValueError, match="a sample of 0 numbers"):
        Slide(baseline=40, window=12, hop=4, memory=1, past_bytes_max=9, reference=60, block=1, lag=3, normals=0)
