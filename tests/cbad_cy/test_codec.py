"""Sizes against libzstd called directly and against another build of it; entropy against the textbook formula."""

from __future__ import annotations

import pickle
import struct
from array import array
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from cbad_cy import reference
from cbad_cy.codec import CODECS, DICTIONARY_BYTES_MAX, WINDOW_BYTES_MAX, Codec, entropies, entropy
from tests.cbad_cy.libzstd import Libzstd
from tests.cbad_cy.lines import TEXTS

LEVELS = st.sampled_from([1, 3, 9])
PAST = b"\n".join(b"user %d opened /srv/data/%d.csv in %d ms" % (i % 7, i % 11, i * i % 97) for i in range(1000))
TRAINED_MAGIC = b"\x37\xa4\x30\xec"


def slices(text: bytes, size: int, step: int) -> tuple[array[int], array[int]]:
    starts = array("I", range(0, max(1, len(text) - size + 1), step))
    return starts, array("I", [min(len(text), start + size) for start in starts])


@settings(deadline=None, max_examples=50)
@given(TEXTS, TEXTS, LEVELS)
def test_sizes_are_those_of_frames_that_decompress(text: bytes, past: bytes, level: int) -> None:
    library, codec = Libzstd(), Codec("zstd", level)
    assert library.version == codec.version
    for size, dictionary in ((codec.size(text), None), (codec.size_given(text, codec.prepare(past)), past)):
        frame = library.compress(text, level, dictionary)
        assert size == len(frame)
        raw = (
            None if dictionary is None else zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        )
        reader = zstandard.ZstdDecompressor(dict_data=raw, format=zstandard.FORMAT_ZSTD1_MAGICLESS)
        assert reader.decompress(frame, max_output_size=len(text) + 1) == text


