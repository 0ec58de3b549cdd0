"""Traces of an incident: the strongest are shown, the newest are recognised."""

from driftlock.engine.correlation.exemplars import INCIDENT_TRACES_MAX, RECENT_TRACES_MAX, Exemplars
from driftlock.engine.correlation.flag import FLAG_TRACES_MAX
from tests.engine.correlation.shop import LOGS, flag


def ids(first: int, count: int) -> tuple[str, ...]:
    return tuple(f"{number:032x}" for number in range(first, first + count))


def test_those_of_the_strongest_findings_come_first() -> None:
    made = Exemplars()
    made.take(flag(LOGS, 600, surprise=3.0, traces=ids(1, 2)))
    made.take(flag(LOGS, 610, surprise=9.0, traces=ids(11, 2)))
    made.take(flag(LOGS, 620, surprise=3.0, traces=ids(21, 1)))
    assert made.ids == (*ids(11, 2), *ids(1, 2), *ids(21, 1))
    made.take(flag(LOGS, 630, surprise=10.0, traces=ids(21, 1)))
    made.take(flag(LOGS, 640, surprise=1.0, traces=ids(21, 1)))
    assert made.ids == (*ids(21, 1), *ids(11, 2), *ids(1, 2))


def test_a_flag_names_a_few() -> None:
    made = Exemplars()
    assert not made
    made.take(flag(LOGS, 600, traces=ids(1, FLAG_TRACES_MAX + 5)))
    assert made
    assert made.recent == ids(1, FLAG_TRACES_MAX)


def test_few_are_shown_and_the_newest_are_recognised() -> None:
    made = Exemplars()
    for number in range(20):
        made.take(flag(LOGS, 600 + 10 * number, surprise=100.0 - number, traces=ids(1 + 8 * number, 8)))
    assert made.ids == ids(1, INCIDENT_TRACES_MAX)
    assert made.recent == ids(1 + 160 - RECENT_TRACES_MAX, RECENT_TRACES_MAX)
    assert made.shared(ids(160, 1)) == made.shared(ids(1, 1)) == 1
    assert made.shared(ids(20, 1)) == 0
    assert made.shared((*ids(1, 2), *ids(160, 3))) == 3
