"""How often a network may call, in memory: the generic cell rate algorithm (GCRA; ITU-T I.371, "virtual scheduling").

GCRA is a token bucket that needs one number: the time at which the bucket will be full again. A bucket of n calls that
gives one back every 60/n seconds lets n calls through at once and n a minute for ever after. Every process counts for
itself, and nothing survives a restart.
"""

from collections import OrderedDict
from dataclasses import dataclass

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
        """Calls that the network may make now."""
        return min(quota.remaining for quota in self.quotas)

    def headers(self) -> dict[str, str]:
        """RateLimit-Policy and RateLimit as draft-ietf-httpapi-ratelimit-headers has them since its revision 08.

        `q` calls in `w` seconds; `r` calls are left, and `t` seconds until all `q` are.
        """
        return {
            "RateLimit-Policy": ", ".join(f'"{it.policy}";q={it.calls_per_minute};w={WINDOW_S}' for it in self.quotas),
            "RateLimit": ", ".join(f'"{it.policy}";r={it.remaining};t={it.full_in_s}' for it in self.quotas),
        }


class RateLimiter:
    """A limit for each network and one for all together; a call has to pass both, and counts in both or in neither.

    At most `networks_max` networks have a bucket of their own. Buckets that are full again are forgotten, the least recently
    used first, because forgetting them changes nothing. When there is no room, networks without a bucket share one, so that
    many addresses buy less and not more. As a bucket is full again after a minute, and the global limit lets at most twice
    `global_calls_per_minute` calls through in one, it never comes to that if `networks_max` is larger.
    """

    def __init__(self, *, calls_per_minute: int, global_calls_per_minute: int, networks_max: int) -> None:
        for name, value in (("calls_per_minute", calls_per_minute), ("global_calls_per_minute", global_calls_per_minute)):
            if not 1 <= value <= CALLS_PER_MINUTE_MAX:
                raise ValueError(f"{name} must be from 1 to {CALLS_PER_MINUTE_MAX}")
        if networks_max < 1:
            raise ValueError("networks_max must be at least 1")
        self._network = _Policy("network", calls_per_minute)
        self._global = _Policy("global", global_calls_per_minute)
        self._networks_max = networks_max
        self._full_at_ns: OrderedDict[str, int] = OrderedDict()  # least recently admitted network first
        self._others_full_at_ns = 0
        self._all_full_at_ns = 0

    @property
    def networks(self) -> int:
        """Networks with a bucket of their own."""
        return len(self._full_at_ns)

    def admit(self, network: str, now_ns: int) -> Decision:
        """Decide about a call at `now_ns` of a clock that never goes back, and count it if it is allowed."""
        self._forget_full(now_ns)
        own = network in self._full_at_ns or len(self._full_at_ns) < self._networks_max
        # A new bucket is as empty as the shared one: going from one to the other must not buy calls.
        before = self._full_at_ns.get(network, self._others_full_at_ns)
        waits = {
            self._network.name: self._network.wait_ns(before, now_ns),
            self._global.name: self._global.wait_ns(self._all_full_at_ns, now_ns),
        }
        exceeded = max(waits, key=lambda name: waits[name])
        allowed = waits[exceeded] == 0
        after = before
        if allowed:
            after = self._network.full_at_ns(before, now_ns)
            self._all_full_at_ns = self._global.full_at_ns(self._all_full_at_ns, now_ns)
            if own:
                self._full_at_ns[network] = after
                self._full_at_ns.move_to_end(network)
            else:
                self._others_full_at_ns = after
        return Decision(
            allowed=allowed,
            retry_after_ms=-(-waits[exceeded] // 1_000_000),
            exceeded="" if allowed else exceeded,
            quotas=(self._network.quota(after, now_ns), self._global.quota(self._all_full_at_ns, now_ns)),
        )

    def _forget_full(self, now_ns: int) -> None:
        """Drop networks from the old end whose buckets are full; each call adds at most one, so this is cheap on average."""
        while self._full_at_ns:
            network, full_at_ns = next(iter(self._full_at_ns.items()))
            if full_at_ns > now_ns:
                return
            del self._full_at_ns[network]


class _Policy:
    """The arithmetic of one bucket, in whole nanoseconds; its only state is the time at which it is full again."""

    def __init__(self, name: str, calls_per_minute: int) -> None:
        self.name = name
        self._calls = calls_per_minute
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
        remaining = (self._bucket_ns - missing_ns) // self._call_ns
        return Quota(self.name, self._calls, remaining, -(-missing_ns // 1_000_000_000))
