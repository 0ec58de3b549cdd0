"""Headers of requests and answers: their names, what they say, and which answers must have which.

Code that reads or sends a header takes its name from here, and so do the OpenAPI document and what pages of other origins may
send and read: a header that is missing here can not be served and stay untold.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType

TEXT: Mapping[str, object] = MappingProxyType({"type": "string"})
KEY_CHARS_MAX = 255


@dataclass(frozen=True, slots=True)
class Header:
    """One header field. `schema` is that of its value, as OpenAPI has it."""

    name: str
    words: str
    schema: Mapping[str, object] = field(default_factory=lambda: TEXT)


def _whole(least: int) -> Mapping[str, object]:
    return MappingProxyType({"type": "integer", "minimum": least})


IDEMPOTENCY_KEY = Header(
    "Idempotency-Key",
    f"At most {KEY_CHARS_MAX} printable ASCII characters. A request that comes again with its key within 24 hours is not done "
    "again: it gets the stored answer, with `Idempotency-Replayed: true`. Another request with the same key is refused (422), "
    "and one that comes while the first is at work as well (409).",
    MappingProxyType({"type": "string", "minLength": 1, "maxLength": KEY_CHARS_MAX}),
)
IF_MATCH = Header("If-Match", "Entity tags: nothing is changed (412) unless the resource has one of them.")

REQUEST_ID = Header(
    "X-Request-ID",
    "Id of the request, as the server's log has it: the one that came with the request if it is well-formed, else a new one.",
    MappingProxyType({"type": "string", "minLength": 1, "maxLength": 128}),
)
RATE_POLICY = Header(
    "RateLimit-Policy",
    "Limits that the request was counted in, as draft-ietf-httpapi-ratelimit-headers has them: `q` requests in `w` seconds.",
)
RATE = Header("RateLimit", "What is left of these limits: `r` requests now, and all of them in `t` seconds.")
RATE_LIMIT = Header("X-RateLimit-Limit", "Requests a minute of the limit that is closest to its end.", _whole(1))
RATE_REMAINING = Header("X-RateLimit-Remaining", "Requests that are left of that limit.", _whole(0))
RATE_RESET = Header("X-RateLimit-Reset", "Seconds until all requests of that limit are back.", _whole(0))
RETRY_AFTER = Header("Retry-After", "Seconds to wait before the request is sent again.", _whole(1))
LOCATION = Header("Location", "Path of what was made, or of where the result will be.")
ETAG = Header("ETag", "Entity tag of the resource, for If-Match.")
REPLAYED = Header(
    "Idempotency-Replayed",
    "The answer is the stored one of an earlier request with the same Idempotency-Key.",
    MappingProxyType({"type": "string", "const": "true"}),
)
CHALLENGE = Header("WWW-Authenticate", "How a credential is shown (RFC 9110, section 11.6.1).")
DISPOSITION = Header("Content-Disposition", "Name of the file (RFC 6266).")
NEXT_CURSOR = Header("X-Next-Cursor", "`cursor` of the next file; not there on the last one.")

RATES = (RATE_POLICY, RATE, RATE_LIMIT, RATE_REMAINING, RATE_RESET)
"""What an answer tells of the limits that every route is under."""
DEMO_RATES = (RATE_POLICY, RATE)
"""What it tells of the limits of the demo."""
ANSWERED = (REQUEST_ID, *RATES, RETRY_AFTER, LOCATION, ETAG, REPLAYED, CHALLENGE, DISPOSITION, NEXT_CURSOR)
"""All of answers."""


def promised(status: int, *, etag: bool) -> tuple[Header, ...]:
    """What a handler's answer of this status must have: 201 says where the new resource is; with `etag` 200 has its tag."""
    if status == HTTPStatus.CREATED:
        return (LOCATION,)
    return (ETAG,) if etag and status == HTTPStatus.OK else ()
