"""Cross-origin requests (WHATWG Fetch, "CORS protocol"): which web pages may call REST from a browser.

Browsers ask first, without a credential, so the answer says nothing but what any page may know. Cookies prove nothing here and
are never asked for, and a page of another machine never passes for the local user, whether its origin is listed or not
(`driftlock.accounts.access`).
"""

from collections.abc import Sequence
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Receive, Scope, Send

from api.headers import ANSWERED
from api.middleware import request_id_of
from api.problems import problem_response
from driftlock.accounts.origins import PREFLIGHT_AGE_S
from driftlock.errors import DriftlockError, InvalidArgument, OriginNotAllowed

SETTING = "DRIFTLOCK_CORS_ORIGINS"
SHOWN_CHARS_MAX = 200
"""Of what a browser has sent, in an answer."""

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
EXPOSED = tuple(sorted(header.name.lower() for header in ANSWERED))


def cors(origins: Sequence[str]) -> list[Middleware]:
    """What answers for the origins, each of them by name; nothing for none."""
    if not origins:
        return []
    return [
        Middleware(
            Preflights,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=ASKED,
            expose_headers=EXPOSED,
            max_age=PREFLIGHT_AGE_S,
        )
    ]


class Preflights(CORSMiddleware):
    """Tells a page that may not call why it may not, as a problem: what Starlette says of it names nothing."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        headers = Headers(scope=scope) if scope["type"] == "http" and scope["method"] == "OPTIONS" else Headers()
        if "origin" not in headers or "access-control-request-method" not in headers:
            await super().__call__(scope, receive, send)
            return
        answer = self.preflight_response(headers)
        if answer.status_code != HTTPStatus.OK:
            told = {
                name: value for name, value in answer.headers.items() if name.startswith("access-control-") or name == "vary"
            }
            refusal = self._refusal(headers)
            answer = problem_response(refusal, instance=scope["path"], request_id=request_id_of(scope))
            answer.headers.update(told)
        await answer(scope, receive, send)

    def _refusal(self, headers: Headers) -> DriftlockError:
        origin = headers["origin"]
        if not self.is_allowed_origin(origin):
            text = f"pages of {_shown(origin)} may not call this server: its operator lists the origins that may in {SETTING}"
            return OriginNotAllowed(text)
        method = headers["access-control-request-method"]
        if method not in METHODS:
            return InvalidArgument(f"pages may not send the method {_shown(method)}; they may send {', '.join(METHODS)}")
        asked = (name.strip().lower() for name in headers.get("access-control-request-headers", "").split(","))
        foreign = sorted({name for name in asked if name and name not in self.allow_headers})
        if foreign:
            return InvalidArgument(f"pages may not send the headers {_shown(', '.join(foreign))}; see {', '.join(ASKED)}")
        return InvalidArgument("pages of public networks may not call a server of a private one")


def _shown(text: str) -> str:
    return text[:SHOWN_CHARS_MAX]
