"""Short names of streams: readable in a URL, on a command line and in a list."""

import hashlib
import re
import unicodedata

from driftlock.engine.event import TRACES_SERVICE, Signal, StreamKey

SLUG_BYTES_MAX = 256
HASH_DIGITS = 10
# Letters and digits of any script stay; separators, controls and direction marks become a dash.
UNREADABLE = re.compile(r"[^\w.\-]+")


def slug(key: StreamKey) -> str:
    """The preferred name of a stream; two keys may share it.

    >>> slug(StreamKey(Signal.LOGS, "checkout", "shop", "prod"))
    'shop.checkout.prod'
    >>> slug(StreamKey(Signal.METRICS, "checkout"))
    'checkout-metrics'
    """
    if key.signal is Signal.TRACES and key.service == TRACES_SERVICE:
        environment = f".{_readable(StreamKey(key.signal, key.environment))}" if key.environment else ""
        return _cut(TRACES_SERVICE + environment, SLUG_BYTES_MAX)
    suffix = "" if key.signal is Signal.LOGS else f"-{key.signal}"
    return _cut(_readable(key), SLUG_BYTES_MAX - len(suffix)) + suffix


def unique_slug(key: StreamKey) -> str:
    """A name for when `slug` is taken: it ends in a hash of the whole key.

    >>> unique_slug(StreamKey(Signal.LOGS, "check out"))
    'check-out-a27a5b18b9'
    """
    parts = (key.signal.value, key.service, key.namespace, key.environment)
    # Lengths keep ("ab", "c") apart from ("a", "bc").
    framed = b"".join(len(raw).to_bytes(4, "big") + raw for raw in (part.encode("utf-8", "replace") for part in parts))
    suffix = f"-{hashlib.sha256(framed).hexdigest()[:HASH_DIGITS]}"
    return _cut(_readable(key), SLUG_BYTES_MAX - len(suffix)) + suffix


def _readable(key: StreamKey) -> str:
    text = ".".join(part for part in (key.namespace, key.service, key.environment) if part)
    # A leading underscore is kept for names of our own, such as _overflow.
    return UNREADABLE.sub("-", unicodedata.normalize("NFC", text)).strip("-._") or "stream"


def _cut(text: str, bytes_max: int) -> str:
    return text.encode("utf-8", "replace")[:bytes_max].decode("utf-8", "ignore")
