"""An endpoint: the one place where a route's path, scope, query, bodies and words are declared, and how it is run.

The router and the OpenAPI document are both made of `Endpoint`s, and a reply that its endpoint does not declare is an error of
ours, so what is documented is what is served.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeVar
from uuid import UUID

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from api import strict_json
from api.client_network import client_network
from api.credentials import Caller, authenticate, presented_keys
from api.cursors import Cursors
from api.deps import ApiDeps
from api.headers import Header
from api.idempotency import idempotency_key, keyed_request, once
from api.middleware import request_id_of
from api.parsing import Query, check_content, members_of, off_loop, parse_query, pointer
from api.problems import BadMembers
from api.reception import Reception
from api.replies import JSON_MEDIA_TYPE, Declared, Reply, response_of
from api.rfc3339 import datetime_of_ns
from api.signin import identity_of
from api.traffic import Traffic, note_decision
from driftlock.accounts.actor import Actor, ActorKind
from driftlock.accounts.keys import Principal, Role, Scope
from driftlock.accounts.metering import Because, Refusal
from driftlock.accounts.people import Identity
from driftlock.engine.event import Signal
from driftlock.errors import Code, Internal, Unauthenticated, Unavailable

__all__ = ["JSON_MEDIA_TYPE", "Call", "Endpoint", "Query", "Repeated", "Reply", "Runner", "off_loop", "parse_query", "pointer"]

PARSING = Because({Code.INVALID_ARGUMENT: Refusal.MALFORMED})

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way through a handler."""

    deps: ApiDeps
    cursors: Cursors
    request: Request
    request_id: str
    who: Principal | None
    query_model: Query
    body_model: BaseModel | None
    brings: Reception | None
    person: Identity | None = None
    claim: UUID | None = None

    @property
    def principal(self) -> Principal:
        """Who is asking; only for endpoints with a scope."""
        if self.who is None:
            raise Internal("an endpoint without a scope asked for a principal")
        return self.who

    @property
    def identity(self) -> Identity:
        """Who has signed in; only for endpoints that are for a person."""
        if self.person is None:
            raise Internal("an endpoint that is not for people asked for one")
        return self.person

    @property
    def actor(self) -> Actor:
        """Who is asking, as the audit log says it; only for endpoints with a scope, or for a person (without an id then)."""
        network = client_network(self.request.scope, self.deps.trusted_proxies)
        if self.person is not None:
            return Actor(ActorKind.USER, "", self.person.email or self.person.name, self.request_id, network)
        who = self.principal
        if who.user_id is not None:
            return Actor(ActorKind.USER, str(who.user_id), who.name, self.request_id, network, self.claim)
        if who.key_id is not None:
            return Actor(ActorKind.KEY, who.key_id, who.name, self.request_id, network, self.claim)
        return Actor(ActorKind.LOCAL, "", "", self.request_id, network, self.claim)

    @property
    def reception(self) -> Reception:
        """Where the records of the request are counted; only for endpoints with a signal."""
        if self.brings is None:
            raise Internal("an endpoint without a signal has received records")
        return self.brings

    def path(self, name: str) -> str:
        """A parameter of the path, decoded."""
        value: str = self.request.path_params[name]
        return value

    def query(self, model: type[Model]) -> Model:
        """The query string, checked against the endpoint's model."""
        return _as(self.query_model, model)

    def body(self, model: type[Model]) -> Model:
        """The body, checked against the endpoint's model."""
        return _as(self.body_model, model)


class Repeated(StrEnum):
    """What becomes of a POST that comes again where the endpoint keeps no answers (`Endpoint.idempotent`)."""

    COUNTED_ONCE = "counted_once"
    """The Idempotency-Key is kept with the events: they count once, and the answer says so."""
    SAME = "same"
    """Nothing is done that was done already, so it needs no key."""
    NOTHING_STORED = "nothing_stored"
    """It changes nothing, so it may come as often as anybody likes."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One route. `scope` None = nobody has to say who they are; `responses` maps a status to what it answers.

    `role` is the least that a person needs, None: the one that has the scope.

    `demo`: work for people who do not say who they are, so it is throttled and has limits of its own, and it is only there
    where `ApiDeps.demo` is set. `signal`: records of it come in, and are counted. `problems` are codes that it
    answers with besides those that follow from the rest. `etag`: answers of 200 carry one, and a method that changes honours
    If-Match (`api.etag.check_if_match`). `idempotent`: a request that comes again with its Idempotency-Key gets its stored
    answer; what else becomes of a POST that comes again is `repeated`.

    `reply_headers` are headers that an answer of a status may have besides those that follow from the rest.

    `caller`: whether it is for people alone; it needs no scope where it is for a person outside of any account. `fresh_login`:
    a person's sign-in has to stand still, which is asked of the sign-in provider, or to be recent.

    `unlimited`: it is never refused for its rate, as health checks must not be. `demo` has limits of its own.
    """

    method: str
    path: str
    name: str
    tag: str
    summary: str
    handler: Callable[[Call], Awaitable[Reply]] = field(repr=False)
    responses: Mapping[int, Declared]
    scope: Scope | None = None
    role: Role | None = None
    query: type[Query] = Query
    request: type[BaseModel] | None = None
    path_parameters: Mapping[str, str] = field(default_factory=dict)
    header_parameters: Mapping[str, str] = field(default_factory=dict)
    demo: bool = False
    signal: Signal | None = None
    problems: tuple[Code, ...] = ()
    etag: bool = False
    idempotent: bool = False
    repeated: Repeated | None = None
    reply_headers: Mapping[int, tuple[Header, ...]] = field(default_factory=dict)
    caller: Caller = Caller.ANYBODY
    fresh_login: bool = False
    unlimited: bool = False


