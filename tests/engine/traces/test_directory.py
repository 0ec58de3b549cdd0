"""Services and operations by number."""

import doctest
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.engine.limits import Limits
from driftlock.engine.traces import directory
from driftlock.engine.traces.directory import OTHER, OVERFLOW_SERVICE, Directory, Operation, masked_names, parse


def identity(service: str, name: str, kind: int = 2) -> str:
    return f"{service}\x1f{name}\x1f{kind}"


def numbers(of: Directory, *identities: str) -> list[int]:
    return list(of.numbers(identities, array("I", range(1, len(identities) + 1))))


def test_the_examples_are_true() -> None:
    assert doctest.testmod(directory).failed == 0


def test_operations_are_numbered_in_the_order_in_which_they_come() -> None:
    of = Directory(Limits())
    series = (identity("b", "x"), identity("a", "y"), identity("a", "x"))
    assert list(of.numbers(series, array("I", [3, 1, 3, 2]))) == [1, 2, 1, 3]
    assert of.operations[1:] == [Operation(1, "x", 2), Operation(2, "x", 2), Operation(1, "y", 2)]
    assert (of.services, list(of.service_of), len(of)) == (["", "a", "b"], [0, 1, 2, 1], 3)


def test_names_that_differ_in_identifiers_are_one_operation_and_kinds_are_not() -> None:
    of = Directory(Limits())
    found = numbers(of, identity("a", "GET /u/1"), identity("a", "GET /u/22"), identity("a", "GET /u/1", 3))
    assert found == [1, 1, 2]
    assert of.operations[1].name == "GET /u/<num>"


@pytest.mark.parametrize(
    "odd", ["", "svc", "svc\x1fname", "\x1f\x1f", "svc\x1fname\x1f99", "s\x1fa\x1fb\x1f2", "svc\x1f \x1f2"]
)
def test_any_identity_has_an_operation(odd: str) -> None:
    of = Directory(Limits())
    assert numbers(of, odd) == [1]
    service, _, kind = parse(odd)
    assert service
    assert 0 <= kind <= 5


@given(st.lists(st.text(max_size=40), max_size=8))
def test_any_names_can_be_masked_and_alone_they_are_the_same(names: list[str]) -> None:
    assert masked_names(names) == [masked_names([name])[0] for name in names]


def test_a_span_without_identity_has_the_unknown_operation() -> None:
    of = Directory(Limits())
    assert list(of.numbers((), array("I", [0, 0]))) == [1, 1]
    assert of.services[1] == "unknown_service"


def test_one_service_can_not_take_all_numbers() -> None:
    of = Directory(Limits(operations_max=160))
    found = numbers(of, *(identity("loud", f"op-{chr(97 + k // 26)}{chr(97 + k % 26)}") for k in range(100)))
    assert found[:20] == list(range(1, 21))
    assert set(found[20:]) == {21}
    assert of.operations[21] == Operation(1, OTHER, -1)
    assert (of.overflowed, of.full) == (80, True)
    assert numbers(of, identity("quiet", "x")) == [22]


def test_there_are_never_more_operations_than_the_limit() -> None:
    of = Directory(Limits(operations_max=64))
    wanted = [identity(f"svc-{chr(97 + k // 26)}{chr(97 + k % 26)}", "x") for k in range(200)]
    found = numbers(of, *wanted)
    assert len(of) == max(found) == 64
    assert of.services[of.service_of[64]] == OVERFLOW_SERVICE
    assert of.overflowed == 140
    assert len(of.services) <= 66


@given(st.data())
def test_cuts_and_restarts_change_no_number(data: st.DataObject) -> None:
    limits = Limits(operations_max=32)
    wanted = data.draw(st.lists(st.builds(identity, st.sampled_from("abcdefgh"), st.sampled_from("tuvwxyz")), max_size=80))
    whole, cut = Directory(limits), Directory(limits)
    expected = numbers(whole, *wanted)
    found: list[int] = []
    while len(found) < len(wanted):
        size = data.draw(st.integers(1, 20))
        found += numbers(cut, *wanted[len(found) : len(found) + size])
        if data.draw(st.booleans()):
            again = Directory(limits)
            again.restore(cut.services[1:], cut.operations[1:], cut.overflowed)
            cut = again
    assert found == expected
    assert (cut.operations, cut.services, cut.service_of, cut.overflowed) == (
        whole.operations, whole.services, whole.service_of, whole.overflowed,
    )  # fmt: skip


def test_how_many_unmasked_names_are_remembered_is_bounded() -> None:
    of = Directory(Limits(operations_max=16))
    for k in range(100):
        assert numbers(of, identity("a", f"/u/{k}")) == [1]
    assert len(of._known) <= 66


@pytest.mark.parametrize(
    ("services", "operations"),
    [(["a", "a"], []), (["a"], [Operation(2, "x", 1)]), (["a"], [Operation(0, "x", 1)]), (["a"], [Operation(1, "x", 1)] * 2)],
)
def test_what_does_not_fit_together_is_refused(services: list[str], operations: list[Operation]) -> None:
    with pytest.raises(ValueError, match=r"stands twice|do not fit"):
        Directory(Limits()).restore(services, operations, 0)
