"""The set code of interactions against its oracle; bounds, restarts, time, and what it finds."""

from __future__ import annotations

import pickle
import random
from array import array
from hashlib import blake2b
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbad_cy import reference_keyset
from cbad_cy.keyset import (
    ALARM_BITS,
    BYTES_MAX_LEAST,
    BYTES_MAX_MOST,
    CAP_BITS,
    DETAILS_MAX,
    KEY_BYTES_KEPT,
    KEY_TEMPLATES_MAX,
    KEYS_MAX_MOST,
    RUNG_AGES_NS,
    RUNG_TEMPLATES_MAX,
    SETS_MAX,
    TEXT_BYTES_KEPT,
    TEXTS_MAX,
    WARM_KEYS,
    Judgement,
    Keyset,
)
from tests.cbad_cy.interactions import BASE_NS, MS, Event, columns, traffic

LINES = [b"one", b"two", b"three", b"four", b"five"]


def judged(keys: Keyset, events: list[Event], *, first: int = 0, threshold: float = 0.05) -> list[Judgement]:
    return keys.feed(*columns(events), first_event=first, threshold=threshold, watch=True)


def alarms(keys: Keyset, events: list[Event], threshold: float = 0.05) -> list[Judgement]:
    return keys.feed(*columns(events), first_event=0, threshold=threshold)


def usual(count: int, start_ns: int = BASE_NS, name: bytes = b"usual") -> list[Event]:
    """Interactions that all do the same, every 5 ms: opened, 20 ms later worked, another 20 ms later closed."""
    events = []
    for number in range(count):
        key, at = b"%s-%d" % (name, number), start_ns + number * 5 * MS
        events += [(key, b"opened", at), (key, b"worked", at + 20 * MS), (key, b"closed", at + 40 * MS)]
    return sorted(events, key=lambda event: event[2])


def after(keys: Keyset) -> int:
    """A time at which all that is open has reached all ages that matter."""
    return keys.now_ns + 1000 * MS


# ---- oracle --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "keys_max", "odd"), [(1, 10_000, 0.02), (2, 10_000, 0.2), (3, 50, 0.02), (4, 7, 0.2)])
def test_it_is_what_the_oracle_says(seed: int, keys_max: int, odd: float) -> None:
    events = traffic(seed, 700, odd=odd, keyless=0.1)
    keys, oracle = Keyset(keys_max=keys_max), reference_keyset.Keyset(keys_max, 0.05)
    expected = oracle.feed(events, 7) + oracle.flush()
    found = judged(keys, events, first=7) + keys.flush(threshold=0.05, watch=True)
    assert [judgement._replace(key_hash=0) for judgement in found] == expected
    assert (keys.evicted, keys.closed, keys.late) == (oracle.evicted, oracle.closed, oracle.late)
    assert sum(judgement.decided for judgement in found) > 500


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from([b"a", b"b", b"c", b"d", b""]), st.sampled_from(LINES), st.integers(0, 10**12)), max_size=80
    ),
    st.integers(1, 5),
)
def test_any_events_are_what_the_oracle_says(events: list[Event], keys_max: int) -> None:
    keys, oracle = Keyset(keys_max=keys_max), reference_keyset.Keyset(keys_max, 0.05)
    expected = oracle.feed(events, 0) + oracle.flush()
    found = judged(keys, events) + keys.flush(threshold=0.05, watch=True)
    assert [judgement._replace(key_hash=0) for judgement in found] == expected


def test_more_templates_and_sets_than_are_kept_are_what_the_oracle_says() -> None:
    rng = random.Random(5)
    events: list[Event] = []
    for number in range(450):
        start = BASE_NS + number * 5 * MS
        for _ in range(rng.choice([1, 3, 5])):
            line = b"line %d" % min(int(rng.expovariate(0.01)), 300)
            events.append((b"%d" % number, line, start + rng.choice([0, 3 * MS, 9 * MS])))
    events += [(b"long", b"line %d" % number, BASE_NS + number) for number in range(3 * KEY_TEMPLATES_MAX)]
    events.sort(key=lambda event: event[2])
    assert len({line for _, line, _ in events}) > 2 * RUNG_TEMPLATES_MAX > 2 * SETS_MAX
    keys, oracle = Keyset(), reference_keyset.Keyset(10_000, 0.05)
    expected = oracle.feed(events, 0)
    found = judged(keys, events)
    assert [judgement._replace(key_hash=0) for judgement in found] == expected
    assert keys.templates_cut == oracle.cut == 2 * KEY_TEMPLATES_MAX


