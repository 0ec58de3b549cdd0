"""Releases with known differences: what is found, and that nothing else is."""

import random
from array import array
from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.engine.event import RecordBatch
from driftlock.engine.limits import Limits
from driftlock.engine.masks import compiled
from driftlock.engine.releases.attribute import Attribute
from driftlock.engine.releases.diff import ALPHA, ChangeKind, ReleaseDiff, compare
from driftlock.engine.releases.lines import LINE_BYTES_MAX, RELEASES_MAX, Gathering, Lines, Releases

USUAL = {f"request to {name} took {{}} ms": 10 for name in ("alpha", "beta", "gamma", "delta", "omega", "kappa", "sigma")}


def lines_of(lines: Iterable[bytes]) -> Lines:
    held = list(lines)
    return Lines(b"".join(held), array("I", map(len, held)), array("Q", range(1, len(held) + 1)))


def drawn(weights: Mapping[str, float], count: int, seed: int) -> Lines:
    rng = random.Random(seed)
    chosen = rng.choices(list(weights), list(weights.values()), k=count)
    return lines_of(text.format(rng.randrange(1000)).encode() for text in chosen)


def diff(old: Lines, new: Lines, changes_max: int = 50) -> ReleaseDiff:
    return compare(old, new, None, changes_max=changes_max, limits=Limits())


def told(found: ReleaseDiff) -> dict[ChangeKind, list[str]]:
    return {kind: [it.text for it in found.changes if it.kind is kind and it.significant] for kind in ChangeKind}


@pytest.mark.parametrize("seed", range(5))
def test_equal_releases_have_no_significant_difference(seed: int) -> None:
    tail = {f"worker{'abcdefghijklmnopqrst'[n % 20]}{'uvwxyz'[n // 20]} idle": 0.05 for n in range(100)}
    found = diff(drawn(USUAL | tail, 3000, seed), drawn(USUAL | tail, 3000, seed + 100))
    assert [it for it in found.changes if it.significant] == []
    assert abs(found.unseen_share - found.unseen_share_expected) < 0.01


def test_what_was_changed_is_found_and_nothing_else() -> None:
    """A line that is new, one that is gone, one three times as frequent and one a third, in a stream of 7 others."""
    new = USUAL | {"payment gateway refused card {}": 2, "request to kappa took {} ms": 0, "request to sigma took {} ms": 30}
    new["request to omega took {} ms"] = 3
    found = diff(drawn(USUAL, 4000, 1), drawn(new, 4000, 2))
    kinds = told(found)
    assert [text.rsplit(" ", 1)[0] for text in kinds[ChangeKind.NEW]] == ["payment gateway refused card"]
    assert ["kappa" in text for text in kinds[ChangeKind.GONE]] == [True]
    assert ["sigma" in text for text in kinds[ChangeKind.MORE]] == [True]
    assert ["omega" in text for text in kinds[ChangeKind.LESS]] == [True]
    assert found.totals == {ChangeKind.NEW: 1, ChangeKind.GONE: 1, ChangeKind.MORE: 1, ChangeKind.LESS: 1}
    (line,) = [it for it in found.changes if it.kind is ChangeKind.NEW]
    assert line.count_from == 0
    assert line.share_to == line.count_to / 4000
    marked = b" ".join(line.text.encode()[start:stop] for start, stop in line.spans)
    assert b"payment gateway refused card" in marked


def test_the_novel_part_of_a_changed_line_is_marked() -> None:
    """Also where its words are known from other lines: what costs the coder is marked."""
    old = [b"password rejected by guard", b"login of user 7 succeeded", b"order 9 shipped to warehouse north"] * 200
    new = [*old, *[b"order 9 rejected by warehouse north"] * 100]
    found = diff(lines_of(old), lines_of(new))
    (line,) = [it for it in found.changes if it.kind is ChangeKind.NEW]
    marked = [line.text[start:stop] for start, stop in line.spans]
    assert any("rejected" in text for text in marked)
    assert not any("north" in text or "order" in text for text in marked)
    assert line.nearest == "order # shipped to warehouse north"
    assert line.bits is not None
    assert line.bits > 20


def test_a_single_new_line_is_told_but_not_called_significant() -> None:
    found = diff(drawn(USUAL, 2000, 3), lines_of([*[b"request to alpha took 1 ms"] * 100, b"segmentation fault in worker"]))
    new = [it for it in found.changes if it.kind is ChangeKind.NEW]
    assert [(it.text, it.count_to, it.significant) for it in new] == [("segmentation fault in worker", 1, False)]


def test_lines_that_are_a_little_more_frequent_are_not_told() -> None:
    old = {"request to alpha took {} ms": 50, "request to beta took {} ms": 50}
    found = diff(drawn(old, 20_000, 1), drawn(old | {"request to beta took {} ms": 80}, 20_000, 2))
    assert found.changes == ()


