"""How often clients may ask: by key, by account, and by network where nobody says who they are. In memory, per process.

    who says                      counted in
    nothing, where nothing is     the client's network
      asked for
    a good credential             the key or the person, and the account: its plan's requests a minute
    a wrong one, or none where    failures of the client's network; when they are used up, nobody in it is looked up any more,
      one is needed               but for those whose credential was good a moment ago

A wrong credential is refused before anything is looked up once a network has tried too often: guesses cost us nothing then, and
neighbours who are at work are not locked out. Answers carry what is left (`api.ratelimit.Decision`).
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import headers
from api.ratelimit import MINUTE_NS, Ask, Buckets, Decision, Policy, admit
from driftlock.accounts.keys import Principal
from driftlock.accounts.plans import plan_of
from driftlock.errors import RateLimited

PROVEN_NS = 10 * MINUTE_NS
"""How long a credential that was good is known to be no guess."""
_HASH_BYTES = 16
_HEADERS_KEY = "driftlock.rate_limit_headers"


@dataclass(frozen=True, slots=True)
class RateRules:
    """The limits that no plan sets, and how many names are kept in memory. `monotonic_ns` is a clock that never goes back."""

    monotonic_ns: Callable[[], int]
    network_requests_per_minute: int = 300
    network_failures_per_minute: int = 30
    networks_max: int = 50_000
    keys_max: int = 50_000
    tenants_max: int = 50_000
    credentials_max: int = 20_000


class Traffic:
    """The limits of all routes of a process. Every method is O(1)."""

    def __init__(self, rules: RateRules) -> None:
        """Starts with everybody's buckets full."""
        self._now_ns = rules.monotonic_ns
        self._network = Policy("network", rules.network_requests_per_minute)
        self._failures = Policy("failures", rules.network_failures_per_minute)
        self._networks = Buckets(rules.networks_max)
        self._failing = Buckets(rules.networks_max)
        self._keys = Buckets(rules.keys_max)
        self._tenants = Buckets(rules.tenants_max)
        self._proven: OrderedDict[bytes, int] = OrderedDict()
        self._credentials_max = rules.credentials_max

    def anonymous(self, network: str) -> Decision:
        """A request that nobody has to sign."""
        return admit((Ask(self._network, self._networks, network),), self._now_ns())

    def knock(self, network: str, presented: Sequence[str]) -> Decision | None:
        """Before a credential is looked at: a refusal when the network has failed too often, None to go on.

        Who shows nothing goes on: that is no guess, and the local user needs no credential.
        """
        decision = self._failed(network, count=False)
        return None if decision.allowed or not presented or self._is_proven(presented) else decision

    def failed(self, network: str) -> Decision:
        """The credential was wrong, or there was none."""
        return self._failed(network, count=True)

    def known(self, principal: Principal, presented: Sequence[str]) -> Decision | None:
        """A request of somebody who was recognised; None for those without a limit."""
        self._prove(presented)
        asks = []
        plan = plan_of(principal.plan).requests_per_minute
        own = principal.requests_per_minute or plan
        who = principal.key_id if principal.key_id is not None else principal.user_id
        if own is not None and who is not None:
            rate = own if plan is None else min(own, plan)
            asks.append(Ask(Policy("key" if principal.key_id is not None else "user", rate), self._keys, str(who)))
        if plan is not None:
            asks.append(Ask(Policy("tenant", plan), self._tenants, str(principal.tenant_id)))
        return admit(asks, self._now_ns()) if asks else None

    def _failed(self, network: str, *, count: bool) -> Decision:
        return admit((Ask(self._failures, self._failing, network),), self._now_ns(), count=count)

    def _prove(self, presented: Sequence[str]) -> None:
        for text in presented:
            self._proven[_hash(text)] = self._now_ns() + PROVEN_NS
            self._proven.move_to_end(_hash(text))
        while len(self._proven) > self._credentials_max:
            self._proven.popitem(last=False)

    def _is_proven(self, presented: Sequence[str]) -> bool:
        now_ns = self._now_ns()
        return all(self._proven.get(_hash(text), now_ns) > now_ns for text in presented)


def note_decision(scope: Scope, decision: Decision | None) -> None:
    """Let the answer tell what is left; raise `RateLimited` when nothing is."""
    if decision is None:
        return
    scope[_HEADERS_KEY] = headers_of(decision)
    if not decision.allowed:
        raise RateLimited(_refusal(decision), retry_after_ms=decision.retry_after_ms)


def headers_of(decision: Decision) -> Mapping[str, str]:
    """RateLimit-Policy and RateLimit, and the older X-RateLimit-* of the policy that is the closest to its end.

    X-RateLimit-Reset is in seconds from now, as `t` is.
    """
    tightest = min(decision.quotas, key=lambda quota: quota.remaining)
    return {
        **decision.headers(),
        headers.RATE_LIMIT.name: str(tightest.calls_per_minute),
        headers.RATE_REMAINING.name: str(tightest.remaining),
        headers.RATE_RESET.name: str(tightest.full_in_s),
    }


class RateHeaders:
    """ASGI middleware: adds to every answer, refusals and errors included, what `note_decision` has noted."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(scope.get(_HEADERS_KEY, {}))
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _refusal(decision: Decision) -> str:
    calls = {quota.policy: quota.calls_per_minute for quota in decision.quotas}[decision.exceeded]
    texts = {
        "key": f"this API key may ask {calls} times a minute",
        "user": f"you may ask {calls} times a minute",
        "tenant": f"this account may ask {calls} times a minute on its plan",
        "network": f"your network may ask {calls} times a minute without an API key",
        "failures": f"your network has sent more than {calls} wrong credentials a minute: check the API key",
    }
    return f"{texts[decision.exceeded]}; retry later, as Retry-After says"


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_HASH_BYTES).digest()
