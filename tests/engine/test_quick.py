"""Verdicts about short inputs by themselves."""

import random
from array import array
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbad_cy.tokenize import mask_line
from driftlock.engine.event import RecordBatch
from driftlock.engine.limits import Limits
from driftlock.engine.profile import DEFAULT_CODEC, PROFILES, Profile, custom
from driftlock.engine.quick import (
    QUICK_BLOCKS_MAX,
    QUICK_EVENTS_MAX,
    QUICK_EVENTS_MIN,
    QUICK_WINDOWS_MAX,
    QuickResult,
    _blocks,
    _events,
    _newest,
    quick_detect,
    quick_profile,
)
from driftlock.engine.verdict import Calibration
from driftlock.errors import InvalidArgument, PayloadTooLarge, Unavailable
from tests.engine.streams import BASE_NS, KEY, SECOND_NS, batch, iid, take

BALANCED = PROFILES["balanced"]
PANGRAM = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "the",
    "lazy",
    "dog",
    "while",
    "seven",
    "wizards",
    "mix",
    "a",
    "jug",
    "of",
    "liquid",
    "opium",
    "and",
    "nobody",
    "minds",
]

FOREIGN = [
    "zwölf",
    "boxkämpfer",
    "jagen",
    "eva",
    "quer",
    "über",
    "den",
    "großen",
    "sylter",
    "deich",
    "während",
    "vögel",
    "hoch",
    "am",
    "himmel",
    "kreisen",
]


def quick(lines: list[bytes], profile: Profile = BALANCED, *, seed: int = 7, limits: Limits | None = None) -> QuickResult:
    return quick_detect(KEY, batch(lines), profile, seed=seed, limits=limits or Limits())


def alien(count: int, first: int = 0) -> list[bytes]:
    names = range(first, first + count)
    return [b"ERROR gateway %d refused certificate: signed by unknown authority rogue-%d" % (n, n) for n in names]


def with_aliens(seed: int, count: int, at: int, aliens: int) -> list[bytes]:
    lines = take(iid(seed, 8), count)
    lines[at : at + aliens] = alien(aliens)
    return lines


@pytest.mark.parametrize("seed", range(5))
def test_alien_lines_late_in_sixty_are_found_and_named(seed: int) -> None:
    result = quick(with_aliens(seed, 60, 50, 5))
    assert result.findings
    found = result.findings[0]
    assert found.first_event <= 54
    assert found.last_event >= 50
    assert all(50 <= line.event < 55 for line in found.lines)
    assert "refused certificate" in found.explanation
    assert any(line.spans for line in found.lines)


@pytest.mark.parametrize("count", [60, 120, 200])
def test_lines_like_those_before_are_no_finding(count: int) -> None:
    assert sum(len(quick(take(iid(seed, 8), count)).findings) for seed in range(10)) == 0


def test_equal_lines_are_no_finding() -> None:
    assert quick([b"still alive"] * 100).findings == ()


def test_empty_lines_are_no_finding() -> None:
    assert quick([b""] * 100).findings == ()


def test_free_text_is_no_finding_and_foreign_text_in_it_is() -> None:
    source = random.Random(5)
    lines = [" ".join(source.choices(PANGRAM, k=9)).encode() for _ in range(160)]
    assert quick(lines).findings == ()
    lines[140:152] = [" ".join(source.choices(FOREIGN, k=9)).encode() for _ in range(12)]
    assert quick(lines).findings


def test_a_finding_says_how_it_came_about() -> None:
    result = quick(with_aliens(1, 200, 160, 20))
    found = result.findings[0]
    assert found.calibration is Calibration.PROVISIONAL
    assert found.p_value == found.p_permutation <= found.p_value_threshold == 0.05
    assert 1 / (1 + BALANCED.permutations_max) <= found.p_value
    assert found.permutations >= 1
    assert found.ncd >= found.ncd_threshold == 0.3
    assert found.ratio > found.ratio_normal > 0
    assert found.ncd == pytest.approx(min(1.0, (found.ratio - found.ratio_normal) / (1 - found.ratio_normal)))
    assert 0 < found.confidence <= 1
    assert 0 < found.compression_ratio_p_value <= 1
    assert 0 < found.entropy_p_value <= 1
    assert 0.5 < found.ncd_classical < 1.5
    assert (found.stream, found.profile, found.codec) == (KEY.text, "custom", DEFAULT_CODEC)
    assert (found.start_ns, found.end_ns) == tuple(
        BASE_NS + event * SECOND_NS for event in (found.first_event, found.last_event)
    )
    assert len(found.window_lines) == found.last_event - found.first_event + 1 == result.profile.window_size
    assert len(found.baseline_lines) == 20
    assert (found.late_events, found.receive_timed) == (0, False)
    assert type(found).from_json(found.to_json()) == found


