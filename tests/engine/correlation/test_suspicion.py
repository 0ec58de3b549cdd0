"""Who is blamed: by bits, with the loud ones held back."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.engine.correlation.flag import FLAG_SUSPECTS_MAX, Flag
from driftlock.engine.correlation.suspicion import INCIDENT_SUSPECTS_MAX, INVOLVED_SERVICES_MAX, OWN_BITS_MAX, Suspicion
from driftlock.engine.evidence import Suspect
from tests.engine.correlation.shop import CART_SERVICE, LOGS, MAIL_SERVICE, PAY, PAY_SERVICE, blame, flag


def suspicion(*flags: Flag) -> Suspicion:
    made = Suspicion()
    for it in flags:
        made.take(it)
    return made


def test_a_service_by_itself_is_the_only_suspect() -> None:
    [only] = suspicion(flag(LOGS, 600), flag(LOGS, 660, surprise=0.0)).ranked()
    assert (only.service, only.share) == (CART_SERVICE, 1.0)
    assert only.bits == pytest.approx(OWN_BITS_MAX / (1 + OWN_BITS_MAX))


def test_bits_of_traces_add_up() -> None:
    found = suspicion(blame(600, CART_SERVICE, PAY_SERVICE, bits=40.0), blame(660, PAY_SERVICE, bits=30.0)).ranked()
    assert [(it.service, it.bits) for it in found] == [(PAY_SERVICE, 50.0), (CART_SERVICE, 40.0)]
    assert sum(it.share for it in found) == pytest.approx(1.0)


def test_a_loud_stream_does_not_outvote_a_call_that_alarms() -> None:
    loud = [flag(LOGS, 600 + second, surprise=10_000.0) for second in range(100)]
    made = suspicion(*loud, blame(700, PAY_SERVICE, bits=OWN_BITS_MAX))
    assert [it.service for it in made.ranked()] == [PAY_SERVICE, CART_SERVICE]


def test_among_services_without_odd_calls_the_louder_one_comes_first() -> None:
    made = suspicion(flag(LOGS, 600, surprise=900.0), flag(PAY, 600, surprise=1000.0))
    assert [it.service for it in made.ranked()] == [PAY_SERVICE, CART_SERVICE]


def test_equals_stand_in_the_order_in_which_they_came() -> None:
    found = suspicion(flag(PAY, 600, surprise=0.0), flag(LOGS, 600, surprise=0.0)).ranked()
    assert [(it.service, it.share) for it in found] == [(PAY_SERVICE, 0.5), (CART_SERVICE, 0.5)]


def test_only_the_first_suspects_of_a_finding_count() -> None:
    names = [f"s{number}" for number in range(FLAG_SUSPECTS_MAX + 3)]
    assert [service for service, _ in suspicion(blame(600, *names))] == names[:FLAG_SUSPECTS_MAX]


def test_few_suspects_are_shown_and_their_shares_are_of_all() -> None:
    flags = [blame(600 + number, f"s{number}", bits=1.0) for number in range(INCIDENT_SUSPECTS_MAX * 2)]
    found = suspicion(*flags).ranked()
    assert len(found) == INCIDENT_SUSPECTS_MAX
    assert {it.share for it in found} == {1 / len(flags)}


def test_of_too_many_services_those_go_that_least_speaks_against() -> None:
    flags = [blame(600 + number, f"s{number}", bits=1000.0 - number) for number in range(INVOLVED_SERVICES_MAX)]
    made = suspicion(*flags, blame(999, "culprit", bits=5000.0), blame(999, "nobody", bits=0.5))
    assert len(made) == INVOLVED_SERVICES_MAX
    assert "culprit" in made
    assert "nobody" not in made
    assert f"s{INVOLVED_SERVICES_MAX - 1}" not in made
    assert made.ranked()[0] == Suspect("culprit", 5000.0, made.ranked()[0].share)


def test_the_title_names_the_culprit_first_where_there_are_several() -> None:
    made = suspicion(flag(LOGS, 600, surprise=900.0))
    assert made.title("loudest") == "loudest"
    made.take(blame(600, PAY_SERVICE, MAIL_SERVICE, bits=40.0))
    assert made.title("loudest") == f"{PAY_SERVICE}: calls of {PAY_SERVICE},{MAIL_SERVICE} 600"


def test_a_culprit_whom_no_finding_blamed_first_has_the_strongest_title() -> None:
    made = suspicion(
        replace(
            blame(600, CART_SERVICE, PAY_SERVICE), suspects=(Suspect(CART_SERVICE, 10.0, 0.5), Suspect(PAY_SERVICE, 9.0, 0.5))
        ),
        replace(
            blame(601, MAIL_SERVICE, PAY_SERVICE), suspects=(Suspect(MAIL_SERVICE, 10.0, 0.5), Suspect(PAY_SERVICE, 9.0, 0.5))
        ),
    )
    assert made.title("strongest") == f"{PAY_SERVICE}: strongest"


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef"), st.floats(0, 1e6)), max_size=20))
def test_shares_and_overlaps_are_shares(said: list[tuple[str, str, float]]) -> None:
    flags = [blame(600 + number, first, second + "2", bits=bits) for number, (first, second, bits) in enumerate(said)]
    made = suspicion(*flags)
    found = made.ranked()
    total = sum(it.share for it in found)
    assert total <= 1.0 + 1e-9
    if found and len(found) == len(made):
        assert total == pytest.approx(1.0)
    assert [it.bits for it in found] == sorted((it.bits for it in found), reverse=True)
    for it in flags:
        assert 0.0 <= made.overlap(it) <= 1.0 + 1e-9
    assert made.overlap(blame(600, "stranger")) == 0.0


def test_the_overlap_with_itself_is_whole() -> None:
    first = blame(600, CART_SERVICE, PAY_SERVICE, MAIL_SERVICE)
    assert suspicion(first).overlap(first) == pytest.approx(1.0)
    assert suspicion(first).overlap(flag(LOGS, 600)) == pytest.approx(4 / 7)
