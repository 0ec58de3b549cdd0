"""Interactions of a stream: verdicts, restarts, and what is said about them."""

from __future__ import annotations

from array import array
from hashlib import blake2b
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbad_cy.keyset import ALARM_BITS, TEXT_BYTES_KEPT
from driftlock.engine.interaction import InteractionLimits, Interactions, InteractionVerdict, TemplateBits
from driftlock.engine.interaction_key import GroupBy
from driftlock.engine.records import Damaged

MS = 10**6
BASE_NS = 1_700_000_000 * 10**9
Record = tuple[str, bytes, int]  # text, trace id, time
BY_SESSION, BY_TRACE, BY_TOKEN = (GroupBy.parse(text) for text in ("attribute:session", "trace_id", "text:job-"))


def shop(count: int, start_ns: int = BASE_NS, name: str = "s", *, odd: int = 0) -> list[Record]:
    """Sessions that open, pay 20 ms later and close after 40; of every `odd` one the payment times out."""
    records = []
    for number in range(count):
        at, trace = start_ns + number * 5 * MS, blake2b(f"{name}{number}".encode(), digest_size=16).digest()
        paid = "payment gateway timeout after 3000 ms" if odd and number % odd == odd - 1 else f"charge ok for {number} cents"
        for text, delay in ((f"cart opened by 10.0.0.{number % 200}", 0), (paid, 20), (f"order {number} shipped", 40)):
            records.append((f"INFO {text} session={name}-{number}", trace, at + delay * MS))
    return sorted(records, key=lambda record: record[2])


def fold(
    interactions: Interactions, records: list[Record], *, first: int = 0, seen: list[InteractionVerdict] | None = None
) -> list[InteractionVerdict]:
    lines = [text.encode() for text, _, _ in records]
    return interactions.fold(
        b"".join(lines),
        array("I", map(len, lines)),
        array("Q", [time for _, _, time in records]),
        trace_ids=b"".join(trace for _, trace, _ in records),
        first_event=first,
        p_value_threshold=0.05,
        observer=None if seen is None else seen.append,
    )


def fresh(group_by: GroupBy = BY_SESSION, **limits: int) -> Interactions:
    return Interactions(group_by, InteractionLimits(**limits))


@pytest.mark.parametrize("group_by", [BY_SESSION, BY_TRACE], ids=["attribute", "trace"])
def test_the_session_that_went_unlike_the_others_is_named_and_explained(group_by: GroupBy) -> None:
    interactions = fresh(group_by)
    assert fold(interactions, shop(600)) == []
    start = BASE_NS + 10**10
    broken = shop(1, start, "broken" if group_by is BY_SESSION else "s", odd=1)
    assert fold(interactions, broken, first=1800) == []
    [verdict] = interactions.pass_time(start + 10**9, p_value_threshold=0.05)
    assert verdict.key == ("broken-0" if group_by is BY_SESSION else broken[0][1].hex())
    assert verdict.bits >= ALARM_BITS
    assert 0 < verdict.p_value <= 0.05
    assert (verdict.events, verdict.first_event) == (3 if verdict.age_ns > 40 * MS else 2, 1800)
    assert verdict.start_ns == start
    assert verdict.present[0].text.startswith("INFO payment gateway timeout after # ms session=")
    assert verdict.present[0].bits > 20
    assert verdict.alarmed
    assert verdict.decided
    assert not verdict.closed
    assert "payment gateway timeout" in verdict.sentence
    assert verdict.sentence.startswith(verdict.key)


def test_a_usual_line_that_is_missing_is_named() -> None:
    interactions = fresh()
    fold(interactions, shop(600))
    start = BASE_NS + 10**10
    fold(interactions, shop(1, start, "half")[:2], first=1800)
    [verdict] = interactions.pass_time(start + 10**9, p_value_threshold=0.05)
    assert (verdict.key, verdict.present) == ("half-0", ())
    assert [line.text for line in verdict.missing] == ["INFO order # shipped session=#"]
    assert "lacks `INFO order # shipped session=#`, which most have sooner or later, by " in verdict.sentence


def test_keys_made_of_letters_do_not_make_every_line_new() -> None:
    interactions = fresh()
    records = [
        (text.replace(text.rpartition("=")[2], "".join(chr(97 + int(digit)) for digit in text.rpartition("-")[2])), trace, at)
        for text, trace, at in shop(600)
    ]
    seen: list[InteractionVerdict] = []
    assert fold(interactions, records, seen=seen) == []
    assert {verdict.bits for verdict in seen if verdict.decided} == {0.0}
    assert seen[0].key.isalpha()


def test_records_without_a_key_are_in_no_interaction_but_let_time_pass() -> None:
    interactions = fresh(BY_TOKEN)
    seen: list[InteractionVerdict] = []
    fold(interactions, [("began job-1", b"", BASE_NS)], seen=seen)
    assert len(interactions.keys) == 1
    fold(interactions, [("heartbeat", b"", BASE_NS + 2 * MS)], first=1, seen=seen)
    assert [(verdict.key, verdict.events, verdict.decided, verdict.alarmed) for verdict in seen] == [("job-1", 1, False, False)]
    assert len(interactions.keys) == 1


def test_watching_changes_nothing_and_sees_everything() -> None:
    records = shop(700, odd=60)
    one, other = fresh(), fresh()
    seen: list[InteractionVerdict] = []
    found = fold(one, records, seen=seen)
    assert found == fold(other, records) == [verdict for verdict in seen if verdict.alarmed]
    assert len(found) > 3
    assert one.state() == other.state()
    assert len({verdict.key for verdict in seen}) > 600


