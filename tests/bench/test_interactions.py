"""The benchmark's interactions are the product's."""

from __future__ import annotations

from bench.quality.interactions import BATCH_EVENTS, watched

MS = 10**6


def test_the_odd_one_scores_highest_and_alarms() -> None:
    events = []
    for number in range(1000):
        for line, delay in (("opened", 0), ("disk on fire" if number == 900 else "worked", 20), ("closed", 40)):
            events.append((number * 5 * MS + delay * MS, f"{line} job-{number}"))
    events.sort()
    found = watched([line.encode() for _, line in events], [time for time, _ in events], "text:job-", 0.05)
    odd = [index for index, (_, line) in enumerate(events) if line == "opened job-900"]
    assert len(events) > 2 * BATCH_EVENTS
    assert list(found.alarmed) == odd
    assert max(found.scores, key=found.scores.__getitem__) == odd[0]
    assert len(found.scores) > 600
