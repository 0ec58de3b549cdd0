"""The point channel of the numeric coder: single points by their rank, within a budget."""

from __future__ import annotations

import random
from array import array
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbad_cy.reference_series import Series
from cbad_cy.series import (
    ALARM_LEVEL,
    RANK_ALARMS_DAY,
    RANK_BURST,
    RANK_LEVEL,
    SERIES_VERSION,
    Alarm,
    SeriesTable,
)
from tests.cbad_cy.series_examples import EXAMPLES, SECOND_NS, START_NS, STEP_NS, feed, noise, times

EARN_MINUTES = 1440 / RANK_ALARMS_DAY


class LevelAlone(Series):
    """The oracle without the point channel."""

    def single(self, n: int, rank: float) -> bool:  # noqa: ARG002
        """Never."""
        return False


def restless(rng: random.Random, count: int, *, every: int = 40) -> list[float]:
    """Noise with excursions of all sizes."""
    return [
        value + (rng.choice([-1, 1]) * rng.uniform(15, 90) if rng.random() < 1 / every else 0) for value in noise(rng, count)
    ]


def points_of(alarms: list[Alarm]) -> list[Alarm]:
    return [alarm for alarm in alarms if alarm.cause == "point"]


def within_budget(alarms: list[Alarm]) -> bool:
    """In every stretch of time at most the burst and what was earned."""
    minutes = [alarm.time_ns // (60 * SECOND_NS) for alarm in points_of(alarms)]
    return all(
        last - first + 1 <= RANK_BURST + (minutes[last] - minutes[first]) / EARN_MINUTES
        for first in range(len(minutes))
        for last in range(first, len(minutes))
    )


def test_what_the_level_does_not_tell_is_told_by_its_rank() -> None:
    values = restless(random.Random(1), 3000)
    fed = feed(SeriesTable(series_max=1), values)
    found = points_of(fed.alarms)
    assert found
    for alarm in found:
        rank = fed.rank[alarm.index]
        assert rank >= RANK_LEVEL
        assert alarm.score == fed.score[alarm.index] == pytest.approx(0.75 + (rank - RANK_LEVEL) / (rank - RANK_LEVEL + 3) / 4)
        assert alarm.since_ns == alarm.time_ns == START_NS + alarm.index * STEP_NS
        assert not alarm.low <= alarm.value <= alarm.high
        assert 45 < alarm.expected < 55
        assert alarm.low <= alarm.expected <= alarm.high
        assert alarm.p_value < 0.1
        assert alarm.surprise > 0


@pytest.mark.parametrize("name", ["spikes", "heavy", "shifts", "drifting", "restless"])
def test_the_level_alarms_as_without_it(name: str) -> None:
    values = {**EXAMPLES, "restless": restless}[name](random.Random(2), 900)
    alarms = feed(SeriesTable(series_max=1), values).alarms
    alone = LevelAlone(ALARM_LEVEL)
    told = [alone.take(value, time_ns).alarms for value, time_ns in zip(values, times(900), strict=True)]
    by_level = [alarm.index for alarm in alarms if alarm.cause != "point"]
    assert by_level == [i for i, alarm in enumerate(told) if alarm]
    assert all(not 0 <= point.index - index <= 10 for point in points_of(alarms) for index in by_level)


def test_an_excursion_is_told_once_and_not_before_the_series_is_known() -> None:
    fed = feed(SeriesTable(series_max=1, alarm_level=1.0), restless(random.Random(3), 2000, every=5))
    found = [alarm.index for alarm in points_of(fed.alarms)]
    assert found
    assert found[0] >= 300
    assert all(after - before > 10 for before, after in pairwise(found))
    over = [i for i, rank in enumerate(fed.rank) if i >= 300 and rank >= RANK_LEVEL + 1.0 - ALARM_LEVEL]
    firsts = [i for before, i in pairwise([-99, *over]) if i - before > 10]
    assert set(found) <= set(firsts)


def test_a_higher_level_raises_the_bar_as_much() -> None:
    values = restless(random.Random(4), 4000)
    table = SeriesTable(series_max=1, alarm_level=ALARM_LEVEL + 1)
    fed = feed(table, values)
    assert points_of(fed.alarms)
    assert all(fed.rank[alarm.index] >= RANK_LEVEL + 1 for alarm in points_of(fed.alarms))


@given(st.integers(0, 10**6), st.sampled_from([60, 300, 3600, 86400]), st.integers(4, 60), st.sampled_from([0.5, 1.5, 2.85]))
@settings(max_examples=40, deadline=None)
def test_the_budget_holds_over_any_stream(seed: int, step_s: int, every: int, level: float) -> None:
    rng = random.Random(seed)
    at, now = [], START_NS
    for _ in range(1500):
        now += int(rng.uniform(0.1, 1.9) * step_s * SECOND_NS)
        at.append(now)
    table = SeriesTable(series_max=1, alarm_level=level)
    alarms = feed(table, restless(rng, len(at), every=every), at=at).alarms
    assert within_budget(alarms)


def test_the_budget_is_spent_and_earned_again() -> None:
    rng, table = random.Random(5), SeriesTable(series_max=1, alarm_level=1.0)
    values = restless(rng, 12_000, every=30)
    found = points_of(feed(table, values, at=times(len(values), 1800 * SECOND_NS)).alarms)
    days = len(values) * 1800 / 86400
    assert within_budget(found)
    assert RANK_BURST < len(found) <= RANK_BURST + days * RANK_ALARMS_DAY


def test_a_restart_keeps_the_budget() -> None:
    values = restless(random.Random(6), 3000, every=20)
    whole = points_of(feed(SeriesTable(series_max=1), values).alarms)
    table, found = SeriesTable(series_max=1), []
    for first in range(0, len(values), 7):
        again = SeriesTable(series_max=1)
        if first:
            again.restore(1, table.parts(1))
        table = again
        piece = values[first : first + 7]
        fed = table.feed(
            array("Q", [1] * len(piece)), array("Q", times(len(piece), start_ns=START_NS + first * STEP_NS)), array("d", piece)
        )
        found += [alarm._replace(index=alarm.index + first) for alarm in points_of(fed.alarms)]
    assert found == whole
    assert whole


def test_parts_begin_with_the_version() -> None:
    table = SeriesTable(series_max=1)
    feed(table, [1.0])
    assert table.parts(1)[0] == SERIES_VERSION