def test_a_different_release_costs_more_bits_than_the_same_one() -> None:
    same = diff(drawn(USUAL, 2000, 1), drawn(USUAL, 2000, 2))
    other = {text.replace("request to", "calling").replace("took", "needed"): share for text, share in USUAL.items()}
    different = diff(drawn(USUAL, 2000, 1), drawn(other, 2000, 2))
    assert same.bits_per_line is not None
    assert same.bits_per_line_within is not None
    assert different.bits_per_line is not None
    assert same.bits_per_line < 1.2 * same.bits_per_line_within
    assert different.bits_per_line > 3 * same.bits_per_line


def test_equal_lines_give_equal_answers_whatever_their_order_of_insertion() -> None:
    first, second = drawn(USUAL, 800, 1), drawn(USUAL | {"boom {}": 5}, 800, 2)
    assert diff(first, second) == diff(first, second)


@given(st.lists(st.sampled_from("abcdef"), max_size=60), st.lists(st.sampled_from("abcdefgh"), max_size=60))
@settings(max_examples=60)
def test_the_parts_add_up(old: list[str], new: list[str]) -> None:
    found = diff(lines_of(f"line {it}".encode() for it in old), lines_of(f"line {it}".encode() for it in new))
    assert (found.old.lines, found.old.kinds, found.new.lines) == (len(old), len(set(old)), len(new))
    if not old or not new:
        assert found.changes == ()
        assert found.bits_per_line is None
        return
    kinds = {kind: {it.text[-1] for it in found.changes if it.kind is kind} for kind in ChangeKind}
    assert kinds[ChangeKind.NEW] == set(new) - set(old)
    assert kinds[ChangeKind.GONE] == set(old) - set(new)
    for it in found.changes:
        assert it.count_from == old.count(it.text[-1])
        assert it.count_to == new.count(it.text[-1])
        assert 0 < it.p_value <= 1
        assert it.significant == (it.p_value <= ALPHA)
    assert found.unseen_share == pytest.approx(sum(it not in old for it in new) / len(new))


def test_changes_max() -> None:
    new = lines_of(f"letter {it} came".encode() for it in "abcdefghij" for _ in range(50))
    found = diff(lines_of([b"usual"] * 500), new, changes_max=3)
    assert [it.kind for it in found.changes] == [ChangeKind.NEW] * 3 + [ChangeKind.GONE]
    assert found.totals[ChangeKind.NEW] == 10


def test_masks_of_the_stream_make_lines_equal() -> None:
    old, new = lines_of([b"job abcdef done"] * 50), lines_of([b"job ghijkl done"] * 50)
    assert len(diff(old, new).changes) == 2
    assert compare(old, new, compiled(("job {lower} done",)), changes_max=9, limits=Limits()).changes == ()


def batch_of(text: str, version: str, count: int = 1) -> RecordBatch:
    raw = text.encode()
    return RecordBatch(raw * count, array("I", [len(raw)] * count), array("Q", [0] * count), versions=(version,))


def test_gathering_keeps_the_newest_lines_in_their_order() -> None:
    """Rows come newest first. Lines without a time have that of receiving."""
    gathering = Gathering(Attribute("service.version"), b"1", b"2", 3)
    assert gathering.take(batch_of("new", "2", 2), 90)
    assert gathering.take(batch_of("other", "3", 9), 80)
    assert gathering.take(batch_of("older", "2", 2), 70)
    assert gathering.take(batch_of("old", "1", 2), 60)
    assert not gathering.take(batch_of("oldest", "1", 2), 50)
    old, new = gathering.lines()
    assert (new.text, list(new.times_ns)) == (b"oldernewnew", [70, 90, 90])
    assert (old.text, list(old.times_ns)) == (b"oldestoldold", [50, 60, 60])


def test_gathering_cuts_long_lines_and_refuses_equal_values() -> None:
    gathering = Gathering(Attribute("service.version"), b"1", b"2", 9)
    gathering.take(batch_of("x" * (LINE_BYTES_MAX + 1), "1"), 1)
    assert len(gathering.lines()[0].text) == LINE_BYTES_MAX
    with pytest.raises(ValueError, match="the same"):
        Gathering(Attribute("service.version"), b"1", b"1", 9)


def test_releases_are_counted_and_bounded() -> None:
    releases = Releases(Attribute("service.version"))
    releases.take(batch_of("a", "2", 5), 90)
    releases.take(batch_of("a", "1", 3), 70)
    releases.take(RecordBatch(b"a", array("I", [1]), array("Q", [1])), 60)
    releases.take(batch_of("a", "1", 4), 50)
    found = [(it.value, it.records, it.first_ns, it.last_ns) for it in releases.found()]
    assert found == [(b"2", 5, 90, 90), (b"1", 7, 50, 70)]
    assert releases.without == 1
    for number in range(RELEASES_MAX):
        releases.take(batch_of("a", f"v{number}"), 10)
    assert len(releases.found()) == RELEASES_MAX
    assert releases.omitted == 2