def test_it_is_the_same_on_every_machine() -> None:
    keys = Keyset()
    found = judged(keys, traffic(11, 600, odd=0.02)) + keys.flush(threshold=0.05, watch=True)
    digest = blake2b(repr([tuple(judgement) for judgement in found]).encode(), digest_size=8).hexdigest()
    assert (len(found), digest) == GOLDEN


GOLDEN = (2778, "009eea95727ed205")

# ---- what it finds -------------------------------------------------------------------------------------------------


def test_a_line_that_never_came_before_is_found() -> None:
    keys = Keyset()
    assert alarms(keys, usual(600)) == []
    start = after(keys)
    events = [*usual(1, start, b"bad"), (b"bad-0", b"disk on fire", start + 41 * MS)]
    [found] = alarms(keys, events) + keys.pass_time(after(keys), threshold=0.05)
    assert found.key == b"bad-0"
    assert found.score >= ALARM_BITS
    assert 0 < found.p_value <= 0.05
    assert found.confidence == 1.0
    assert found.surprises[0][:1] + found.surprises[0][2:] == (b"disk on fire", True)
    assert (found.events, found.first_ns, found.last_ns) == (4, start, start + 41 * MS)
    assert keys.alarms == 1


def test_a_usual_line_that_does_not_come_is_found() -> None:
    keys = Keyset()
    alarms(keys, usual(600))
    start = after(keys)
    [found] = alarms(keys, usual(1, start, b"bad")[:2]) + keys.pass_time(after(keys), threshold=0.05)
    assert found.key == b"bad-0"
    assert [(surprise.text, surprise.present) for surprise in found.surprises] == [(b"closed", False)]
    assert found.age_ns > 40 * MS


def test_a_key_alarms_once() -> None:
    keys = Keyset()
    alarms(keys, usual(600))
    start = after(keys)
    events = [*usual(1, start, b"bad")[:2], (b"bad-0", b"late and odd", start + 500 * MS)]
    assert len(alarms(keys, events) + keys.pass_time(after(keys), threshold=0.05)) == 1
    assert keys.flush(threshold=0.05) == []


def test_up_to_four_times_as_late_as_seen_before_is_no_alarm() -> None:
    """The usual delay is 40 ms, some take 100: who takes 200 is late and not broken."""
    keys = Keyset()
    events = usual(600)
    events = [
        (key, line, time + (60 * MS if int(key[6:]) % 10 == 0 and line == b"closed" else 0)) for key, line, time in events
    ]
    alarms(keys, sorted(events, key=lambda event: event[2]))
    start = after(keys)
    bad = [(b"late", b"opened", start), (b"late", b"worked", start + 20 * MS), (b"late", b"closed", start + 200 * MS)]
    assert alarms(keys, bad) + keys.pass_time(after(keys), threshold=0.05) == []


def test_what_becomes_common_stops_to_alarm_and_what_stays_rare_does_not() -> None:
    keys = Keyset()
    alarms(keys, usual(600))
    start = after(keys)
    changed = [(key, line.replace(b"worked", b"worked anew"), time) for key, line, time in usual(300, start, b"new")]
    found = alarms(keys, changed) + keys.pass_time(after(keys), threshold=0.05)
    assert 3 <= len(found) <= 20
    assert {judgement.first_ns < start + 100 * MS for judgement in found} == {True}
    rare = usual(300, after(keys), b"again")
    rare = [(key, line + b" badly" if int(key[6:]) % 60 == 30 and line == b"closed" else line, t) for key, line, t in rare]
    found = alarms(keys, rare) + keys.pass_time(after(keys), threshold=0.05)
    assert sorted(judgement.key for judgement in found) == [b"again-%d" % number for number in (150, 210, 270, 30, 90)]


