"""The tail for hours says what the other one says."""

from tests.chaos.scenarios.lean_tail import LeanTail


def counted(*names: str) -> LeanTail:
    tail = LeanTail("postgresql://nowhere")
    for name in names:
        client, _, number = name.rpartition("-")
        tail._count(client, int(number))
    return tail


def test_once_each_is_clean() -> None:
    verdict = counted("c0-1", "c0-2", "c1-1").check({"c0": 2, "c1": 1, "c2": 0})
    assert verdict.clean
    assert verdict.records == 3


def test_what_is_missing_is_lost() -> None:
    assert counted("c0-1", "c0-3").check({"c0": 3}).lost == 1
    assert counted("c0-1").check({"c0": 5000}).lost == 4999  # beyond what was ever counted
    assert counted().check({"c0": 2, "c1": 0}).lost == 2


def test_what_is_there_twice_is_a_duplicate() -> None:
    verdict = counted("c0-1", "c0-1", "c0-2").check({"c0": 2})
    assert (verdict.lost, verdict.dup) == (0, 1)
    assert "c0: 0 lost, 1 more than once" in verdict.samples


def test_what_is_not_acknowledged_may_be_there_or_not() -> None:
    assert counted("c0-1", "c0-2").check({"c0": 1}).clean