def test_windows_follow_every_hop_and_the_last_ends_with_the_input() -> None:
    profile = custom(BALANCED, {"baseline_size": 40, "window_size": 10, "hop_size": 4, "ncd_threshold": 0.01})
    result = quick(with_aliens(2, 71, 61, 10), replace(profile, p_value_threshold=1.0))
    assert (result.windows, result.scaled, result.profile.baseline_size) == (7, False, 40)
    assert {(found.window, found.first_event) for found in result.findings} <= {
        (number, first) for number, first in enumerate([40, 44, 48, 52, 56, 60, 61])
    }
    assert result.findings[-1].last_event == 70


def test_flagged_events_never_become_the_past() -> None:
    lines = take(iid(3, 8), 200)
    source = random.Random(3)
    for start in (110, 140, 170):
        lines[start : start + 12] = [b"certificate " + " ".join(source.choices(FOREIGN, k=9)).encode() for _ in range(12)]
    result = quick(lines)
    hit = {start for start in (110, 140, 170) for it in result.findings if it.first_event < start + 12 <= it.last_event + 12}
    assert hit == {110, 140, 170}
    assert all("certificate" not in line for found in result.findings for line in found.baseline_lines)


def test_events_that_were_not_flagged_become_the_past() -> None:
    sizes = {"baseline_size": 40, "window_size": 10, "hop_size": 10}
    profile = custom(BALANCED, sizes | {"ncd_threshold": 0.6, "p_value_threshold": 0.5})
    once = take(iid(4, 8), 49) + alien(1)
    assert quick(once, profile).findings == ()
    failing = [b"WARN disk sd%c is failing: reallocated sectors grow %s" % (97 + n, bytes([65 + n]) * 4) for n in range(10)]
    [found] = quick(once + failing, profile).findings
    assert found.baseline_lines[-1].startswith("ERROR gateway # refused certificate")
    assert found.first_event == 50


def test_only_the_newest_baseline_lines_are_the_past() -> None:
    sizes = {"baseline_size": 20, "window_size": 10, "hop_size": 10}
    profile = custom(BALANCED, sizes | {"p_value_threshold": 0.5})
    lines = [b"INFO starting up"] + [b"INFO order %d stored" % number for number in range(39)]
    [found] = quick(lines[:20] + alien(10), profile).findings
    assert found.baseline_lines == ("INFO starting up",) + ("INFO order # stored",) * 19
    [found] = quick(lines + alien(10), profile).findings
    assert found.baseline_lines == ("INFO order # stored",) * 20


def test_what_has_slid_out_of_the_past_is_new_again() -> None:
    sizes = {"baseline_size": 20, "window_size": 10, "hop_size": 10}
    profile = custom(BALANCED, sizes | {"ncd_threshold": 0.6, "p_value_threshold": 0.5})
    usual = [b"INFO order %d stored in %d ms" % (number, number) for number in range(50)]
    again = [line.replace(b"rogue-", b"rogue-1") for line in alien(10)]
    assert quick(alien(10) + usual[:10] + again, profile).findings == ()
    assert len(quick(alien(10) + usual + again, profile).findings) == 1


def test_a_distant_window_that_is_not_rare_enough_is_no_finding() -> None:
    lines = with_aliens(1, 120, 100, 12)
    rare = replace(BALANCED, p_value_threshold=0.04, permutations_max=19)  # p is at least 1/20: no profile may be so
    assert quick(lines).findings
    assert quick(lines, rare).findings == ()


def test_equal_input_gives_equal_findings_and_another_seed_another_seed() -> None:
    lines = with_aliens(1, 120, 100, 12)
    assert quick(lines) == quick(lines)
    assert quick(lines).findings[0].seed != quick(lines, seed=8).findings[0].seed


@pytest.mark.parametrize("codec", ["zstd", "lz4", "gzip"])
def test_every_codec_finds_what_is_new(codec: str) -> None:
    result = quick(with_aliens(1, 120, 100, 10), custom(BALANCED, {"codec": codec, "ncd_threshold": 0.15}))
    assert result.findings
    assert {found.codec for found in result.findings} == {codec}


@pytest.mark.parametrize(
    ("events", "sizes"),
    [
        (16, (8, 2, 1)),
        (60, (30, 7, 3)),
        (200, (100, 25, 10)),
        (449, (224, 50, 10)),
        (450, (400, 50, 10)),
        (5000, (400, 50, 10)),
    ],
)
def test_sizes_are_scaled_down_to_short_inputs(events: int, sizes: tuple[int, int, int]) -> None:
    used = quick_profile(BALANCED, events)
    assert (used.baseline_size, used.window_size, used.hop_size) == sizes
    assert used.name == ("custom" if events < 450 else "balanced")
    assert (used.ncd_threshold, used.p_value_threshold, used.codec) == (0.3, 0.05, DEFAULT_CODEC)


@given(
    events=st.integers(QUICK_EVENTS_MIN, 12_000),
    baseline=st.integers(20, 5000),
    window=st.integers(5, 400),
    hop=st.integers(1, 400),
)
def test_scaled_sizes_fit_and_never_exceed_the_profiles_own(events: int, baseline: int, window: int, hop: int) -> None:
    window = min(window, baseline)
    asked = replace(BALANCED, baseline_size=baseline, window_size=window, hop_size=min(hop, window))
    used = quick_profile(asked, events)
    assert used.baseline_size + used.window_size <= events
    assert 1 <= used.hop_size <= used.window_size <= used.baseline_size
    assert used.window_size >= 2
    assert used.baseline_size <= asked.baseline_size
    assert used.window_size <= asked.window_size
    assert used.hop_size <= asked.hop_size


