from array import array

from hypothesis import given
from hypothesis import strategies as st

from cbad_cy.columns import ascending, largest


@given(st.lists(st.integers(0, 2**64 - 1)), st.lists(st.integers(0, 2**32 - 1)))
def test_columns(times: list[int], lengths: list[int]) -> None:
    assert ascending(array("Q", times)) == (times == sorted(times))
    assert largest(array("I", lengths)) == max(lengths, default=0)
