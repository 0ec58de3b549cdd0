"""Lets a bounded number of anonymous requests through: so many a minute, so many at work; and tells clients what is left."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.client_network import Network, client_network
from api.middleware import request_id_of
from api.problems import problem_response
from api.ratelimit import Decision, RateLimiter
from driftlock.errors import RateLimited, Unavailable

_DECISION_KEY = "driftlock.rate_limit"
_SLOTS_KEY = "driftlock.demo_slots"


class Slots:
    """How many requests may be at work at once. Reading a slow body and answering a slow reader are no work."""

    def __init__(self, requests_in_flight_max: int) -> None:
        self._free = self._all = requests_in_flight_max

    @contextmanager
    def hold(self) -> Iterator[None]:
        """One of them; raises `Unavailable` when all are taken."""
        if self._free == 0:
            raise Unavailable(
                f"{self._all} demo requests are under way (demo_requests_in_flight_max); retry", retry_after_ms=1000
            )
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


def slots_of(scope: Scope) -> Slots:
    """The slots of the route that this request came through."""
    slots: Slots = scope[_SLOTS_KEY]
    return slots


def rate_limit_of(scope: Scope) -> Decision:
    """What `Throttle` decided about this request."""
    decision: Decision = scope[_DECISION_KEY]
    return decision


class Throttle:
    """ASGI middleware of one route: decides before anything of the body is read.

    Every answer from inside, and every refusal for the rate, carries RateLimit-Policy and RateLimit. The handler takes one
    of `slots_of(scope)` while it works.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limiter: RateLimiter,
        trusted_proxies: Sequence[Network],
        monotonic_ns: Callable[[], int],
        requests_in_flight_max: int,
    ) -> None:
        """`monotonic_ns` is a clock that never goes back."""
        self._app = app
        self._limiter = limiter
        self._trusted_proxies = tuple(trusted_proxies)
        self._monotonic_ns = monotonic_ns
        self._slots = Slots(requests_in_flight_max)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        decision = self._limiter.admit(client_network(scope, self._trusted_proxies), self._monotonic_ns())
        scope[_DECISION_KEY] = decision
        scope[_SLOTS_KEY] = self._slots
        headers = decision.headers()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        if not decision.allowed:
            response = problem_response(_refusal(decision), instance=scope["path"], request_id=request_id_of(scope))
            await response(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)


def _refusal(decision: Decision) -> RateLimited:
    calls = {quota.policy: quota.calls_per_minute for quota in decision.quotas}[decision.exceeded]
    who = "your network" if decision.exceeded == "network" else "all networks together"
    return RateLimited(
        f"the demo takes {calls} calls a minute from {who}; retry later, or use POST /v1/detect with an API key",
        retry_after_ms=decision.retry_after_ms,
    )