def test_too_few_events_are_refused_with_the_number_that_is_needed() -> None:
    with pytest.raises(InvalidArgument, match=r"15 events are too few .* at least 16 \(events_min\)"):
        quick(take(iid(1), QUICK_EVENTS_MIN - 1))
    assert quick(take(iid(1), QUICK_EVENTS_MIN)).windows == 7


def test_too_many_events_are_refused() -> None:
    with pytest.raises(PayloadTooLarge, match=r"20001 events are more than 20000 \(events_max\)"):
        quick([b"x"] * (QUICK_EVENTS_MAX + 1))


def test_too_many_windows_are_refused() -> None:
    profile = custom(BALANCED, {"hop_size": 3})
    with pytest.raises(PayloadTooLarge, match=r"makes 5001 windows, .* \(windows_max\); use a larger hop_size"):
        quick([b"x"] * (3 * QUICK_WINDOWS_MAX + 450), profile)


def test_it_is_left_between_windows_when_nobody_waits_any_more() -> None:
    asked = 0

    def abandoned() -> bool:
        nonlocal asked
        asked += 1
        return asked == 3

    with pytest.raises(Unavailable, match="abandoned"):
        quick_detect(KEY, batch(take(iid(1), 200)), BALANCED, seed=0, limits=Limits(), abandoned=abandoned)
    assert asked == 3


def test_long_events_are_cut_and_windows_of_long_events_to_their_share() -> None:
    limits = Limits(event_bytes_max=300, window_bytes_max=700, past_bytes_max=4000)
    lines = [line + b" " + b"a" * 40 for line in with_aliens(1, 40, 32, 8)]
    lines[35] = lines[35] + "é".encode() * 1000
    shown = [text.encode() for found in quick(lines, limits=limits).findings for text in found.window_lines]
    assert shown
    assert max(map(len, shown)) <= 300
    assert all("\ufffd" not in text.decode() for text in shown)
    wide = [line * 5 for line in lines]
    shown = [text for found in quick(wide, limits=limits).findings for text in found.window_lines]
    assert shown
    assert max(len(text.encode()) for text in shown) <= 700 // 5


def test_an_event_without_a_time_stands_at_the_one_before() -> None:
    lines = with_aliens(1, 60, 50, 8)
    records = batch(lines)
    records.times_ns[0] = records.times_ns[52] = 0
    placed = [event.time_ns for event in _events(records, quick_profile(BALANCED, 60), Limits(), None)]
    assert (placed[0], placed[1], placed[52]) == (0, BASE_NS + SECOND_NS, BASE_NS + 51 * SECOND_NS)
    untimed = RecordBatch(b"".join(lines), array("I", map(len, lines)), array("Q", [0] * len(lines)))
    found = quick_detect(KEY, untimed, BALANCED, seed=7, limits=Limits()).findings[0]
    assert (found.start_ns, found.end_ns, found.receive_timed) == (0, 0, False)


def test_instances_and_trace_ids_reach_the_lines() -> None:
    records = batch(with_aliens(1, 60, 50, 8))
    records.instances = ("pod-1", "pod-2")
    records.instance_index = array("I", [1] * 50 + [2] * 10)
    records.trace_ids = bytes(16 * 50) + bytes(range(1, 17)) * 10
    line = quick_detect(KEY, records, BALANCED, seed=7, limits=Limits()).findings[0].lines[0]
    assert (line.instance, line.trace_id) == ("pod-2", bytes(range(1, 17)).hex())


def test_blocks_cover_the_newest_lines_and_are_never_compared_with_themselves() -> None:
    lines = [b"%d" % number for number in range(25)]
    blocks = list(_blocks(lines, 10))
    assert [block for block, _ in blocks] == [lines[15:25], lines[5:15]]
    assert all(sorted([*block, *rest]) == sorted(lines) for block, rest in blocks)
    assert [len(block) for block, _ in _blocks(lines, 20)] == [12, 12]
    many = list(_blocks([b"%d" % number for number in range(1000)], 5))
    assert len(many) == QUICK_BLOCKS_MAX


def test_the_past_is_bounded_in_bytes_and_keeps_two_lines() -> None:
    lines = [b"x" * 10] * 5 + [b"y" * 10] * 3
    assert _newest(lines, 33) == (b"y" * 10,) * 3
    assert _newest(lines, 1) == (b"y" * 10,) * 2
    assert _newest(lines, 10**6) == tuple(lines)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=80), min_size=16, max_size=60))
def test_any_bytes_are_judged(lines: list[bytes]) -> None:
    result = quick(lines)
    for found in result.findings:
        assert 0 < found.p_value <= 0.05
        assert 0.3 <= found.ncd <= 1
        assert found.explanation
    assert all(isinstance(mask_line(line), bytes) for line in lines)
