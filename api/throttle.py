"""Lets a bounded number of anonymous requests through: so many at once, so many a minute; and tells clients what is left."""

from collections.abc import Callable, Sequence

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.client_network import Network, client_network
from api.middleware import request_id_of
from api.problems import problem_response
from api.ratelimit import Decision, RateLimiter
from driftlock.errors import RateLimited, Unavailable

_DECISION_KEY = "driftlock.rate_limit"


def rate_limit_of(scope: Scope) -> Decision:
    """What `Throttle` decided about this request."""
    decision: Decision = scope[_DECISION_KEY]
    return decision


class Throttle:
    """ASGI middleware of one route: decides before anything of the body is read.

    Every answer from inside, and every refusal for the rate, carries RateLimit-Policy and RateLimit. A request that is
    refused because too many are in flight does not count against its network.
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
        self._in_flight_max = requests_in_flight_max
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if self._in_flight >= self._in_flight_max:
            raise Unavailable(
                f"{self._in_flight_max} demo requests are under way (demo_requests_in_flight_max); retry", retry_after_ms=1000
            )
        decision = self._limiter.admit(client_network(scope, self._trusted_proxies), self._monotonic_ns())
        scope[_DECISION_KEY] = decision
        headers = decision.headers()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        if not decision.allowed:
            response = problem_response(_refusal(decision), instance=scope["path"], request_id=request_id_of(scope))
            await response(scope, receive, send_with_headers)
            return
        self._in_flight += 1
        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            self._in_flight -= 1


def _refusal(decision: Decision) -> RateLimited:
    calls = {quota.policy: quota.calls_per_minute for quota in decision.quotas}[decision.exceeded]
    who = "your network" if decision.exceeded == "network" else "all networks together"
    return RateLimited(
        f"the demo takes {calls} calls a minute from {who}; retry later, or use POST /v1/detect with an API key",
        retry_after_ms=decision.retry_after_ms,
    )