def test_no_alarm_while_it_learns_and_how_long_is_told() -> None:
    interactions = fresh()
    before = interactions.keys_until_alarm(0.05)
    assert before > 300
    assert interactions.keys_until_alarm(0.01) > before
    assert fold(interactions, shop(250, odd=40)) == []
    assert 0 < interactions.keys_until_alarm(0.05) < before
    fold(interactions, shop(500, BASE_NS + 10**10, "more"), first=750)
    assert interactions.keys_until_alarm(0.05) == 0


def test_what_is_open_at_the_end_is_judged_then() -> None:
    interactions = fresh()
    fold(interactions, shop(600))
    start = BASE_NS + 10**10
    records = [*shop(1, start, "broken"), ("ERROR disk on fire session=broken-0", b"", start + 100 * MS)]
    assert fold(interactions, [(text, bytes(16), at) for text, _, at in records], first=1800) == []
    [verdict] = interactions.finish(p_value_threshold=0.05)
    assert verdict.closed
    assert verdict.key == "broken-0"
    assert len(interactions.keys) == 0


def test_paths_are_no_difference() -> None:
    interactions = fresh(BY_TOKEN)
    seen: list[InteractionVerdict] = []
    for number in range(400):
        fold(
            interactions, [(f"wrote /data/{chr(97 + number % 26)}/x/y job-{number}", b"", BASE_NS + number * 5 * MS)], seen=seen
        )
    assert {verdict.bits for verdict in seen} == {0.0}


def test_long_keys_are_cut_and_still_told_apart() -> None:
    interactions = fresh()
    seen: list[InteractionVerdict] = []
    records = [(f"x session={'k' * 500}{number}", b"", BASE_NS) for number in range(2)]
    fold(interactions, [*records, ("x" * 5000 + " session=7", b"", BASE_NS), ("end", b"", BASE_NS + 2 * MS)], seen=seen)
    first, second, third = seen
    assert first.key[:41] == second.key[:41] == "k" * 40 + "…"
    assert first.key != second.key
    assert len(first.key) == 57
    assert third.present[0].text == "x" * TEXT_BYTES_KEPT


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 1500), max_size=4), st.sampled_from([16384, 12]))
def test_a_restored_fold_continues_as_if_nothing_had_happened(cuts: list[int], keys_max: int) -> None:
    records = shop(500, odd=50)
    whole = fresh(keys_max=keys_max)
    expected = fold(whole, records)
    part, found = fresh(keys_max=keys_max), []
    for start, stop in pairwise([0, *sorted(cuts), len(records)]):
        found += fold(part, records[start:stop], first=start)
        part = Interactions.restored(part.state(), BY_SESSION, InteractionLimits(keys_max=keys_max))
    assert found == expected
    assert part.state() == whole.state()


def test_state_is_bounded_and_of_its_group_by() -> None:
    interactions = fresh(keys_max=100, bytes_max=1 << 16)
    fold(interactions, shop(600))
    state = interactions.state()
    assert len(state) < 100 * 400 + 16 * 6000 + 1024 * 136
    with pytest.raises(Damaged, match="group_by 'attribute:session', not 'trace_id'"):
        Interactions.restored(state, BY_TRACE, InteractionLimits())


@pytest.mark.parametrize("damage", ["empty", "cut", "version", "inside", "longer"])
def test_damaged_state_is_refused(damage: str) -> None:
    interactions = fresh()
    fold(interactions, shop(20))
    state = interactions.state()
    name = len(BY_SESSION.text)
    broken = {
        "empty": b"",
        "cut": state[:-1],
        "version": b"dli2" + state[4:],
        "inside": state[: 10 + name] + bytes(8) + state[18 + name :],
        "longer": state + b"x",
    }[damage]
    with pytest.raises(Damaged):
        Interactions.restored(broken, BY_SESSION, InteractionLimits())


def test_sentences_are_plain() -> None:
    lines = tuple(TemplateBits(text, 20.0) for text in ("a", "b", "c"))
    about = (0.01, 1.0, 90 * 10**9, 3, 0, 2, 0, 0)
    rest = (True, True, False, 2, 0)
    both = InteractionVerdict("job-1", 41.6, *about, lines, (TemplateBits("", 3.0),), *rest)
    assert both.sentence == (
        "job-1 has `a`, `b` and 1 more, which is unusual and lacks a line, which most have sooner or later, by 1.5 min after"
        " its first event (42 bits more than most)"
    )
    neither = InteractionVerdict("job-1", 15.0, *about[:2], 500, *about[3:], (), (), *rest)
    assert neither.sentence == (
        "job-1 has a combination of lines that is unusual, by 500 ns after its first event (15 bits more than most)"
    )


def test_limits_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="choose"):
        fresh(keys_max=0)
    with pytest.raises(ValueError, match="choose"):
        fresh(bytes_max=1)
    with pytest.raises(ValueError, match="line_bytes_max"):
        fold(fresh(line_bytes_max=0), shop(1))


def test_verdicts_are_the_same_on_every_machine() -> None:
    seen: list[InteractionVerdict] = []
    fold(fresh(), shop(700, odd=60), seen=seen)
    assert (len(seen), blake2b(repr(seen).encode(), digest_size=8).hexdigest()) == GOLDEN


GOLDEN = (2051, "5bf5c9ad5fe760cb")
