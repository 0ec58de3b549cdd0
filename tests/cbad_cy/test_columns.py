from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbad_cy.columns import ascending, largest, looked_up


@given(st.lists(st.integers(0, 2**64 - 1)), st.lists(st.integers(0, 2**32 - 1)))
def test_columns(times: list[int], lengths: list[int]) -> None:
    assert ascending(array("Q", times)) == (times == sorted(times))
    assert largest(array("I", lengths)) == max(lengths, default=0)


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1), st.data())
def test_looked_up(entries: list[int], data: st.DataObject) -> None:
    numbers = data.draw(st.lists(st.integers(0, len(entries) - 1)))
    assert list(looked_up(array("Q", entries), array("I", numbers))) == [entries[number] for number in numbers]
    with pytest.raises(IndexError):
        looked_up(array("Q", entries), array("I", [*numbers, len(entries)]))