def test_what_alarms_all_the_time_is_held_back() -> None:
    """One key in five is unlike all others and can not be learned: then only the oddest alarm, some one in twenty and 5 %."""
    keys = Keyset()
    own = [
        (key, b"closed by %s" % key if line == b"closed" and int(key[6:]) > 600 and int(key[6:]) % 5 == 0 else line, time)
        for key, line, time in usual(8000)
    ]
    found = alarms(keys, own)
    late = [judgement for judgement in found if int(judgement.key[6:]) > 4000]
    assert 0.05 * 4000 < len(late) < 0.11 * 4000
    assert 0.05 < keys.alarm_share < 0.11


def test_no_alarm_before_enough_keys_and_the_number_is_told() -> None:
    for threshold in (0.05, 0.01):
        keys = Keyset()
        promised = keys.keys_until_alarm(threshold)
        assert promised > WARM_KEYS
        events = usual(2000)
        # from the first on, one key in 100 is broken
        events = [(k, line + b" badly" if int(k[6:]) % 100 == 99 and line == b"closed" else line, t) for k, line, t in events]
        at = 0
        left = promised
        while left and at < len(events):
            assert alarms(keys, events[at : at + 1], threshold) == [] or left <= 1
            at += 1
            left = keys.keys_until_alarm(threshold)
        assert promised <= at // 3 + 60
        assert len(alarms(keys, events[at:], threshold)) > 5
        assert keys.keys_until_alarm(threshold) == 0


def test_one_in_twenty_may_alarm_for_ever_because_so_many_may_be_anomalies() -> None:
    keys = Keyset()
    events = [
        (key, b"closed by %s" % key if line == b"closed" and int(key[6:]) % 25 == 24 else line, time)
        for key, line, time in usual(4000)
    ]
    found = alarms(keys, events) + keys.pass_time(after(keys), threshold=0.01)
    assert [judgement.key for judgement in found[-100:]] == [b"usual-%d" % number for number in range(1524, 4000, 25)][-100:]


def test_p_values_and_bits_are_in_their_ranges() -> None:
    keys = Keyset()
    for found in judged(keys, traffic(3, 900, odd=0.1)) + keys.flush(threshold=0.05, watch=True):
        assert 0 < found.p_value <= 1
        assert 0 <= found.confidence <= 1
        assert 0 <= found.score <= found.code <= CAP_BITS
        assert found.age_ns in RUNG_AGES_NS
        assert len(found.surprises) <= DETAILS_MAX
        assert [surprise.bits for surprise in found.surprises] == sorted((s.bits for s in found.surprises), reverse=True)
        if found.alarmed:
            assert found.decided
            assert found.score >= ALARM_BITS
            assert found.p_value <= 0.05


def test_watching_changes_nothing() -> None:
    events = traffic(6, 900, odd=0.05)
    one, other = Keyset(), Keyset()
    assert [found for found in judged(one, events) if found.alarmed] == alarms(other, events)
    assert one.parts() == other.parts()


# ---- time ----------------------------------------------------------------------------------------------------------


def test_keys_are_judged_at_their_age_with_all_that_came_by_then() -> None:
    keys = Keyset()
    rung = RUNG_AGES_NS[0]
    events = [(b"a", b"one", 100), (b"a", b"two", 100 + rung)]
    assert judged(keys, events) == []
    [found] = keys.pass_time(101 + rung, threshold=0.05, watch=True)
    assert (found.events, found.age_ns, found.last_ns) == (2, rung, 100 + rung)


def test_time_never_goes_back() -> None:
    keys = Keyset()
    judged(keys, [(b"a", b"one", 50 * MS), (b"b", b"one", 10 * MS)])
    assert keys.now_ns == 50 * MS
    found = keys.pass_time(60 * MS, threshold=0.05, watch=True)
    assert [(it.key, it.first_ns) for it in found] == [(b"a", 50 * MS), (b"b", 50 * MS)]
    assert keys.pass_time(1, threshold=0.05, watch=True) == []


def test_times_beyond_all_reason_are_bounded() -> None:
    keys = Keyset()
    judged(keys, [(b"a", b"one", 2**64 - 1), (b"b", b"one", 2**63)])
    assert keys.now_ns == 2**62


