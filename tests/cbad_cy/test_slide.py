"""The window kernel against the oracle; batches, restarts and watching change nothing."""

from __future__ import annotations

import pickle
import random
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbad_cy import reference_slide
from cbad_cy.codec import CODECS, Codec
from cbad_cy.slide import Slide, Window, ascending, largest

SIZES = {"baseline": 40, "window": 12, "hop": 4, "memory": 150, "past_bytes_max": 600}
SIZES |= {"reference": 60, "block": 2, "lag": 3, "normals": 9}
THRESHOLDS = {"distance_threshold": 0.2, "p_value_threshold": 0.15}


def stream(seed: int, count: int, alien: float = 0.03) -> list[bytes]:
    """Lines of a few kinds, and now and then a run of lines that nobody has seen."""
    rng = random.Random(seed)
    lines: list[bytes] = []
    while len(lines) < count:
        if rng.random() < alien:
            lines += [b"".join(b"%c" % rng.randrange(97, 123) for _ in range(40)) for _ in range(rng.randrange(1, 8))]
        lines.append(
            b"%s # by worker # in # ms" % rng.choice([b"stored order", b"loaded cart", b"", b"refused payment", b"ok"])
        )
    return lines[:count]


def fold(slide: Slide, lines: list[bytes], codec: Codec, size: int = 1000, watch: bool = False) -> list[Window]:
    found = []
    for start in range(0, len(lines), size):
        part = lines[start : start + size]
        slide.feed(b"".join(part), array("I", map(len, part)))
        while (window := slide.advance(codec, watch=watch, **THRESHOLDS)) is not None:
            found.append(window)
    return found


@pytest.mark.parametrize("name", CODECS)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(0, 500))
def test_it_is_what_the_oracle_says(name: str, seed: int, count: int) -> None:
    codec, lines = Codec(name), stream(seed, count)
    oracle = reference_slide.Slide(
        baseline=40,
        window=12,
        hop=4,
        memory=150,
        bytes_max=600,
        lengths=reference_slide.Reference(60, 2, 3),
        shares=reference_slide.Reference(60, 2, 3),
        size=codec.size,
        size_given=lambda text, past: codec.size_given(text, codec.prepare(past)),
        normals=9,
        **THRESHOLDS,
    )
    oracle.fold(lines)
    watched = fold(Slide(**SIZES), lines, codec, watch=True)
    assert [window.number for window in watched if window.flagged] == oracle.flagged
    assert [(window.given, window.p_value) for window in watched] == [
        (given, pytest.approx(p_value, rel=1e-13)) for given, p_value in oracle.scores
    ]


@pytest.mark.parametrize("name", CODECS)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 300))
def test_batches_and_watching_change_nothing(name: str, seed: int, size: int) -> None:
    codec, lines = Codec(name), stream(seed, 400)
    whole = fold(Slide(**SIZES), lines, codec)
    assert fold(Slide(**SIZES), lines, codec, size) == whole
    watched = fold(Slide(**SIZES), lines, codec, size, watch=True)
    assert [window.number for window in watched] == list(range(len(watched)))
    assert [window for window in watched if window.flagged] == whole


