"""Instances of spans by number."""

from array import array

from hypothesis import given
from hypothesis import strategies as st

from driftlock.engine.traces.instances import Instances, span_instance_number


def test_numbers_are_hashes_that_fit_and_are_never_0() -> None:
    of = Instances(10)
    found = of.numbers(("pod-1", ""), array("I", [1, 0, 2, 1]), 4)
    assert list(found) == [span_instance_number("pod-1"), 0, 0, span_instance_number("pod-1")]
    assert found.typecode == "I"
    assert found[0] > 0
    assert of.name(found[0]) == "pod-1"
    assert of.name(0) == of.name(12345) == ""


def test_without_instances_all_are_0() -> None:
    assert list(Instances(10).numbers((), array("I"), 3)) == [0, 0, 0]


@given(st.lists(st.integers(1, 12), max_size=60), st.integers(1, 12), st.integers(1, 20))
def test_the_newest_names_are_kept_however_rows_are_cut(index: list[int], instances_max: int, size: int) -> None:
    names = tuple(f"pod-{k}" for k in range(12))
    whole, cut = Instances(instances_max), Instances(instances_max)
    whole.numbers(names, array("I", index), len(index))
    whole.forget()
    for first in range(0, len(index), size):
        cut.numbers(names, array("I", index[first : first + size]), size)
        cut.forget()
        again = Instances(instances_max)
        again.restore(list(cut.names.values()))
        cut = again
    assert list(cut.names.items()) == list(whole.names.items())
    assert len(whole.names) <= instances_max
