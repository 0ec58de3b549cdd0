"""What is in flight stays within its limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.admission import Admission, AdmissionLimits, Slot
from driftlock.errors import Unavailable

LIMITS = AdmissionLimits(requests_max=2, bytes_max=100, tenant_share_max=1)
SHARED = AdmissionLimits(requests_max=4, bytes_max=100, tenant_share_max=0.5)


def test_requests_max() -> None:
    admission = Admission(LIMITS)
    with admission.admit(1), admission.admit(1):
        with pytest.raises(Unavailable, match="requests"):
            admission.admit(1)
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


def test_tenant_share_max_of_requests() -> None:
    admission = Admission(SHARED)
    with admission.admit(1, "a"), admission.admit(1, "a"):
        with pytest.raises(Unavailable, match="requests of this account"):
            admission.admit(1, "a")
        with admission.admit(1, "b"), admission.admit(1, "c"):
            assert (admission.requests, admission.tenants) == (4, 3)
            with pytest.raises(Unavailable, match="too many requests in flight"):
                admission.admit(1, "d")
    assert (admission.requests, admission.bytes, admission.tenants) == (0, 0, 0)


def test_tenant_share_max_of_bytes() -> None:
    admission = Admission(SHARED)
    with admission.admit(30, "a"), admission.admit(20, "a") as second:
        with pytest.raises(Unavailable, match="bytes of this account"):
            second.grow(1)
        with admission.admit(50, "b"):
            assert admission.bytes == 100
    with admission.admit(1, "a"), pytest.raises(Unavailable, match="bytes of this account"):
        admission.admit(50, "a")
    assert (admission.requests, admission.bytes, admission.tenants) == (0, 0, 0)


def test_the_only_request_of_a_tenant_may_be_as_large_as_any() -> None:
    admission = Admission(SHARED)
    with admission.admit(60, "a") as slot:
        slot.grow(40)
        assert admission.bytes == 100


def test_the_hint_is_spread_by_what_is_passed_in() -> None:
    numbers = iter([0.0, 0.5, 0.999])
    admission = Admission(AdmissionLimits(retry_after_ms=250, retry_jitter_ms=1000), lambda: next(numbers))
    assert [admission.retry_hint_ms(), admission.retry_hint_ms(), admission.retry_hint_ms(3000)] == [250, 750, 3999]
    assert Admission(AdmissionLimits(retry_after_ms=250)).retry_hint_ms() == 250


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 120), st.sampled_from("abc"))))
def test_the_books_always_balance(steps: list[tuple[bool, int, str]]) -> None:
    """Over all, and for every tenant; each refusal has its reason."""
    admission = Admission(SHARED)
    slots: list[tuple[Slot, int, str]] = []
    for admit, size, tenant in steps:
        own = [held for _, held, who in slots if who == tenant]
        everything = sum(held for _, held, _ in slots)
        if admit:
            full = len(slots) == 4 or everything + size > 100
            greedy = len(own) >= 2 or (len(own) == 1 and own[0] + size > 50)
            try:
                slots.append((admission.admit(size, tenant), size, tenant))
                assert not full
                assert not greedy
            except Unavailable:
                assert full or greedy
        elif slots:
            slots.pop(0)[0].close()
        assert admission.requests == len(slots) <= 4
        assert admission.bytes == sum(held for _, held, _ in slots) <= 100
        assert admission.tenants == len({who for *_, who in slots})


@pytest.mark.parametrize("name", ["requests_max", "bytes_max", "retry_after_ms"])
def test_a_limit_of_zero_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        AdmissionLimits(**{name: 0})


@pytest.mark.parametrize("share", [0, -0.1, 1.01, float("nan")])
def test_a_share_is_a_share(share: float) -> None:
    with pytest.raises(ValueError, match="tenant_share_max"):
        AdmissionLimits(tenant_share_max=share)


def test_jitter_is_not_negative() -> None:
    with pytest.raises(ValueError, match="retry_jitter_ms"):
        AdmissionLimits(retry_jitter_ms=-1)
