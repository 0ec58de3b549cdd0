"""`POST /v1/waitlist`: people who want to hear of the hosted service leave their address. Nobody learns who has."""

import re

from api.client_network import client_network
from api.endpoint import Call, Endpoint, Repeated, Reply
from api.plan_models import WaitlistAnswer, WaitlistRequest
from api.problems import BadMembers, ProblemMember
from driftlock.errors import Code, RateLimited

LOCAL_PART_CHARS_MAX = 64
_LOCAL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_EMAIL = re.compile(rf"(?P<local>{_LOCAL})@(?P<domain>(?:{_LABEL}\.)+[A-Za-z](?:[A-Za-z0-9-]{{0,61}}[A-Za-z0-9]))", re.ASCII)


async def join(call: Call) -> Reply:
    """Note an address; the answer is the same for one that is known."""
    views = call.deps.views
    decision = views.waitlist_limiter.admit(client_network(call.request.scope, call.deps.trusted_proxies), views.monotonic_ns())
    if not decision.allowed:
        text = "too many addresses come from your network, or at all, at this moment: retry later"
        raise RateLimited(text, retry_after_ms=decision.retry_after_ms)
    await views.waitlist.add(normal_email(call.body(WaitlistRequest).email))
    return Reply(WaitlistAnswer(status="noted"), 202)


def normal_email(text: str) -> str:
    """The address as it is compared and kept: a dot-atom at a domain name (RFC 5322, section 3.4.1), in lower case.

    Mailboxes that differ in case alone are one and the same everywhere in practice. Raises `BadMembers`.

    >>> normal_email("Ann.Lee@Example.COM")
    'ann.lee@example.com'
    """
    found = _EMAIL.fullmatch(text.strip())
    if found is None or len(found["local"]) > LOCAL_PART_CHARS_MAX:
        detail = "is not an e-mail address such as name@example.com (international ones: in their ASCII form)"
        raise BadMembers([ProblemMember(detail=detail, pointer="/email")])
    return found[0].lower()


ENDPOINTS = (
    Endpoint(
        "POST",
        "/v1/waitlist",
        "joinWaitlist",
        "system",
        "Leave an address to hear of the hosted service",
        join,
        {202: WaitlistAnswer},
        request=WaitlistRequest,
        problems=(Code.RATE_LIMITED, Code.UNAVAILABLE),
        repeated=Repeated.SAME,
    ),
)