class Runner:
    """Runs endpoints: who is asking, then what they ask for, then the handler, then the reply it promised."""

    def __init__(self, deps: ApiDeps) -> None:
        self._deps = deps
        self._cursors = Cursors(deps.cursor_key)
        self._bodies_in_flight = 0
        self._traffic = None if deps.rates is None else Traffic(deps.rates)

    def route(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        """The handler that the router calls. Raises ValueError for an endpoint that contradicts itself."""
        kept = all(body is None or isinstance(body, type) for body in endpoint.responses.values())
        if endpoint.idempotent and (endpoint.scope is None or endpoint.method != "POST" or not kept):
            raise ValueError(f"{endpoint.name}: an Idempotency-Key is for a POST of an account that answers JSON or nothing")

        async def run(request: Request) -> Response:
            if endpoint.signal is None:
                return await self._run(endpoint, request, None)
            reception = Reception(self._deps.meter, endpoint.signal)
            try:
                return await self._run(endpoint, request, reception)
            except (Exception, asyncio.CancelledError) as error:
                reception.refused(error)
                raise

        return run

    async def _run(self, endpoint: Endpoint, request: Request, reception: Reception | None) -> Response:
        deps, body = self._deps, None
        who, person = await self._limited(endpoint, request)
        if who is not None and reception is not None:
            reception.tenant_id = who.tenant_id
        query = parse_query(request, endpoint.query)
        if endpoint.request is not None:
            body = await self._body(request, endpoint.request, reception)
        call = Call(deps, self._cursors, request, request_id_of(request.scope), who, query, body, reception, person)
        reply = await (self._once(endpoint, call) if endpoint.idempotent else endpoint.handler(call))
        if isinstance(reply, Response):
            return reply
        return response_of(endpoint.name, endpoint.responses, reply, etag=endpoint.etag)

    async def _limited(self, endpoint: Endpoint, request: Request) -> tuple[Principal | None, Identity | None]:
        """Who is asking, as far as they may ask now; raise `RateLimited` when they have asked too often."""
        traffic = None if endpoint.demo or endpoint.unlimited else self._traffic
        if traffic is None:
            return await self._caller(endpoint, request)
        network = client_network(request.scope, self._deps.trusted_proxies)
        if endpoint.scope is None and endpoint.caller is not Caller.PERSON:
            note_decision(request.scope, traffic.anonymous(network))
            return None, None
        presented = presented_keys(request)
        note_decision(request.scope, traffic.knock(network, presented))
        try:
            who, person = await self._caller(endpoint, request)
        except Unauthenticated:
            note_decision(request.scope, traffic.failed(network))
            raise
        note_decision(request.scope, traffic.anonymous(network) if who is None else traffic.known(who, presented))
        return who, person

    async def _caller(self, endpoint: Endpoint, request: Request) -> tuple[Principal | None, Identity | None]:
        """Who is asking: a principal where there is a scope, a person where the endpoint is for people."""
        deps, now = self._deps, datetime_of_ns(self._deps.now_ns())
        if endpoint.scope is not None:
            people, caller, fresh = deps.people, endpoint.caller, endpoint.fresh_login
            asked = (request, deps.access, endpoint.scope, now, endpoint.role)
            return await authenticate(*asked, people=people, caller=caller, fresh=fresh), None
        if endpoint.caller is Caller.PERSON:
            person, _ = await identity_of(presented_keys(request), deps.people, now, fresh=endpoint.fresh_login)
            return None, person
        return None, None

    async def _once(self, endpoint: Endpoint, call: Call) -> Reply | Response:
        """The handler's reply, or the one that was kept for the request's Idempotency-Key."""
        key, store = idempotency_key(call.request, self._deps.limits.idempotency_key_chars_max), self._deps.idempotency
        if key is None:
            return await endpoint.handler(call)
        if store is None:
            raise Internal("there is nowhere to keep the answer of an Idempotency-Key")
        request, claim = keyed_request(endpoint.name, key, call.request, call.body_model), UUID(bytes=self._deps.randomness(16))
        claimed = replace(call, claim=claim)
        return await once(store, call.principal.tenant_id, request, claim, lambda: endpoint.handler(claimed))

    async def _body(self, request: Request, model: type[Model], reception: Reception | None) -> Model:
        """Read and check a JSON body; raise `Unavailable` when too many are being read already."""
        check_content(request)
        limit = self._deps.limits.bodies_in_flight_max
        if self._bodies_in_flight >= limit:
            text = f"{limit} bodies are being read already (bodies_in_flight_max); retry"
            raise Unavailable(text, retry_after_ms=1000, reason=Refusal.OVERLOADED)
        self._bodies_in_flight += 1
        try:
            raw = await request.body()
            if reception is not None:
                reception.request_bytes = len(raw)
            return await off_loop(len(raw), lambda: self._parse(raw, model))
        finally:
            self._bodies_in_flight -= 1

    def _parse(self, raw: bytes, model: type[Model]) -> Model:
        with PARSING:
            value = strict_json.parse(raw, self._deps.json_limits)
        try:
            return model.model_validate(value, strict=True)
        except ValidationError as error:
            raise BadMembers(members_of(error, pointers=True)) from None


def _as(value: BaseModel | None, model: type[Model]) -> Model:
    if not isinstance(value, model):
        raise Internal(f"the endpoint does not declare {model.__name__}")
    return value
