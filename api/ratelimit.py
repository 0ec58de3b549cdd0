"""How often somebody may call, in memory: the generic cell rate algorithm (GCRA; ITU-T I.371, "virtual scheduling").

GCRA is a token bucket that needs one number: the time at which the bucket will be full again. A bucket of n calls that
gives one back every 60/n seconds lets n calls through at once and n a minute for ever after. Every process counts for
itself, and nothing survives a restart.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from api import headers

MINUTE_NS = 60_000_000_000
WINDOW_S = 60
CALLS_PER_MINUTE_MAX = 1_000_000
"""Above this a call would take less than what a clock can tell apart."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What is left of one policy: `remaining` calls now, all of them back in `full_in_s` seconds if none is made."""

    policy: str
    calls_per_minute: int
    remaining: int
    full_in_s: int


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a call may be made, and what is left; a refused call costs nothing and would pass in `retry_after_ms`."""

    allowed: bool
    retry_after_ms: int
    exceeded: str
    quotas: tuple[Quota, ...]

    @property
    def remaining(self) -> int:
        """Calls that may be made now."""
        return min(quota.remaining for quota in self.quotas)

    def headers(self) -> dict[str, str]:
        """RateLimit-Policy and RateLimit as draft-ietf-httpapi-ratelimit-headers has them since its revision 08.

        `q` calls in `w` seconds; `r` calls are left, and `t` seconds until all `q` are.
        """
        return {
            headers.RATE_POLICY.name: ", ".join(f'"{it.policy}";q={it.calls_per_minute};w={WINDOW_S}' for it in self.quotas),
            headers.RATE.name: ", ".join(f'"{it.policy}";r={it.remaining};t={it.full_in_s}' for it in self.quotas),
        }


class Policy:
    """The arithmetic of one bucket, in whole nanoseconds; its only state is the time at which it is full again."""

    __slots__ = ("_bucket_ns", "_call_ns", "calls", "name")

    def __init__(self, name: str, calls_per_minute: int) -> None:
        """Raises ValueError for less than one call a minute, or more than a clock can tell apart."""
        if not 1 <= calls_per_minute <= CALLS_PER_MINUTE_MAX:
            raise ValueError(f"{name} must be from 1 to {CALLS_PER_MINUTE_MAX} calls a minute")
        self.name = name
        self.calls = calls_per_minute
        self._call_ns = MINUTE_NS // calls_per_minute
        self._bucket_ns = self._call_ns * calls_per_minute

    def wait_ns(self, full_at_ns: int, now_ns: int) -> int:
        """How long until one more call fits; 0 = now."""
        return max(0, max(full_at_ns - now_ns, 0) + self._call_ns - self._bucket_ns)

    def full_at_ns(self, full_at_ns: int, now_ns: int) -> int:
        """When the bucket is full again after one more call."""
        return max(full_at_ns, now_ns) + self._call_ns

    def quota(self, full_at_ns: int, now_ns: int) -> Quota:
        """What a client is told."""
        missing_ns = max(full_at_ns - now_ns, 0)
        remaining = max(0, (self._bucket_ns - missing_ns) // self._call_ns)
        return Quota(self.name, self.calls, remaining, -(-missing_ns // 1_000_000_000))


class Buckets:
    """Buckets by their names, at most `entries_max` of them; further ones share one, so that many names buy less and not more.

    Buckets that are full again are forgotten, the least recently used first, because forgetting them changes nothing. As a
    bucket is full again after a minute, that makes room for whoever calls in this one.
    """

    def __init__(self, entries_max: int) -> None:
        """Starts with all buckets full. Raises ValueError for a limit of nothing."""
        if entries_max < 1:
            raise ValueError("entries_max must be at least 1")
        self._entries_max = entries_max
        self._full_at_ns: OrderedDict[str, int] = OrderedDict()  # least recently admitted first
        self._others_full_at_ns = 0

    def __len__(self) -> int:
        """Buckets of their own."""
        return len(self._full_at_ns)

    def full_at_ns(self, name: str) -> int:
        """When the bucket of `name` is full again.

        A new bucket is as empty as the shared one: going from one to the other must not buy calls.
        """
        return self._full_at_ns.get(name, self._others_full_at_ns)

    def put(self, name: str, full_at_ns: int) -> None:
        """Write down a call."""
        if name in self._full_at_ns or len(self._full_at_ns) < self._entries_max:
            self._full_at_ns[name] = full_at_ns
            self._full_at_ns.move_to_end(name)
        else:
            self._others_full_at_ns = full_at_ns

    def forget_full(self, now_ns: int) -> None:
        """Drop buckets from the old end that are full; each call adds at most one, so this is cheap on average."""
        while self._full_at_ns:
            name, full_at_ns = next(iter(self._full_at_ns.items()))
            if full_at_ns > now_ns:
                return
            del self._full_at_ns[name]


@dataclass(frozen=True, slots=True)
class Ask:
    """One more call of `name` under a policy, in the buckets of its kind."""

    policy: Policy
    buckets: Buckets
    name: str


def admit(asks: Sequence[Ask], now_ns: int, *, count: bool = True) -> Decision:
    """Decide about a call that has to pass all of `asks`; it counts in all of them or in none.

    `now_ns` is of a clock that never goes back. Without `count` it is only said whether the call would pass.
    """
    for ask in asks:
        ask.buckets.forget_full(now_ns)
    before = [ask.buckets.full_at_ns(ask.name) for ask in asks]
    waits = [ask.policy.wait_ns(at, now_ns) for ask, at in zip(asks, before, strict=True)]
    longest = max(range(len(asks)), key=lambda number: waits[number])
    allowed, after = waits[longest] == 0, before
    if allowed and count:
        after = [ask.policy.full_at_ns(at, now_ns) for ask, at in zip(asks, before, strict=True)]
        for ask, at in zip(asks, after, strict=True):
            ask.buckets.put(ask.name, at)
    return Decision(
        allowed=allowed,
        retry_after_ms=-(-waits[longest] // 1_000_000),
        exceeded="" if allowed else asks[longest].policy.name,
        quotas=tuple(ask.policy.quota(at, now_ns) for ask, at in zip(asks, after, strict=True)),
    )


class RateLimiter:
    """A limit for each network and one for all together; a call has to pass both, and counts in both or in neither.

    At most `networks_max` networks have a bucket of their own (`Buckets`). As a bucket is full again after a minute, and the
    global limit lets at most twice `global_calls_per_minute` calls through in one, networks never have to share one if
    `networks_max` is larger.
    """

    def __init__(self, *, calls_per_minute: int, global_calls_per_minute: int, networks_max: int) -> None:
        for name, value in (("calls_per_minute", calls_per_minute), ("global_calls_per_minute", global_calls_per_minute)):
            if not 1 <= value <= CALLS_PER_MINUTE_MAX:
                raise ValueError(f"{name} must be from 1 to {CALLS_PER_MINUTE_MAX}")
        if networks_max < 1:
            raise ValueError("networks_max must be at least 1")
        self._network = Policy("network", calls_per_minute)
        self._global = Policy("global", global_calls_per_minute)
        self._networks = Buckets(networks_max)
        self._all = Buckets(1)

    @property
    def networks(self) -> int:
        """Networks with a bucket of their own."""
        return len(self._networks)

    def admit(self, network: str, now_ns: int) -> Decision:
        """Decide about a call at `now_ns` of a clock that never goes back, and count it if it is allowed."""
        return admit((Ask(self._network, self._networks, network), Ask(self._global, self._all, "all")), now_ns)
