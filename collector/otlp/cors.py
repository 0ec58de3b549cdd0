"""Cross-origin requests (WHATWG Fetch, "CORS protocol"): which web pages may send telemetry from a browser.

Browsers ask first, with a request that carries no key; so the answer says nothing but what any page may know. What a page
may send is still decided by its key: that an origin is listed here proves nothing.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

ORIGINS_MAX = 64
PREFLIGHT_AGE_S = 7200
"""How long a browser may remember what it was told; no browser remembers longer."""
NO_ORIGINS = "off"
ANY_ORIGIN = "*"


def parse_origins(text: str) -> tuple[str, ...]:
    """Origins separated by commas, `*` for any, `off` for none. Raises `ValueError` that says what to write.

    >>> parse_origins("https://shop.example, http://localhost:3000"), parse_origins("off")
    (('https://shop.example', 'http://localhost:3000'), ())
    """
    if text == NO_ORIGINS:
        return ()
    origins = tuple(part.strip() for part in text.split(","))
    if origins == (ANY_ORIGIN,):
        return origins
    if len(origins) > ORIGINS_MAX:
        raise ValueError(f"use at most {ORIGINS_MAX} origins, or * for any")
    for origin in origins:
        if not _is_origin(origin):
            raise ValueError(
                "use origins as browsers send them, such as https://shop.example, separated by commas, or *, or off"
            )
    return origins


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


def _is_origin(text: str) -> bool:
    """Whether a browser would send it so: scheme and host in lower case, a port unless it is the usual one, nothing more."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    if not host or not host.isascii() or usual is None or port == usual:
        return False
    return text == f"{parts.scheme}://{host}" + (f":{port}" if port is not None else "")