@settings(deadline=None, max_examples=50)
@given(TEXTS, TEXTS, LEVELS)
def test_another_build_of_the_library_agrees_nearly(text: bytes, past: bytes, level: int) -> None:
    codec = Codec("zstd", level)
    same = ".".join(map(str, zstandard.ZSTD_VERSION)) == codec.version
    for size, dictionary in ((codec.size(text), None), (codec.size_given(text, codec.prepare(past)), past)):
        other = reference.zstd_size(text, level, dictionary)
        assert abs(size - other) <= (0 if same else 8 + other // 8)


@settings(deadline=None, max_examples=50)
@given(st.lists(TEXTS, min_size=1, max_size=6), TEXTS, LEVELS)
def test_reused_and_fresh_contexts_agree(texts: list[bytes], past: bytes, level: int) -> None:
    reused = Codec("zstd", level)
    prepared = reused.prepare(past)
    elsewhere = reused.prepare(b"something else")
    for text in texts:
        fresh = Codec("zstd", level)
        assert reused.size(text) == fresh.size(text)
        assert reused.size_given(text, prepared) == fresh.size_given(text, fresh.prepare(past))
        reused.size_given(text, elsewhere)


@given(TEXTS, st.integers(0, 500), st.integers(1, 100))
def test_a_batch_measures_each_slice(text: bytes, size: int, step: int) -> None:
    codec = Codec("zstd")
    prepared = codec.prepare(PAST)
    starts, stops = slices(text, size, step)
    parts = [text[a:b] for a, b in zip(starts, stops, strict=True)]
    plain, given_past = codec.window_sizes(text, starts, stops, prepared)
    assert list(plain) == [codec.size(part) for part in parts]
    assert list(given_past) == [codec.size_given(part, prepared) for part in parts]
    assert codec.sizes_given(text, starts, stops, prepared) == given_past
    assert list(entropies(text, starts, stops)) == [entropy(part) for part in parts]


def noise(size: int, seed: int) -> bytes:
    """Bytes without repetitions to find: the top bytes of a linear congruential sequence."""
    found = bytearray()
    for _ in range(size):
        seed = (seed * 6364136223846793005 + 1442695040888963407) % 2**64
        found.append(seed >> 56)
    return bytes(found)


def test_a_known_past_makes_text_cheap_and_an_unknown_text_stays_dear() -> None:
    codec = Codec("zstd")
    past, alien = noise(20_000, 1), noise(3000, 2)
    prepared = codec.prepare(past)
    assert codec.size_given(past[3000:6000], prepared) < 50
    assert codec.size_given(alien, prepared) >= 3000


def test_nothing_costs_the_constant_overhead() -> None:
    codec = Codec("zstd")
    assert codec.size(b"") == codec.size_given(b"", codec.prepare(PAST)) == 5
    assert codec.size_given(b"abc", codec.prepare(b"")) == codec.size(b"abc") == 8
    assert codec.window_sizes(b"", array("I"), array("I"), codec.prepare(PAST)) == (array("I"), array("I"))


@given(st.binary(max_size=300))
def test_a_past_that_looks_like_a_trained_dictionary_is_only_text(rest: bytes) -> None:
    codec = Codec("zstd")
    past = TRAINED_MAGIC + rest
    assert codec.prepare(past).source_bytes == past
    assert codec.size_given(past, codec.prepare(past)) <= codec.size(past)


def test_a_codec_says_what_it_is() -> None:
    codec = Codec("zstd")
    row = CODECS["zstd"]
    assert (codec.name, codec.level, codec.version) == ("zstd", row.level, row.version)
    assert row.look_back_bytes_max is None
    prepared = Codec("zstd", 7).prepare(b"past")
    assert (prepared.codec, prepared.level, prepared.source_bytes) == ("zstd", 7, b"past")


@pytest.mark.parametrize("name", CODECS)
def test_every_row_has_kernels_that_measure(name: str) -> None:
    codec = Codec(name)
    assert codec.size_given(PAST[:500], codec.prepare(PAST)) < codec.size(PAST[:500]) < 500


def test_a_prepared_past_is_its_own_copy() -> None:
    codec = Codec("zstd")
    source = bytearray(PAST)
    prepared = codec.prepare(source)
    before = codec.size_given(PAST[:2000], prepared)
    source[:] = bytes(len(source))
    assert prepared.source_bytes == PAST
    assert codec.size_given(PAST[:2000], prepared) == before


def test_a_codec_outlives_the_past_it_used() -> None:
    codec = Codec("zstd")
    first = codec.size_given(PAST[:2000], codec.prepare(PAST))
    assert codec.size_given(PAST[:2000], codec.prepare(PAST)) == first


def test_four_threads_measure_as_one() -> None:
    prepared = Codec("zstd").prepare(PAST)
    texts = [PAST[i * 100 : i * 100 + 9000] for i in range(40)]

    def measure(text: bytes) -> tuple[array[int], array[int]]:
        return Codec("zstd").window_sizes(text, *slices(text, 3000, 300), prepared)

    alone = [measure(text) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(measure, texts)) == alone


def test_sharing_a_codec_between_threads_is_refused_and_not_fatal() -> None:
    codec = Codec("zstd", 19)
    refused: list[str] = []

    def measure() -> None:
        for _ in range(500):
            if refused:
                return
            try:
                assert codec.size(PAST) > 0
            except RuntimeError as error:
                refused.append(str(error))

    threads = [Thread(target=measure) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused
    assert all("make one Codec for each worker thread" in message for message in refused)
    assert codec.size(PAST) == Codec("zstd", 19).size(PAST)


def test_limits_are_named() -> None:
    codec = Codec("zstd")
    prepared = codec.prepare(b"past")
    large, ends = bytes(WINDOW_BYTES_MAX + 1), (array("I", [0]), array("I", [WINDOW_BYTES_MAX + 1]))
    for call in (
        lambda: codec.size(large),
        lambda: codec.size_given(large, prepared),
        lambda: codec.window_sizes(large, *ends, prepared),
        lambda: codec.sizes_given(large, *ends, prepared),
        lambda: entropy(large),
        lambda: entropies(large, *ends),
    ):
        with pytest.raises(ValueError, match="over WINDOW_BYTES_MAX = 16777216; split it"):
            call()
    with pytest.raises(ValueError, match="over DICTIONARY_BYTES_MAX = 16777216; keep its end"):
        codec.prepare(bytes(DICTIONARY_BYTES_MAX + 1))
    assert codec.size(large[:-1]) > 0
    assert codec.prepare(bytes(DICTIONARY_BYTES_MAX)).level == codec.level


@pytest.mark.parametrize(("starts", "stops"), [([0], [5]), ([3], [2]), ([4], [2**32 - 1])])
def test_slices_stay_inside_the_text(starts: list[int], stops: list[int]) -> None:
    codec = Codec("zstd")
    for call in (codec.sizes_given, codec.window_sizes):
        with pytest.raises(ValueError, match="keep it inside"):
            call(b"text", array("I", starts), array("I", stops), codec.prepare(b""))
    with pytest.raises(ValueError, match="keep it inside"):
        entropies(b"text", array("I", starts), array("I", stops))


def test_starts_and_stops_come_in_pairs() -> None:
    codec = Codec("zstd")
    with pytest.raises(ValueError, match="2 starts but 1 stops"):
        codec.window_sizes(b"text", array("I", [0, 1]), array("I", [2]), codec.prepare(b""))


def test_names_levels_and_pasts_are_checked() -> None:
    with pytest.raises(ValueError, match="no codec 'rar'; choose one of zstd"):
        Codec("rar")
    for level in (0, -1, 20):
        with pytest.raises(ValueError, match="choose 1 to 19"):
            Codec("zstd", level)
    with pytest.raises(ValueError, match="prepared for zstd level 1, not for zstd level 3"):
        Codec("zstd", 3).size_given(b"a", Codec("zstd", 1).prepare(b"past"))
    with pytest.raises(TypeError):
        Codec("zstd").size_given(b"a", None)  # type: ignore[arg-type]


@pytest.mark.parametrize("thing", [Codec("zstd"), Codec("zstd").prepare(b"past")])
def test_contexts_do_not_travel_between_processes(thing: object) -> None:
    with pytest.raises(TypeError, match="can not be pickled"):
        pickle.dumps(thing)


@given(TEXTS)
def test_entropy_is_shannons(data: bytes) -> None:
    assert entropy(data) == pytest.approx(reference.entropy(data), rel=1e-13, abs=1e-13)


@given(TEXTS, st.randoms())
def test_entropy_depends_on_counts_only(data: bytes, random) -> None:  # type: ignore[no-untyped-def]
    shuffled = bytearray(data)
    random.shuffle(shuffled)
    assert entropy(shuffled) == entropy(data)


def test_entropy_is_exact_where_it_is_rational() -> None:
    assert entropy(b"") == entropy(b"aaaa") == entropy(bytes(1000)) == 0.0
    assert entropy(b"ab" * 77) == 1.0
    assert entropy(bytes(range(256)) * 3) == 8.0


def test_entropy_keeps_its_bits() -> None:
    """Goldens: these doubles are part of stored verdicts and have to be the same on every machine."""
    assert struct.pack(">d", entropy(b"aab")).hex() == "3fed62adf1ea257b"
    assert struct.pack(">d", entropy(PAST)).hex() == "40113cf04d08d984"
