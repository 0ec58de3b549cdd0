"""What every codec accepts and refuses: limits, slices, levels, pasts of other codecs, pickling."""

from __future__ import annotations

import pickle
from array import array

import pytest

from cbad_cy.codec import CODECS, DICTIONARY_BYTES_MAX, WINDOW_BYTES_MAX, Codec
from tests.cbad_cy.codecs import PAST, RULERS, every_codec, every_ruler


@every_ruler
def test_a_codec_says_what_it_is(name: str, level: int) -> None:
    row, codec, prepared = CODECS[name], Codec(name, level), Codec(name, level).prepare(b"past")
    assert (codec.name, codec.level, codec.version) == (name, level, row.version)
    assert (prepared.codec, prepared.level, prepared.source_bytes) == (name, level, b"past")
    assert Codec(name).level == row.level


@every_codec
def test_limits_are_named(name: str) -> None:
    codec = Codec(name)
    prepared = codec.prepare(b"past")
    large, ends = bytes(WINDOW_BYTES_MAX + 1), (array("I", [0]), array("I", [WINDOW_BYTES_MAX + 1]))
    for call in (
        lambda: codec.size(large),
        lambda: codec.size_given(large, prepared),
        lambda: codec.ratio_given(large, prepared),
        lambda: codec.window_sizes(large, *ends, prepared),
        lambda: codec.sizes_given(large, *ends, prepared),
    ):
        with pytest.raises(ValueError, match="over WINDOW_BYTES_MAX = 16777216; split it"):
            call()
    with pytest.raises(ValueError, match="16777217 bytes together, over WINDOW_BYTES_MAX = 16777216; keep the end of the past"):
        codec.ncd(large[2:], b"xx")
    with pytest.raises(ValueError, match="over DICTIONARY_BYTES_MAX = 16777216; keep its end"):
        codec.prepare(bytes(DICTIONARY_BYTES_MAX + 1))
    assert codec.size(large[:-1]) > 0
    assert codec.ncd(large[:-2], b"x") > 0
    assert codec.size_given(large[:-1], codec.prepare(bytes(DICTIONARY_BYTES_MAX))) > 0


@every_codec
@pytest.mark.parametrize(("starts", "stops"), [([0], [5]), ([3], [2]), ([4], [2**32 - 1])])
def test_slices_stay_inside_the_text(name: str, starts: list[int], stops: list[int]) -> None:
    codec = Codec(name)
    for call in (codec.sizes_given, codec.window_sizes):
        with pytest.raises(ValueError, match="keep it inside"):
            call(b"text", array("I", starts), array("I", stops), codec.prepare(b""))


def test_starts_and_stops_come_in_pairs() -> None:
    codec = Codec("zstd")
    with pytest.raises(ValueError, match="2 starts but 1 stops"):
        codec.window_sizes(b"text", array("I", [0, 1]), array("I", [2]), codec.prepare(b""))


def test_unknown_codecs_are_refused() -> None:
    with pytest.raises(ValueError, match="no codec 'rar'; choose one of statistical, zstd, lz4, gzip"):
        Codec("rar")


@every_codec
def test_levels_out_of_range_are_refused(name: str) -> None:
    row = CODECS[name]
    for level in (row.level_min - 1, -1, row.level_max + 1):
        with pytest.raises(ValueError, match=f"{name} has no level {level}; choose {row.level_min} to {row.level_max}"):
            Codec(name, level)
    assert Codec(name, row.level_max).size(PAST) < len(PAST)


@every_codec
def test_a_past_belongs_to_its_codec_and_level(name: str) -> None:
    for other, level in RULERS:
        if (other, level) != (name, CODECS[name].level):
            with pytest.raises(ValueError, match=f"prepared for {other} level {level}, not for {name} level"):
                Codec(name).size_given(b"a", Codec(other, level).prepare(b"past"))
    for call in (Codec(name).size_given, Codec(name).ratio_given):
        with pytest.raises(TypeError):
            call(b"a", None)  # type: ignore[arg-type]


@every_codec
def test_contexts_do_not_travel_between_processes(name: str) -> None:
    for thing in (Codec(name), Codec(name).prepare(b"past")):
        with pytest.raises(TypeError, match="can not be pickled"):
            pickle.dumps(thing)
