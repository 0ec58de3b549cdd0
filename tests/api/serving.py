"""Serves endpoints of a test's own over the fakes, behind the middleware of the application."""

from collections.abc import Awaitable, Callable

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from api.deps import ApiDeps
from api.endpoint import Call, Endpoint, Reply, Runner
from api.middleware import Problems, RequestId
from api.traffic import RateHeaders
from tests.api.fakes import key


def client_of(
    deps: ApiDeps, *endpoints: Endpoint, name: str | None = "good", peer: str = "127.0.0.1", raises: bool = False
) -> httpx.AsyncClient:
    """A client with the key `name`, connected from `peer`."""
    runner = Runner(deps)
    routes = [Route(one.path, runner.route(one), methods=[one.method]) for one in endpoints]
    middleware = [
        Middleware(RequestId, randomness=deps.randomness),
        Middleware(RateHeaders),
        Middleware(Problems, log=deps.log),
    ]
    transport = httpx.ASGITransport(
        app=Starlette(routes=routes, middleware=middleware), raise_app_exceptions=raises, client=(peer, 40000)
    )
    headers = {} if name is None else {"X-Api-Key": key(name)}
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080", headers=headers)


def answering(reply: Callable[[Call], Reply]) -> Callable[[Call], Awaitable[Reply]]:
    """A handler of a plain function."""

    async def handler(call: Call) -> Reply:
        return reply(call)

    return handler
