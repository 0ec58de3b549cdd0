from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.cursors import Cursors
from driftlock.errors import InvalidArgument
from tests.api.fakes import OTHER_TENANT, TENANT

KEY = bytes(range(32))
CURSORS = Cursors(KEY)
positions = st.lists(st.integers(-(2**70), 2**70) | st.text(max_size=40), max_size=3).map(tuple)


@given(positions, st.lists(st.text(max_size=10), max_size=3))
def test_a_cursor_reads_as_the_position_it_was_made_of(position: tuple[int | str, ...], scope: list[str]) -> None:
    cursor = CURSORS.encode(position, tenant_id=TENANT, scope=scope)
    assert CURSORS.decode(cursor, tenant_id=TENANT, scope=scope) == position


@pytest.mark.parametrize(
    ("cursors", "tenant_id", "scope"),
    [
        (CURSORS, OTHER_TENANT, ("streams",)),
        (CURSORS, TENANT, ("anomalies",)),
        (CURSORS, TENANT, ("streams", "signal=logs")),
        (Cursors(KEY[::-1]), TENANT, ("streams",)),
    ],
)
def test_a_cursor_of_another_place_is_refused(cursors: Cursors, tenant_id: UUID, scope: tuple[str, ...]) -> None:
    cursor = CURSORS.encode(("a", 1), tenant_id=TENANT, scope=("streams",))
    with pytest.raises(InvalidArgument):
        cursors.decode(cursor, tenant_id=tenant_id, scope=scope)


@given(st.text(max_size=80) | st.binary(max_size=60).map(lambda raw: raw.hex()))
def test_an_invented_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidArgument):
        CURSORS.decode(cursor, tenant_id=TENANT, scope=())


@given(st.data())
def test_a_changed_cursor_is_refused(data: st.DataObject) -> None:
    cursor = CURSORS.encode((1, "x"), tenant_id=TENANT, scope=())
    place = data.draw(st.integers(0, len(cursor) - 2))
    letter = data.draw(st.sampled_from("ABCabc019-_").filter(lambda other: other != cursor[place]))
    with pytest.raises(InvalidArgument):
        CURSORS.decode(cursor[:place] + letter + cursor[place + 1 :], tenant_id=TENANT, scope=())


def test_a_huge_cursor_is_refused_unread() -> None:
    with pytest.raises(InvalidArgument):
        CURSORS.decode("A" * 100_000, tenant_id=TENANT, scope=())


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 32"):
        Cursors(b"short")
