import random
from collections import defaultdict

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from api.ratelimit import CALLS_PER_MINUTE_MAX, MINUTE_NS, Decision, RateLimiter

SECOND_NS = 1_000_000_000
START_NS = 5_000 * SECOND_NS


def limiter(calls: int = 10, together: int = 120, networks: int = 1000) -> RateLimiter:
    return RateLimiter(calls_per_minute=calls, global_calls_per_minute=together, networks_max=networks)


def burst(limits: RateLimiter, network: str, calls: int, now_ns: int = START_NS) -> list[Decision]:
    return [limits.admit(network, now_ns) for _ in range(calls)]


def test_ten_calls_pass_and_the_eleventh_waits() -> None:
    found = burst(limiter(), "a", 11)
    assert [it.allowed for it in found] == [True] * 10 + [False]
    assert [it.remaining for it in found] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0]
    assert (found[-1].exceeded, found[-1].retry_after_ms) == ("network", 6000)
    assert (found[0].exceeded, found[0].retry_after_ms) == ("", 0)


def test_a_call_passes_after_the_time_that_was_told_and_not_before() -> None:
    limits = limiter()
    wait_ms = burst(limits, "a", 11)[-1].retry_after_ms
    assert not limits.admit("a", START_NS + wait_ms * 1_000_000 - 1).allowed
    assert limits.admit("a", START_NS + wait_ms * 1_000_000).allowed


def test_a_refused_call_costs_nothing() -> None:
    limits = limiter()
    burst(limits, "a", 10)
    waits = [limits.admit("a", START_NS + second * SECOND_NS).retry_after_ms for second in range(6)]
    assert waits == [6000, 5000, 4000, 3000, 2000, 1000]


def test_the_bucket_is_full_again_after_a_minute() -> None:
    limits = limiter()
    burst(limits, "a", 10)
    assert [it.allowed for it in burst(limits, "a", 11, START_NS + MINUTE_NS)] == [True] * 10 + [False]


def test_networks_do_not_share_what_they_get() -> None:
    limits = limiter()
    burst(limits, "a", 11)
    assert limits.admit("b", START_NS).allowed


def test_all_networks_together_have_a_limit() -> None:
    limits = limiter(together=15)
    burst(limits, "a", 10)
    found = burst(limits, "b", 6)
    assert [it.allowed for it in found] == [True] * 5 + [False]
    assert (found[-1].exceeded, found[-1].retry_after_ms) == ("global", 4000)
    assert found[-1].remaining == 0
    later = limits.admit("b", START_NS + 4 * SECOND_NS)
    assert later.allowed, "what the global limit refused was not counted against the network"
    assert [quota.remaining for quota in later.quotas] == [4, 0]


def test_headers_tell_both_policies() -> None:
    limits = limiter()
    assert limits.admit("a", START_NS).headers() == {
        "RateLimit-Policy": '"network";q=10;w=60, "global";q=120;w=60',
        "RateLimit": '"network";r=9;t=6, "global";r=119;t=1',
    }
    assert burst(limits, "a", 10)[-1].headers()["RateLimit"] == '"network";r=0;t=60, "global";r=110;t=5'


def test_full_buckets_are_forgotten() -> None:
    limits = limiter()
    for number in range(100):
        limits.admit(f"network {number}", START_NS)
    assert limits.networks == 100
    limits.admit("late", START_NS + 6 * SECOND_NS)
    assert limits.networks == 1


def test_no_more_networks_are_kept_than_the_global_limit_lets_through_in_a_minute() -> None:
    limits = limiter(together=50, networks=1000)
    most = 0
    for number in range(20_000):
        limits.admit(f"network {number}", START_NS + number * SECOND_NS // 10)
        most = max(most, limits.networks)
    assert most <= 100


def test_networks_without_room_share_one_bucket() -> None:
    limits = limiter(calls=2, networks=3)
    for name in "abc":
        assert limits.admit(name, START_NS).allowed
    assert [limits.admit(name, START_NS).allowed for name in "defg"] == [True, True, False, False]
    assert limits.networks == 3
    assert limits.admit("a", START_NS).allowed, "those that have a bucket keep it"
    assert limits.admit("d", START_NS + 30 * SECOND_NS).allowed


def test_moving_from_the_shared_bucket_to_an_own_one_buys_nothing() -> None:
    limits = limiter(calls=2, networks=1)
    assert limits.admit("a", START_NS).allowed
    assert [limits.admit("b", START_NS + 29 * SECOND_NS).allowed for _ in range(3)] == [True, True, False]
    assert not limits.admit("b", START_NS + 30 * SECOND_NS).allowed, "the bucket of a is forgotten by now"
    assert limits.admit("b", START_NS + 59 * SECOND_NS).allowed


def test_a_clock_that_starts_at_zero_is_as_good() -> None:
    assert [it.allowed for it in burst(limiter(), "a", 11, 0)] == [True] * 10 + [False]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("calls_per_minute", {"calls": 0}),
        ("calls_per_minute", {"calls": CALLS_PER_MINUTE_MAX + 1}),
        ("global_calls_per_minute", {"together": 0}),
        ("networks_max", {"networks": 0}),
    ],
)
def test_limits_that_limit_nothing_are_refused(name: str, changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=name):
        limiter(**changes)


@given(st.integers(1, CALLS_PER_MINUTE_MAX))
def test_any_rate_has_whole_buckets(calls: int) -> None:
    found = limiter(calls, CALLS_PER_MINUTE_MAX).admit("a", START_NS)
    assert (found.allowed, found.quotas[0].remaining) == (True, calls - 1)


@settings(deadline=None)  # the clock is the test's own; a busy machine is no bug
@example(seed=7, calls=6, together=12, networks=1)
@given(seed=st.integers(0, 2**32), calls=st.integers(1, 20), together=st.integers(1, 200), networks=st.integers(1, 5))
def test_no_minute_brings_more_than_twice_the_limit(seed: int, calls: int, together: int, networks: int) -> None:
    source = random.Random(seed)
    limits = limiter(calls, together, networks)
    now, passed = START_NS, defaultdict(list)
    for _ in range(300):
        now += source.choice([0, 0, 1, SECOND_NS // 7, 3 * SECOND_NS])
        name = source.choice("abcdefg")
        found = limits.admit(name, now)
        assert found.allowed == (found.exceeded == "") == (found.retry_after_ms == 0)
        assert 0 <= found.remaining < min(calls, together) or not found.allowed
        assert limits.networks <= networks
        if found.allowed:
            passed[name].append(now)
            passed["all"].append(now)
    for name, times in passed.items():
        limit = together if name == "all" else calls
        for start in times:
            inside = sum(start <= time < start + MINUTE_NS for time in times)
            assert inside <= 2 * limit