def test_keys_close_long_after_the_latest_that_anything_ever_came() -> None:
    keys = Keyset()
    alarms(keys, usual(600))
    assert keys.closed == 0
    alarms(keys, usual(2000, after(keys), b"more"))
    assert keys.closed > 0
    assert len(keys) < 700
    assert keys.deciding_ages_ns[-1] > 40 * MS


# ---- bounds --------------------------------------------------------------------------------------------------------


def test_the_oldest_makes_room_is_judged_and_counted() -> None:
    keys = Keyset(keys_max=20)
    alarms(keys, usual(600))
    assert len(keys) == 20
    assert keys.evicted + keys.closed == 580
    before = keys.evicted
    judgements = judged(keys, [(b"one more", b"opened", keys.now_ns)])
    assert [(it.key, it.closed) for it in judgements] == [(b"usual-580", True)]
    assert keys.evicted == before + 1


def test_what_comes_of_evicted_keys_is_left_out_and_counted() -> None:
    keys = Keyset(keys_max=5)
    found = alarms(keys, usual(500)) + keys.flush(threshold=0.05)
    assert found == []
    assert keys.late > 250
    events = [(b"usual-%d" % number, b"closed", keys.now_ns) for number in range(10)]
    before = keys.late
    alarms(keys, events)
    assert (keys.late, len(keys)) == (before + 10, 0)


def test_memory_is_bounded() -> None:
    keys = Keyset(bytes_max=BYTES_MAX_LEAST)
    events = [(b"%d" % number, b"line %d" % (number % 50 + k), BASE_NS) for number in range(2000) for k in range(30)]
    alarms(keys, events)
    assert keys.size <= BYTES_MAX_LEAST
    assert keys.evicted == 2000 - len(keys)
    assert len(keys) > 100
    alarms(keys, [(b"next %d" % number, b"x", BASE_NS) for number in range(5000)])
    assert keys.size <= BYTES_MAX_LEAST
    assert len(keys) <= 512


@pytest.mark.parametrize(
    "limits",
    [{"keys_max": 0}, {"keys_max": KEYS_MAX_MOST + 1}, {"bytes_max": BYTES_MAX_LEAST - 1}, {"bytes_max": BYTES_MAX_MOST + 1}],
)
def test_bounds_out_of_range_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="choose"):
        Keyset(**limits)


def test_one_key_has_so_many_templates_and_no_more() -> None:
    keys = Keyset()
    judged(keys, [(b"a", b"line %d" % number, BASE_NS) for number in range(KEY_TEMPLATES_MAX + 5)])
    assert keys.templates_cut == 5


def test_of_long_keys_and_lines_an_excerpt_is_kept() -> None:
    keys = Keyset()
    long = b"k" * 100_000
    events = [
        (long + b"1", b"x" * 10_000, BASE_NS),
        (long + b"2", b"x" * 10_000, BASE_NS),
        (b"k" * KEY_BYTES_KEPT, b"y", BASE_NS),
    ]
    judged(keys, events)
    found = keys.pass_time(BASE_NS + 2 * MS, threshold=0.05, watch=True)
    assert [(it.key, it.key_cut) for it in found] == [(b"k" * KEY_BYTES_KEPT, True)] * 2 + [(b"k" * KEY_BYTES_KEPT, False)]
    assert len({it.key_hash for it in found}) == 3
    assert found[0].surprises[0].text == b"x" * TEXT_BYTES_KEPT


def test_texts_of_lines_that_were_not_seen_for_long_make_room() -> None:
    keys = Keyset()
    judged(keys, [(b"old", b"first of all", BASE_NS)])
    judged(keys, [(b"", b"", BASE_NS), *((b"new", b"line %d" % number, BASE_NS) for number in range(20 * TEXTS_MAX))])
    found = keys.pass_time(BASE_NS + 2 * MS, threshold=0.05, watch=True)
    assert [surprise.text for surprise in found[0].surprises] == [b""]


