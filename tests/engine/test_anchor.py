"""What an anchor keeps, and what it says of a window."""

import random
from itertools import islice
from statistics import median
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbad_cy.codec import CODECS, Codec
from cbad_cy.tokenize import mask_line
from driftlock.engine.anchor import (
    ANCHOR_BYTES_MAX,
    ANCHOR_LINES_MAX,
    ANCHOR_WINDOW_BYTES_MAX,
    OWN_WINDOWS_MAX,
    SEPARATOR,
    Anchor,
    AnchorCause,
    AnchorSource,
    anchor_id_of,
    distinct,
    kept_lines,
    line_share,
    own_ratios,
)
from driftlock.engine.profile import DEFAULT_CODEC
from tests.engine.anchors import flights, mixed
from tests.engine.streams import bursty, iid, take

WINDOW = 50
LINES = st.lists(st.binary(max_size=80).map(lambda raw: raw.hex().encode()), min_size=2, max_size=60)


def masked(lines: list[bytes]) -> list[bytes]:
    return [mask_line(line) for line in lines]


def anchor_of(lines: list[bytes], codec: Codec, window: int = WINDOW) -> Anchor:
    forms, order = distinct(lines)
    ratios = own_ratios(codec, lines, window)
    return Anchor(
        anchor_id=UUID(int=1),
        seq=1,
        frozen_ns=1,
        event=len(lines),
        source=AnchorSource.BASELINE,
        cause=AnchorCause.REQUEST,
        codec=codec.name,
        codec_level=codec.level,
        codec_version=codec.version,
        window=window,
        forms=forms,
        order=order,
        own_ratios=ratios,
    )


@given(LINES, st.integers(1, 400))
def test_what_is_kept_is_the_newest_and_bounded(lines: list[bytes], window: int) -> None:
    kept = kept_lines(lines, window)
    assert len(kept) <= ANCHOR_LINES_MAX
    assert [line[: line_share(window)] for line in lines[len(lines) - len(kept) :]] == kept
    assert window * max(map(len, kept), default=0) <= ANCHOR_WINDOW_BYTES_MAX


def test_long_pasts_lose_their_oldest_lines() -> None:
    many = [b"line %d" % number for number in range(ANCHOR_LINES_MAX + 5)]
    assert kept_lines(many, WINDOW) == many[5:]
    wide = [b"%04d" % number * 300 for number in range(400)]
    kept = kept_lines(wide, WINDOW)
    assert kept == wide[len(wide) - len(kept) :]
    assert ANCHOR_BYTES_MAX - 2 * 1201 < sum(len(line) + 1 for line in kept) <= ANCHOR_BYTES_MAX


@given(LINES)
def test_distinct_lines_and_their_order_are_the_lines(lines: list[bytes]) -> None:
    forms, order = distinct(lines)
    assert [forms[number] for number in order] == lines
    assert len(set(forms)) == len(forms)


@given(LINES, st.integers(1, 40))
def test_own_windows_are_held_out_and_at_most_so_many(lines: list[bytes], window: int) -> None:
    ratios = own_ratios(Codec(DEFAULT_CODEC), lines, window)
    assert 1 <= len(ratios) <= OWN_WINDOWS_MAX
    assert all(ratio > 0 for ratio in ratios)


def test_a_window_is_not_explained_by_itself() -> None:
    """Lines that come once: held out they are as new as to nobody; not held out the ratio would be next to nothing."""
    rng = random.Random(1)
    lines = [rng.randbytes(30).hex().encode() for _ in range(200)]
    assert median(own_ratios(Codec("zstd"), lines, WINDOW)) > 0.9


@pytest.mark.parametrize("codec", CODECS)
def test_distances_grow_with_what_is_unlike_the_anchor(codec: str) -> None:
    measure, usual = Codec(codec), iid(5)
    anchor = anchor_of(masked(take(usual, 400)), measure)
    prepared = anchor.prepared(measure)

    def distance(lines: list[bytes]) -> float:
        found = [masked(lines[at : at + WINDOW]) for at in range(0, len(lines), WINDOW)]
        return median(anchor.distance(measure.ratio_given(SEPARATOR.join(it), prepared)) for it in found)

    own, half, other = (distance(take(lines, 500)) for lines in (usual, mixed(5, 0.5), flights(5)))
    assert own < 0.15 < 0.25 < half < other <= 1.0


def test_the_ratio_of_its_own_windows_is_the_distance_nothing_and_its_p_value_is_ordinary() -> None:
    codec = Codec(DEFAULT_CODEC)
    anchor = anchor_of(masked(take(iid(5), 400)), codec)
    assert anchor.distance(anchor.ratio_normal) == 0.0
    assert anchor.distance(1.0) == 1.0
    assert anchor.distance(2.0) == 1.0
    assert anchor.p_value(anchor.ratio_normal) >= 0.5
    assert anchor.p_value(9.0) == pytest.approx(1 / 9)


def test_lines_that_nothing_explains_leave_a_distance_that_is_finite() -> None:
    rng = random.Random(1)
    anchor = anchor_of([rng.randbytes(30).hex().encode() for _ in range(200)], Codec("zstd"))
    assert anchor.ratio_normal > 0.95
    assert 0.0 <= anchor.distance(anchor.ratio_normal) <= 1.0


@pytest.mark.parametrize("make", [iid, bursty])
def test_the_held_out_ratio_is_that_of_later_windows_within_a_twentieth(make: object) -> None:
    """The bias of holding out and that of neighbours in time, over streams together: the sum is small."""
    codec, errors = Codec(DEFAULT_CODEC), []
    for seed in range(12):
        lines = make(seed)  # type: ignore[operator]
        anchor = anchor_of(masked(take(lines, 400)), codec)
        prepared = anchor.prepared(codec)
        later = [codec.ratio_given(SEPARATOR.join(masked(list(islice(lines, WINDOW)))), prepared) for _ in range(10)]
        errors.append(median(later) - anchor.ratio_normal)
    assert abs(median(errors)) < 0.05


def test_ids_are_functions_of_stream_and_place() -> None:
    ids = {anchor_id_of(UUID(int=stream), seq) for stream in range(3) for seq in range(3)}
    assert len(ids) == 9
    assert anchor_id_of(UUID(int=1), 1) == anchor_id_of(UUID(int=1), 1)
