"""When a request is sent again, and after how long."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from driftlock_client.errors import ApiError

AGAIN = frozenset({429, 503})
"""Refused before anything was done."""
AGAIN_IF_REPEATABLE = frozenset({502, 504})
"""Something on the way gave up: nobody knows what was done."""
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
BROKEN = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError, httpx.ProxyError)


@dataclass(frozen=True, slots=True)
class Retry:
    """`attempts_max` requests at most, the first one included; 1 = never again.

    Between them is a random time of up to `backoff_s`, twice as much each time, up to `backoff_s_max` ("full jitter"), after
    what the server asked for with Retry-After. One that asks for more than `retry_after_s_max` is not waited for.
    """

    attempts_max: int = 5
    backoff_s: float = 0.5
    backoff_s_max: float = 20.0
    retry_after_s_max: float = 60.0

    def wait_s(self, attempt: int, retry_after_s: float | None, chance: float) -> float | None:
        """Seconds to wait after the attempt `attempt` (1, 2, ...), None to give up. `chance` is in [0, 1)."""
        if attempt >= self.attempts_max or (retry_after_s or 0.0) > self.retry_after_s_max:
            return None
        return (retry_after_s or 0.0) + chance * self.backoff(attempt)

    def backoff(self, attempt: int) -> float:
        """The longest time to wait after the attempt `attempt`, in seconds."""
        return min(self.backoff_s_max, self.backoff_s * 2.0 ** min(attempt - 1, 60))


def worth_it(error: ApiError | httpx.HTTPError, *, repeatable: bool) -> bool:
    """Whether sending the same again may help, and can not do the same twice."""
    if isinstance(error, ApiError):
        return error.status in AGAIN or (repeatable and error.status in AGAIN_IF_REPEATABLE)
    return isinstance(error, NEVER_SENT) or (repeatable and isinstance(error, BROKEN))
