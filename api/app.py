"""The REST application: endpoints, wrapped in the middleware that every request passes."""

from collections.abc import Iterable
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.cors import cors
from api.deps import ApiDeps, ApiLimits, CodecInfo, DemoRules, DetectorInfo, VersionInfo
from api.endpoint import Endpoint, Runner
from api.middleware import BodyLimit, Problems, RequestId, SecurityHeaders, UrlLimit, request_id_of
from api.openapi import openapi_endpoint
from api.problems import problem_response
from api.ratelimit import RateLimiter
from api.routes import ENDPOINTS
from api.throttle import Throttle
from api.traffic import RateHeaders

__all__ = ["ApiDeps", "ApiLimits", "CodecInfo", "DemoRules", "DetectorInfo", "VersionInfo", "create_app"]


def create_app(deps: ApiDeps) -> Starlette:
    """The application over `deps`; it owns nothing, so it has nothing to start or stop."""
    runner = Runner(deps)
    served = tuple(endpoint for endpoint in ENDPOINTS if not endpoint.demo or deps.demo is not None)
    table = (*served, openapi_endpoint(served, deps.version.version))
    routes = [
        Route(
            endpoint.path,
            runner.route(endpoint),
            methods=[endpoint.method],
            name=endpoint.name,
            middleware=_guards(endpoint, deps),
        )
        for endpoint in table
    ]
    middleware = [
        Middleware(RequestId, randomness=deps.randomness),
        Middleware(SecurityHeaders),
        Middleware(RateHeaders),
        *cors(deps.cors_origins),
        Middleware(Problems, log=deps.log),
        Middleware(UrlLimit, bytes_max=deps.limits.url_bytes_max),
        Middleware(BodyLimit, bytes_max=deps.limits.request_bytes_max, timeout_ms=deps.limits.body_ms_max),
    ]
    app = Starlette(routes=routes, middleware=middleware, exception_handlers={HTTPException: _routing_problem})
    app.router.redirect_slashes = False  # a redirect would carry a key to a path that nobody asked for
    return app


def _guards(endpoint: Endpoint, deps: ApiDeps) -> list[Middleware]:
    """What a request of this endpoint passes besides; on the route and not on a path, so no spelling gets around it."""
    if not endpoint.demo or deps.demo is None:
        return []
    limits, rules = deps.limits, deps.demo
    limiter = RateLimiter(
        calls_per_minute=rules.requests_per_minute,
        global_calls_per_minute=rules.global_requests_per_minute,
        networks_max=limits.demo_networks_max,
    )
    return [
        Middleware(
            Throttle,
            limiter=limiter,
            trusted_proxies=rules.trusted_proxies,
            monotonic_ns=rules.monotonic_ns,
            requests_in_flight_max=limits.demo_requests_in_flight_max,
        ),
        Middleware(Problems, log=deps.log),  # inside the throttle, so that refusals tell what is left as well
        Middleware(
            BodyLimit,
            bytes_max=limits.demo_request_bytes_max,
            timeout_ms=limits.body_ms_max,
            name="demo_request_bytes_max",
        ),
    ]


async def _routing_problem(request: Request, error: Exception) -> Response:
    """Starlette would answer its own 404 and 405 in plain text, and name the methods of the first route of a path only."""
    if isinstance(error, HTTPException) and error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        routes = [route for route in request.app.routes if isinstance(route, Route)]
        fitting = [route for route in routes if route.path_regex.match(request.scope["path"])]
        error = HTTPException(error.status_code, error.detail, {"Allow": ", ".join(sorted(_methods(fitting)))})
    return problem_response(error, instance=request.url.path, request_id=request_id_of(request.scope))


def _methods(routes: Iterable[Route]) -> set[str]:
    return {method for route in routes for method in route.methods or ()}
