from collections import Counter

import pytest

from bench.quality.changes import CHANGES, SIZES, WINDOW, Site
from bench.quality.streams import masked
from tests.engine.streams import iid, take

LINES = take(iid(5), 6000)
FORMS = masked(LINES)
ALIENS = [f"foreign kind {'x' * number} spoke".encode() for number in range(40)]


def site(position: int = 3000) -> Site:
    return Site(LINES, FORMS, ALIENS, position, 7)


def changed(name: str, k: int) -> list[bytes]:
    lines = CHANGES[name](site(), k)
    assert lines is not None
    return lines


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_the_same_every_time(name: str) -> None:
    assert [CHANGES[name](site(), k) for k in SIZES] == [CHANGES[name](site(), k) for k in SIZES]


@pytest.mark.parametrize("k", SIZES)
def test_foreign_lines_replace_exactly_k(k: int) -> None:
    for name, distinct in (("k different foreign lines", k), ("k identical foreign lines", 1)):
        lines = changed(name, k)
        foreign = [line for line in lines if line in ALIENS]
        assert (len(lines), len(foreign), len(set(foreign))) == (WINDOW, k, distinct)
        assert sum(a != b for a, b in zip(lines, LINES[3000:], strict=False)) == k


@pytest.mark.parametrize("k", SIZES)
def test_a_rare_line_comes_more_often_and_is_not_new(k: int) -> None:
    past, after = Counter(FORMS[1000:3000]), Counter(masked(changed("rare line x10, k windows", k)))
    before = Counter(FORMS[3000 : 3000 + k * WINDOW])
    [grown] = [form for form in after if after[form] > before[form]] or [b""]
    if k >= 5:
        assert 0.001 <= past[grown] / 2000 <= 0.02
        assert after[grown] >= 5 * past[grown] / 2000 * k * WINDOW
    assert set(after) <= set(past) | set(before)


@pytest.mark.parametrize("k", SIZES)
def test_the_missing_line_is_the_most_common(k: int) -> None:
    lines = changed("usual line missing, k windows", k)
    [(form, _)] = Counter(FORMS[1000:3000]).most_common(1)
    assert len(lines) == k * WINDOW
    assert form not in masked(lines)


@pytest.mark.parametrize("k", SIZES)
def test_shuffled_lines_are_the_same_lines(k: int) -> None:
    lines, before = changed("order shuffled, k windows", k), LINES[3000 : 3000 + k * WINDOW]
    assert Counter(lines) == Counter(before)
    assert lines != before


def test_one_instance_of_fifty_is_two_percent() -> None:
    for name, distinct in (("1 of 50 instances bad, k windows", 5), ("1 of 50 instances stuck, k windows", 1)):
        foreign = [line for line in changed(name, 10) if line in ALIENS]
        assert 3 <= len(foreign) <= 20
        assert len(set(foreign)) >= distinct if distinct > 1 else len(set(foreign)) == 1


def test_the_control_changes_nothing() -> None:
    assert changed("nothing, k windows", 2) == LINES[3000:3100]


def test_where_nothing_is_rare_or_usual_the_change_is_not_possible() -> None:
    lines = [b"only one kind %d" % number for number in range(6000)]
    alone = Site(lines, masked(lines), ALIENS, 3000, 7)
    assert CHANGES["rare line x10, k windows"](alone, 1) is None
    assert CHANGES["usual line missing, k windows"](alone, 1) is None
