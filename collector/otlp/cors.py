"""Cross-origin requests (WHATWG Fetch, "CORS protocol"): which web pages may send telemetry from a browser.

Browsers ask first, with a request that carries no key; so the answer says nothing but what any page may know. What a page
may send is still decided by its key: that an origin is listed here proves nothing.
"""

from collections.abc import Sequence

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from driftlock.accounts.origins import PREFLIGHT_AGE_S


def cors(origins: Sequence[str]) -> list[Middleware]:
    """What answers for the origins; nothing for none. Cookies are never asked for: they prove nothing here."""
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=("POST",),
            allow_headers=("authorization", "content-encoding", "x-api-key"),
            expose_headers=("retry-after",),
            max_age=PREFLIGHT_AGE_S,
        )
    ]
