"""Cross-origin requests (WHATWG Fetch, "CORS protocol"): which web pages may call REST from a browser.

Browsers ask first, without a credential, so the answer says nothing but what any page may know. Cookies prove nothing here and
are never asked for, and a page of another machine never passes for the local user, whether its origin is listed or not
(`driftlock.accounts.access`).
"""

from collections.abc import Sequence

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from driftlock.accounts.origins import PREFLIGHT_AGE_S

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
ASKED = (
    "authorization",
    "content-type",
    "idempotency-key",
    "if-match",
    "last-event-id",
    "traceparent",
    "tracestate",
    "x-api-key",
    "x-driftlock-tenant",
    "x-request-id",
)
EXPOSED = (
    "etag",
    "idempotency-replayed",
    "location",
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-request-id",
)


def cors(origins: Sequence[str]) -> list[Middleware]:
    """What answers for the origins, each of them by name; nothing for none."""
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=ASKED,
            expose_headers=EXPOSED,
            max_age=PREFLIGHT_AGE_S,
        )
    ]