def test_some_windows_of_these_streams_are_flagged_and_some_are_not() -> None:
    slide = Slide(**SIZES)
    found = sum(len(fold(Slide(**SIZES), stream(seed, 500), Codec("zstd"))) for seed in range(20))
    fold(slide, stream(0, 500), Codec("zstd"))
    assert 20 < found < 20 * slide.windows / 4


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), cut=st.integers(0, 400))
def test_a_restored_slide_goes_on_as_if_nothing_had_happened(seed: int, cut: int) -> None:
    codec, lines = Codec("zstd"), stream(seed, 600)
    slide = Slide(**SIZES)
    fold(slide, lines[:cut], codec)
    other = Slide(**SIZES)
    other.pool.restore(*slide.pool.parts())
    other.lengths.restore(*slide.lengths.parts())
    other.shares.restore(*slide.shares.parts())
    for mine, theirs in (
        (other.ratios, slide.ratios),
        (other.compressions, slide.compressions),
        (other.entropies, slide.entropies),
    ):
        for value in theirs.values():
            mine.add(value)
    other.restore_window(
        slide.window_lines(),
        slide.window_flags(),
        taken=slide.lines,
        windows=slide.windows,
        accepted=slide.accepted,
        codec=codec,
        dictionary=None if slide.prepared is None else slide.prepared.source_bytes,
    )
    assert fold(slide, lines[cut:], codec, watch=True) == fold(other, lines[cut:], codec, watch=True)
    assert slide.pool.parts() == other.pool.parts()


def test_costs_are_those_of_each_line_given_the_dictionary_of_its_time() -> None:
    codec, lines = Codec("zstd"), stream(3, 200)
    slide, costs = Slide(**SIZES), []
    slide.feed(b"".join(lines), array("I", map(len, lines)))
    while True:
        window = slide.advance(codec, watch=True, **THRESHOLDS)
        costs += slide.line_costs()
        late = min(len(slide.line_costs()), slide.lines - 40)  # those that came after the baseline
        expected = [codec.size_given(line, slide.prepared) for line in lines[slide.lines - late : slide.lines]]
        assert costs[len(costs) - late :] == expected
        if window is None:
            break
    assert costs[:40] == [codec.size(line) for line in lines[:40]]
    assert len(costs) == 200


def test_flagged_lines_never_enter_the_past() -> None:
    codec, lines = Codec("zstd"), stream(1, 300, alien=0)
    lines[200:206] = [b"%d zyx wvut srqp onml kjih gfed cba" % number for number in range(6)]
    slide = Slide(**SIZES)
    assert fold(slide, lines, codec)
    assert not any(b"zyx" in form for form, _ in slide.pool.distinct())


def test_the_window_is_shown_as_it_stands() -> None:
    slide, lines = Slide(**SIZES), stream(5, 47)
    fold(slide, lines, Codec("zstd"))
    assert slide.window_lines() == lines[40:]
    assert slide.window_flags() == [False] * 7
    assert (slide.lines, slide.windows, slide.accepted) == (47, 0, 0)


def test_wrong_sizes_and_parts_are_refused() -> None:
    for wrong in ({"hop": 0}, {"hop": 13}, {"window": 41}):
        with pytest.raises(ValueError, match="keep 1 <= hop <= window <= baseline"):
            Slide(**SIZES | wrong)
    slide = Slide(**SIZES)
    with pytest.raises(ValueError, match="lengths add up to 3 bytes but the text has 4"):
        slide.feed(b"abcd", array("I", [3]))
    slide.feed(b"abcd", array("I", [4]))
    with pytest.raises(RuntimeError, match="call advance until it returns None"):
        slide.feed(b"abcd", array("I", [4]))
    with pytest.raises(ValueError, match="parts belong to another slide"):
        Slide(**SIZES).restore_window([b"a"], [False], taken=60, windows=1, accepted=0, codec=Codec("zstd"), dictionary=b"a")
    with pytest.raises(TypeError, match="can not be pickled"):
        pickle.dumps(slide)


def test_another_codec_than_before_is_refused() -> None:
    slide = Slide(**SIZES)
    fold(slide, stream(1, 60), Codec("zstd"))
    with pytest.raises(ValueError, match="prepared for zstd level 1"):
        fold(slide, stream(1, 60), Codec("lz4"))


@given(st.lists(st.integers(0, 2**64 - 1)), st.lists(st.integers(0, 2**32 - 1)))
def test_columns(times: list[int], lengths: list[int]) -> None:
    assert ascending(array("Q", times)) == (times == sorted(times))
    assert largest(array("I", lengths)) == max(lengths, default=0)
