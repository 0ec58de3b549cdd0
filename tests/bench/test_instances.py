"""The protocol of one bad instance: faults and reference are what they are called, and the walk finds what it should."""

from __future__ import annotations

import random
from collections import Counter
from math import log

import pytest

from bench.quality.instance_faults import INSTANCES, Merged, by_block, faults, merged, voice
from bench.quality.instances import OURS, OURS_PLAIN, OWN_LINES, REFERENCE, GTest, alarmed, walk


def stream(count: int) -> Merged:
    rng = random.Random(1)
    said = merged([voice(random.Random(who)) for who in range(INSTANCES)], count, rng)
    return Merged("test", said, [b"segfault at address 0", b"kernel panic, not syncing"])


def test_all_lines_of_a_block_are_of_one_instance() -> None:
    assert by_block(b"Served block blk_-1608999687919862906 to /10.0.0.1") == 1 + 1608999687919862906 % INSTANCES
    assert by_block(b"Starting thread to transfer blk_-1608999687919862906") == 1 + 1608999687919862906 % INSTANCES
    assert by_block(b"no block") == 1


def test_faults_are_what_they_are_called() -> None:
    normal = stream(3000)
    forms = [len(line.split(b" by ")[0]) % 30 for _, line in normal.said]
    found = faults(normal, forms, 2500)
    line = normal.said[2500][1]
    assert found["nothing"](line) == line
    assert {found["different foreign lines"](line) for _ in range(50)} == set(normal.aliens)
    assert len({found["one foreign line"](line) for _ in range(50)}) == 1
    assert found["frozen on a usual line"](b"") == found["frozen on a usual line"](line) != b""
    past = {text for _, text in normal.said[:2500]}
    assert {found["usual lines in other shares"](line) for _ in range(50)} <= past


def test_a_rare_line_comes_ten_times_as_often() -> None:
    normal = stream(3000)
    forms = [0 if number % 100 == 0 else 1 for number in range(3000)]
    rare = {text for number, (_, text) in enumerate(normal.said[:2500]) if number % 100 == 0}
    change = faults(normal, forms, 2500)["line of 0.5% to 2.0% x10"]
    assert sum(change(b"") in rare for _ in range(2000)) == pytest.approx(200, abs=50)


def test_the_reference_is_the_g_test() -> None:
    test = GTest()
    scores = [test.take(who, form) for form in [1] * OWN_LINES for who in (1, 2, 3)]
    assert [score for score in scores if score is not None] == pytest.approx([0.0, 0.0, 0.0], abs=1e-9)
    other = test.branch()
    [strange] = [score for _ in range(50) if (score := other.take(1, 2)) is not None]
    assert strange == pytest.approx(50 * log(3) + 100 * log(3 / 4))
    assert test.every == Counter({1: 3 * OWN_LINES})


def test_the_bad_instance_is_found_and_alarms_are_counted_after_the_stream_settled() -> None:
    clean, bad = walk(stream(30_000), [20_000])
    for name in (OURS, OURS_PLAIN):
        assert min(p for _, _, p in bad["different foreign lines", name][0]) <= 0.0125
        assert sum(map(sum, alarmed(clean[name], 0.05))) <= 0.05 * sum(map(len, alarmed(clean[name], 0.05)))
    assert len(bad["nothing", REFERENCE]) == 1
    assert sum(map(len, alarmed(clean[OURS], 1.0))) == sum(line >= 5000 for line, _, _ in clean[OURS])
