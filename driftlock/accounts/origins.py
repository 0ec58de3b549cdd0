"""Origins of web pages, as settings list them and as browsers send them (WHATWG Fetch, "CORS protocol").

That an origin is listed proves nothing: what a request may do is decided by its credential.
"""

from urllib.parse import urlsplit

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
    if text == ANY_ORIGIN:
        return (ANY_ORIGIN,)
    return _origins(text, ", or *, or off")


def parse_named_origins(text: str) -> tuple[str, ...]:
    """As `parse_origins`, for doors where every origin has to be named. Raises `ValueError` for `*` too."""
    return _origins(text, ", or off; each one has to be named")


def _origins(text: str, others: str) -> tuple[str, ...]:
    if text == NO_ORIGINS:
        return ()
    origins = tuple(part.strip() for part in text.split(","))
    if len(origins) > ORIGINS_MAX:
        raise ValueError(f"use at most {ORIGINS_MAX} origins{others}")
    if not all(map(_is_origin, origins)):
        raise ValueError(f"use origins as browsers send them, such as https://shop.example, separated by commas{others}")
    return origins


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
