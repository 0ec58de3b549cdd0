"""An endpoint: the one place where a route's path, scope, query, bodies and words are declared, and how it is run.

The router and the OpenAPI document are both made of `Endpoint`s, and a reply that its endpoint does not declare is an error of
ours, so what is documented is what is served.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from api import strict_json
from api.credentials import authenticate
from api.cursors import Cursors
from api.deps import ApiDeps
from api.middleware import request_id_of
from api.problems import BadMembers, ProblemMember
from api.reception import Reception
from api.rfc3339 import datetime_of_ns
from driftlock.accounts.keys import Principal, Scope
from driftlock.accounts.metering import Because, Refusal
from driftlock.engine.event import Signal
from driftlock.errors import Code, Internal, Unavailable, UnsupportedEncoding

JSON_MEDIA_TYPE = "application/json"
BODY_BYTES_INLINE_MAX = 64 * 1024
"""A larger body is parsed in a thread, so that other requests are not held up."""
PARSING = Because({Code.INVALID_ARGUMENT: Refusal.MALFORMED})

Model = TypeVar("Model", bound=BaseModel)
Result = TypeVar("Result")


class Query(BaseModel):
    """Base of query strings: an unknown or repeated parameter is an error that names it."""

    model_config = {"frozen": True, "extra": "forbid"}


@dataclass(frozen=True, slots=True)
class Reply:
    """What a handler answers: a model as JSON, or bytes of the media type that the endpoint declares."""

    body: BaseModel | bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


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

    @property
    def principal(self) -> Principal:
        """Who is asking; only for endpoints with a scope."""
        if self.who is None:
            raise Internal("an endpoint without a scope asked for a principal")
        return self.who

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


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One route. `scope` None = nobody has to say who they are; `responses` maps a status to a model or a media type.

    `demo`: work for people who do not say who they are, so it is throttled and has limits of its own, and it is only there
    where `ApiDeps.demo` is set. `signal`: records of it come in, and are counted. `problems` are codes that it
    answers with besides those that follow from the rest.
    """

    method: str
    path: str
    name: str
    tag: str
    summary: str
    handler: Callable[[Call], Awaitable[Reply]] = field(repr=False)
    responses: Mapping[int, type[BaseModel] | str]
    scope: Scope | None = None
    query: type[Query] = Query
    request: type[BaseModel] | None = None
    path_parameters: Mapping[str, str] = field(default_factory=dict)
    header_parameters: Mapping[str, str] = field(default_factory=dict)
    demo: bool = False
    signal: Signal | None = None
    problems: tuple[Code, ...] = ()


class Runner:
    """Runs endpoints: who is asking, then what they ask for, then the handler, then the reply it promised."""

    def __init__(self, deps: ApiDeps) -> None:
        self._deps = deps
        self._cursors = Cursors(deps.cursor_key)
        self._bodies_in_flight = 0

    def route(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        """The handler that the router calls."""

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
        deps, who, body = self._deps, None, None
        if endpoint.scope is not None:
            who = await authenticate(request, deps.access, endpoint.scope, datetime_of_ns(deps.now_ns()))
            if reception is not None:
                reception.tenant_id = who.tenant_id
        query = parse_query(request, endpoint.query)
        if endpoint.request is not None:
            body = await self._body(request, endpoint.request, reception)
        call = Call(deps, self._cursors, request, request_id_of(request.scope), who, query, body, reception)
        return _response(endpoint, await endpoint.handler(call))

    async def _body(self, request: Request, model: type[Model], reception: Reception | None) -> Model:
        """Read and check a JSON body; raise `Unavailable` when too many are being read already."""
        _check_content(request)
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
            raise BadMembers(_members(error, pointers=True)) from None


async def off_loop(size_bytes: int, work: Callable[[], Result]) -> Result:
    """Do `work` at once when it is about few bytes, else in a thread."""
    return work() if size_bytes <= BODY_BYTES_INLINE_MAX else await asyncio.to_thread(work)


def parse_query(request: Request, model: type[Query]) -> Query:
    """The query string as `model`; raise `BadMembers` naming each wrong parameter."""
    values: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in values:
            raise BadMembers([ProblemMember(detail="is given twice", parameter=name)])
        values[name] = value
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise BadMembers(_members(error, pointers=False)) from None


def pointer(*parts: str | int) -> str:
    """A JSON pointer (RFC 6901).

    >>> pointer("events", 3, "a/b")
    '/events/3/a~1b'
    """
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def _check_content(request: Request) -> None:
    media_type, _, parameters = request.headers.get("Content-Type", "").partition(";")
    if media_type.strip().lower() != JSON_MEDIA_TYPE:
        text = f"send the header Content-Type: {JSON_MEDIA_TYPE}"
        raise UnsupportedEncoding(text, reason=Refusal.UNSUPPORTED_TYPE)
    name, _, charset = parameters.strip().lower().partition("=")
    if name == "charset" and charset.strip('"') not in ("utf-8", "utf8"):
        raise UnsupportedEncoding("send JSON in UTF-8", reason=Refusal.UNSUPPORTED_TYPE)
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedEncoding("send the body without Content-Encoding; compressed bodies are for the OTLP endpoints")


def _members(error: ValidationError, *, pointers: bool) -> list[ProblemMember]:
    members = []
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        place = [part if isinstance(part, int) else part[:200] for part in item["loc"]]
        if item["type"] == "extra_forbidden":
            detail = "is not a known field" if pointers else "is not a parameter of this request"
        elif item["type"] == "model_type":
            detail = "the body is not a JSON object"
        else:
            detail = _decapitalise(item["msg"])
        if pointers:
            members.append(ProblemMember(detail=detail, pointer=pointer(*place)))
        else:
            members.append(ProblemMember(detail=detail, parameter=".".join(str(part) for part in place)))
    return members


def _decapitalise(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _response(endpoint: Endpoint, reply: Reply) -> Response:
    """The HTTP response of a reply; raise `Internal` for one that the endpoint does not declare."""
    declared = endpoint.responses.get(reply.status)
    headers = dict(reply.headers)
    if isinstance(reply.body, bytes) and isinstance(declared, str):
        return Response(reply.body, reply.status, headers, media_type=declared)
    if isinstance(reply.body, BaseModel) and declared is type(reply.body):
        return Response(reply.body.model_dump_json(), reply.status, headers, media_type=JSON_MEDIA_TYPE)
    raise Internal(f"{endpoint.name} answered {reply.status} with {type(reply.body).__name__}, which it does not declare")


def _as(value: BaseModel | None, model: type[Model]) -> Model:
    if not isinstance(value, model):
        raise Internal(f"the endpoint does not declare {model.__name__}")
    return value
