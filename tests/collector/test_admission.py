"""What is in flight stays within its limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.admission import Admission, AdmissionLimits
from driftlock.errors import Unavailable

LIMITS = AdmissionLimits(requests_max=2, bytes_max=100, retry_after_ms=250)


def test_requests_max() -> None:
    admission = Admission(LIMITS)
    with admission.admit(1), admission.admit(1):
        with pytest.raises(Unavailable, match="requests") as refused:
            admission.admit(1)
        assert refused.value.retry_after_ms == 250
        assert (admission.requests, admission.bytes) == (2, 2)
    assert (admission.requests, admission.bytes) == (0, 0)


def test_bytes_max_at_the_door_and_while_growing() -> None:
    admission = Admission(LIMITS)
    with pytest.raises(Unavailable, match="bytes"):
        admission.admit(101)
    with admission.admit(60) as slot:
        with pytest.raises(Unavailable, match="bytes"):
            slot.grow(41)
        slot.grow(40)
        assert admission.bytes == 100
    assert (admission.requests, admission.bytes) == (0, 0)


def test_draining_turns_new_requests_away_and_keeps_old_ones() -> None:
    admission = Admission(LIMITS)
    slot = admission.admit(1)
    admission.drain()
    assert admission.draining
    with pytest.raises(Unavailable, match="shutting down"):
        admission.admit(1)
    slot.grow(5)
    slot.close()
    assert (admission.requests, admission.bytes) == (0, 0)


def test_closing_twice_gives_back_once() -> None:
    admission = Admission(LIMITS)
    slot, other = admission.admit(10), admission.admit(20)
    slot.close()
    slot.close()
    assert (admission.requests, admission.bytes) == (1, 20)
    other.close()


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 120))))
def test_the_books_always_balance(steps: list[tuple[bool, int]]) -> None:
    admission = Admission(LIMITS)
    slots: list[tuple[object, int]] = []
    for admit, size in steps:
        if admit:
            try:
                slots.append((admission.admit(size), size))
            except Unavailable:
                assert len(slots) == 2 or sum(held for _, held in slots) + size > 100
        elif slots:
            slots.pop(0)[0].close()  # type: ignore[attr-defined]
        assert admission.requests == len(slots) <= 2
        assert admission.bytes == sum(held for _, held in slots) <= 100


@pytest.mark.parametrize("name", ["requests_max", "bytes_max", "retry_after_ms"])
def test_a_limit_of_zero_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        AdmissionLimits(**{name: 0})
