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
from api.rfc3339 import datetime_of_ns
from driftlock.accounts.keys import Principal, Scope
from driftlock.errors import Internal, Unavailable, UnsupportedEncoding

JSON_MEDIA_TYPE = "application/json"
BODY_BYTES_INLINE_MAX = 64 * 1024
"""A larger body is parsed in a thread, so that other requests are not held up."""

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

    @property
    def principal(self) -> Principal:
        """Who is asking; only for endpoints with a scope."""
        if self.who is None:
            raise Internal("an endpoint without a scope asked for a principal")
        return self.who

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
    where `ApiDeps.demo` is set.
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


class Runner:
    """Runs endpoints: who is asking, then what they ask for, then the handler, then the reply it promised."""

    def __init__(self, deps: ApiDeps) -> None:
        self._deps = deps
        self._cursors = Cursors(deps.cursor_key)
        self._bodies_in_flight = 0

    def route(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        """The handler that the router calls."""

        async def run(request: Request) -> Response:
            who = None
            if endpoint.scope is not None:
                now = datetime_of_ns(self._deps.now_ns())
                who = await authenticate(request, self._deps.access, endpoint.scope, now)
            query = parse_query(request, endpoint.query)
            if endpoint.request is None:
                reply = await endpoint.handler(self._call(request, who, query, None))
            else:
                body = await self._body(request, endpoint.request)
                reply = await endpoint.handler(self._call(request, who, query, body))
            return _response(endpoint, reply)

        return run

    def _call(self, request: Request, who: Principal | None, query: Query, body: BaseModel | None) -> Call:
        return Call(self._deps, self._cursors, request, request_id_of(request.scope), who, query, body)

    async def _body(self, request: Request, model: type[Model]) -> Model:
        """Read and check a JSON body; raise `Unavailable` when too many are being read already."""
        _check_content(request)
        limit = self._deps.limits.bodies_in_flight_max
        if self._bodies_in_flight >= limit:
            raise Unavailable(f"{limit} bodies are being read already (bodies_in_flight_max); retry", retry_after_ms=1000)
        self._bodies_in_flight += 1
        try:
            raw = await request.body()
            return await off_loop(len(raw), lambda: self._parse(raw, model))
        finally:
            self._bodies_in_flight -= 1

    def _parse(self, raw: bytes, model: type[Model]) -> Model:
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
        raise UnsupportedEncoding(f"send the header Content-Type: {JSON_MEDIA_TYPE}")
    name, _, charset = parameters.strip().lower().partition("=")
    if name == "charset" and charset.strip('"') not in ("utf-8", "utf8"):
        raise UnsupportedEncoding("send JSON in UTF-8")
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
