"""Signing up, and who one is. For people alone: keys belong to an account from the start."""

from api import people_models as bodies
from api.client_network import client_network
from api.credentials import Caller
from api.endpoint import Call, Endpoint, Repeated, Reply
from api.people import PeopleDeps
from api.rfc3339 import datetime_of_ns, ns_of_datetime, rfc3339
from driftlock.accounts.keys import RANDOMNESS_BYTES, KeyKind, mint
from driftlock.accounts.people import Membership, check_verified
from driftlock.errors import Code, Internal, RateLimited
from driftlock.storage.accounts import month_of


async def sign_up(call: Call) -> Reply:
    """The account that this person has founded, made now if there is none."""
    deps, people, identity = call.deps, people_of(call), call.identity
    check_verified(identity)
    decision = people.sign_ups.admit(client_network(call.request.scope, deps.trusted_proxies), people.monotonic_ns())
    if not decision.allowed:
        text = "too many people sign up from your network, or at all, at this moment: retry later"
        raise RateLimited(text, retry_after_ms=decision.retry_after_ms)
    minted = mint(KeyKind.LIVE, deps.randomness(RANDOMNESS_BYTES))
    found = await people.users.sign_up(identity, call.body(bodies.SignUpRequest).name, minted, call.actor)
    body = bodies.SignUp(
        account=account_ref(found.membership),
        role=bodies.RoleName(found.membership.role),
        created=found.created,
        api_key=minted.text if found.created else None,
    )
    if not found.created:
        return Reply(body)
    people.directory.forget()
    return Reply(body, 201, {"Location": "/v1/account"})


async def get_me(call: Call) -> Reply:
    """Who has signed in, and their accounts."""
    deps, people, identity = call.deps, people_of(call), call.identity
    now = datetime_of_ns(deps.now_ns())
    person = await people.directory.lookup(identity.key, now)
    tenant_ids = [membership.tenant_id for membership in person.memberships]
    records = await people.users.records_since(tenant_ids, month_of(now)) if tenant_ids else {}
    user = bodies.User(
        id=person.user_id,
        email=identity.email or None,
        email_verified=identity.email_verified,
        name=identity.name or None,
    )
    memberships = tuple(
        bodies.MyMembership(
            account=account_ref(membership),
            role=bodies.RoleName(membership.role),
            since=rfc3339(ns_of_datetime(membership.since)),
            records_this_month=records.get(membership.tenant_id, 0),
        )
        for membership in person.memberships
    )
    return Reply(bodies.Me(user=user, memberships=memberships))


def people_of(call: Call) -> PeopleDeps:
    """Where people are known; an endpoint that is for people is answered only where they sign in."""
    if call.deps.people is None:
        raise Internal("an endpoint for people was run where nobody signs in")
    return call.deps.people


def account_ref(membership: Membership) -> bodies.AccountRef:
    """An account as people see it."""
    return bodies.AccountRef(id=membership.tenant_id, name=membership.tenant_name, plan=membership.plan)


ENDPOINTS = (
    Endpoint(
        "POST",
        "/v1/auth/signup",
        "signUp",
        "people",
        "Make an account of one's own, or find the one that was made",
        sign_up,
        {200: bodies.SignUp, 201: bodies.SignUp},
        request=bodies.SignUpRequest,
        problems=(Code.EMAIL_UNVERIFIED, Code.CONFLICT, Code.RATE_LIMITED),
        repeated=Repeated.SAME,
        caller=Caller.PERSON,
        fresh_login=True,
    ),
    Endpoint(
        "GET",
        "/v1/auth/me",
        "getMe",
        "people",
        "Who has signed in, and the accounts that they are in",
        get_me,
        {200: bodies.Me},
        caller=Caller.PERSON,
    ),
)