# ---- restarts ------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 3000), st.integers(0, 5), st.sampled_from([10_000, 40]))
def test_restored_sets_agree(split: int, seed: int, keys_max: int) -> None:
    events = traffic(seed, 500, odd=0.05, keyless=0.05)
    one, other = Keyset(keys_max=keys_max), Keyset(keys_max=keys_max)
    judged(one, events[:split])
    stored = one.parts()
    other.restore(stored)
    assert other.parts() == stored
    assert judged(one, events[split:]) == judged(other, events[split:])
    assert one.flush(threshold=0.05, watch=True) == other.flush(threshold=0.05, watch=True)
    assert one.parts() == other.parts()
    assert (one.evicted, one.closed, one.alarms, one.late, len(one)) == (
        other.evicted,
        other.closed,
        other.alarms,
        other.late,
        len(other),
    )


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 3000), max_size=6), st.integers(0, 3))
def test_where_batches_are_cut_does_not_matter(cuts: list[int], seed: int) -> None:
    events = traffic(seed, 500, odd=0.05, keyless=0.05)
    one, other = Keyset(), Keyset()
    expected = judged(one, events)
    found, bounds = [], [0, *sorted(cuts), len(events)]
    for start, stop in pairwise(bounds):
        found += judged(other, events[start:stop], first=start)
    assert found == expected
    assert one.parts() == other.parts()


def test_lower_bounds_keep_the_newest() -> None:
    one, other = Keyset(), Keyset(keys_max=10)
    judged(one, usual(50))
    other.restore(one.parts())
    assert (len(one), len(other), other.evicted) == (50, 10, 40)
    assert [it.key for it in judged(other, [(b"usual-49", b"again", BASE_NS + 10**9)])[-1:]] == [b"usual-49"]


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_damaged_parts_are_refused_or_harmless(data: st.DataObject) -> None:
    one = Keyset(keys_max=30)
    judged(one, traffic(8, 60, odd=0.1))
    stored = bytearray(one.parts())
    if data.draw(st.booleans()):
        del stored[data.draw(st.integers(0, len(stored) - 1)) :]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            stored[data.draw(st.integers(0, len(stored) - 1))] = data.draw(st.integers(0, 255))
    other = Keyset(keys_max=30)
    try:
        other.restore(bytes(stored))
    except ValueError:
        return
    judged(other, traffic(9, 60, odd=0.1))
    other.flush(threshold=0.05)


def test_parts_go_only_into_a_new_set() -> None:
    one = Keyset()
    judged(one, [(b"a", b"one", 5)])
    with pytest.raises(ValueError, match="new one"):
        one.restore(Keyset().parts())
    with pytest.raises(ValueError, match="no interactions"):
        Keyset().restore(b"abc")
    with pytest.raises(ValueError, match="another version"):
        Keyset().restore(bytes(len(Keyset().parts())))
    with pytest.raises(TypeError, match="parts"):
        pickle.dumps(one)


# ---- border --------------------------------------------------------------------------------------------------------


def test_columns_that_do_not_fit_are_refused() -> None:
    source, starts, sizes, lines, lengths, times = columns(usual(2))
    keys = Keyset()
    one, long = array("I", [1]), array("I", [5] * len(lengths))
    for wrong in (
        (source, starts[1:], sizes, lines, lengths, times),
        (source, starts, one, lines, lengths, times),
        (source, starts, sizes, lines, lengths, times[1:]),
        (source[1:], starts, sizes, lines, lengths, times),
        (source, starts, sizes, lines, long, times),
    ):
        with pytest.raises(ValueError, match=r"one of each|within|add up"):
            keys.feed(*wrong, first_event=0, threshold=0.05)
    assert len(keys) == 0
    assert keys.feed(b"", array("I"), array("I"), b"", array("I"), array("Q"), first_event=0, threshold=0.05) == []
    for threshold in (0.0, 1.5, -1.0):
        with pytest.raises(ValueError, match="threshold"):
            keys.keys_until_alarm(threshold)


def test_keys_of_any_bytes_and_empty_lines_are_taken() -> None:
    keys = Keyset()
    events = [(bytes([value]), b"", BASE_NS) for value in range(256)] + [(b"\x00", b"\xff\xfe", BASE_NS)]
    judged(keys, events)
    assert len(keys) == 256
    found = keys.pass_time(BASE_NS + 2 * MS, threshold=0.05, watch=True)
    assert found[0].surprises == ((b"", 21.0, True), (b"\xff\xfe", 21.0, True))
