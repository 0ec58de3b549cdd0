"""What columns of the database can hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.storage.columns import NS_MAX, columns, ns, text


def test_rows_become_columns() -> None:
    assert columns([(1, "a"), (2, "b")]) == [[1, 2], ["a", "b"]]
    with pytest.raises(ValueError, match="zip"):
        columns([(1, "a"), (2,)])


@pytest.mark.parametrize(("time_ns", "stored"), [(-5, 0), (7, 7), (NS_MAX + 1, NS_MAX)])
def test_times_are_bounded(time_ns: int, stored: int) -> None:
    assert ns(time_ns) == stored


@given(st.text(alphabet=st.characters(), max_size=20))
def test_texts_can_be_stored(value: str) -> None:
    stored = text(value)
    assert "\x00" not in stored
    assert stored.encode().decode() == stored
    assert len(stored) == len(value)


def test_what_can_not_be_stored_is_replaced() -> None:
    assert text("a\x00b\ud800") == "a\u2400b?"
