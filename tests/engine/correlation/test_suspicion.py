"""Who is blamed: by bits, with the loud ones held back."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.engine.correlation.flag import FLAG_SUSPECTS_MAX, Flag
from driftlock.engine.correlation.suspicion import (
    INCIDENT_SUSPECTS_MAX,
    INVOLVED_SERVICES_MAX,
    LAST_WORD_BUCKETS,
    OWN_BITS_MAX,
    Against,
    Suspicion,
    blame_shares,
    faded,
    muted,
)
from driftlock.engine.evidence import Suspect
from tests.engine.correlation.shop import CART_SERVICE, LOGS, MAIL, MAIL_SERVICE, MINUTE_NS, PAY, PAY_SERVICE, blame, flag


def suspicion(*flags: Flag) -> Suspicion:
    made = Suspicion()
    for it in flags:
        made.take(it, it.end_ns // MINUTE_NS)
    return made


def test_a_service_by_itself_is_the_only_suspect() -> None:
    [only] = suspicion(flag(LOGS, 600), flag(LOGS, 601, surprise=0.0)).ranked()
    assert (only.service, only.share) == (CART_SERVICE, 1.0)
    assert only.bits == pytest.approx(OWN_BITS_MAX / (1 + OWN_BITS_MAX))


def test_bits_of_traces_add_up() -> None:
    found = suspicion(blame(600, CART_SERVICE, PAY_SERVICE, bits=40.0), blame(610, PAY_SERVICE, bits=30.0)).ranked()
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


def test_what_traces_say_fades_as_they_say_more() -> None:
    made = suspicion(blame(0, CART_SERVICE, bits=80.0), blame(600, PAY_SERVICE, bits=30.0))
    assert [it.service for it in made.ranked()] == [CART_SERVICE, PAY_SERVICE]
    assert [it.bits for it in made.ranked()] == pytest.approx([40.0, 30.0])
    loud = suspicion(blame(0, CART_SERVICE, bits=50.0), *(flag(PAY, 60 * minute, surprise=900.0) for minute in range(40)))
    assert loud.ranked()[0] == Suspect(CART_SERVICE, 50.0, loud.ranked()[0].share), "lines do not make it older"


def test_a_fault_of_an_hour_ago_does_not_outvote_what_goes_on() -> None:
    old = [blame(60 * minute, CART_SERVICE, bits=50.0) for minute in range(30)]
    assert suspicion(*old, blame(90 * 60, PAY_SERVICE, bits=30.0)).culprit == PAY_SERVICE
    lines = flag(PAY, 60 * (29 + LAST_WORD_BUCKETS), surprise=900.0), flag(PAY, 60 * (30 + LAST_WORD_BUCKETS), surprise=900.0)
    assert suspicion(*old, lines[0]).culprit == CART_SERVICE
    assert suspicion(*old, lines[1]).culprit == PAY_SERVICE
    loud = [flag(LOGS, 60 * minute, surprise=900.0) for minute in range(30)]
    assert suspicion(*loud, blame(60 * (30 + LAST_WORD_BUCKETS), PAY_SERVICE, bits=5.0)).culprit == PAY_SERVICE


def test_what_lines_count_fades_by_half_in_ten_minutes_however_loud_they_were() -> None:
    for surprise in (1.0, 30.0, 1e6, 1e30):
        made = suspicion(flag(LOGS, 0, surprise=surprise), flag(PAY, 600, surprise=0.0))
        assert made.ranked()[0].bits == pytest.approx(muted(surprise) / 2)


def test_fading_is_a_power_that_ends() -> None:
    assert faded(0.5, 0) == 1.0
    assert faded(0.5, 3) == 0.125
    assert faded(1.0, 1000) == 1.0
    assert faded(1.0, 1001) == 0.0


@pytest.mark.parametrize(
    ("weights", "said", "young", "joins"),
    [
        ({"a": 10.0, "b": 0.1}, ("a",), False, True),  # the culprit
        ({"a": 80.0, "b": 20.0}, ("b",), False, True),  # who weighs enough
        ({"a": 81.0, "b": 19.0}, ("b",), True, False),  # who does not
        ({"a": 10.0}, ("c", "a"), True, True),  # the culprit is second in the flag
        ({"a": 10.0}, ("c", "a"), False, False),  # too late for the cause of it
        ({"a": 10.0}, ("c", "b", "a"), True, False),  # the culprit is hardly suspected in the flag
        ({"a": 90.0, "hub": 10.0}, ("c", "hub"), True, False),  # a weak second suspect of both
        ({"a": 10.0}, ("c",), True, False),
    ],
)
def test_a_flag_joins_by_weight(weights: dict[str, float], said: tuple[str, ...], young: bool, joins: bool) -> None:
    made = Suspicion()
    for service, bits in weights.items():
        made.put(service, Against(calls=bits, recent=bits))
    assert made.accepts(blame_shares(blame(600, *said)), young=young) is joins


def test_lines_join_the_culprit_and_who_weighs_only() -> None:
    made = suspicion(blame(600, PAY_SERVICE, CART_SERVICE, MAIL_SERVICE, bits=40.0))
    assert made.accepts(blame_shares(flag(PAY, 600)), young=True)
    assert made.accepts(blame_shares(flag(LOGS, 600)), young=True)
    assert not made.accepts(blame_shares(flag(MAIL, 600)), young=True), "1/7"


def test_what_brings_flags_together_fades_within_minutes() -> None:
    before = blame(0, CART_SERVICE, bits=400.0), blame(60, CART_SERVICE, bits=400.0)
    made = suspicion(*before, blame(660, PAY_SERVICE, bits=40.0))
    assert made.culprit == CART_SERVICE
    assert made.accepts(blame_shares(flag(PAY, 660)), young=False), "40 of 40 + 700/16"


def test_lines_count_little_whatever_their_bits() -> None:
    assert muted(0.0) == 0.0
    assert muted(OWN_BITS_MAX) == OWN_BITS_MAX / 2
    assert muted(1e9) < OWN_BITS_MAX


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
    made.take(blame(600, PAY_SERVICE, MAIL_SERVICE, bits=40.0), 1)
    assert made.title("loudest") == f"{PAY_SERVICE}: calls of {PAY_SERVICE},{MAIL_SERVICE} 600"


@pytest.mark.parametrize(
    ("title", "told"),
    [
        ("shop/pay@prod is slow", "shop/pay@prod is slow"),
        ("shop/pay: slow", "shop/pay: slow"),
        ("pay (charge) takes 3 s", "pay (charge) takes 3 s"),
        ("pay", "pay"),
        ("payments are slow", "shop/pay@prod: payments are slow"),
        ("pay-db is slow", "shop/pay@prod: pay-db is slow"),
        ("shop/pay@test is slow", "shop/pay@prod: shop/pay@test is slow"),
        ("Calls of pay are slow", "shop/pay@prod: Calls of pay are slow"),
    ],
)
def test_the_culprit_is_not_named_twice(title: str, told: str) -> None:
    made = suspicion(replace(blame(600, PAY_SERVICE, MAIL_SERVICE), title=title))
    assert made.title("strongest") == told


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
        assert 0.0 <= made.overlap(blame_shares(it)) <= 1.0 + 1e-9
    assert made.overlap(blame_shares(blame(600, "stranger"))) == 0.0


def test_the_overlap_with_itself_is_whole() -> None:
    first = blame(600, CART_SERVICE, PAY_SERVICE, MAIL_SERVICE)
    assert suspicion(first).overlap(blame_shares(first)) == pytest.approx(1.0)
    assert suspicion(first).overlap(blame_shares(flag(LOGS, 600))) == pytest.approx(4 / 7)
