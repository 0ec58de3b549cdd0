"""The REST application: endpoints, wrapped in the middleware that every request passes."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.deps import ApiDeps, ApiLimits, DetectorInfo, VersionInfo
from api.endpoint import Runner
from api.middleware import BodyLimit, Problems, RequestId, SecurityHeaders, request_id_of
from api.openapi import openapi_endpoint
from api.problems import problem_response
from api.routes import ENDPOINTS

__all__ = ["ApiDeps", "ApiLimits", "DetectorInfo", "VersionInfo", "create_app"]


def create_app(deps: ApiDeps) -> Starlette:
    """The application over `deps`; it owns nothing, so it has nothing to start or stop."""
    runner = Runner(deps)
    table = (*ENDPOINTS, openapi_endpoint(ENDPOINTS, deps.version.version))
    routes = [Route(endpoint.path, runner.route(endpoint), methods=[endpoint.method], name=endpoint.name) for endpoint in table]
    middleware = [
        Middleware(RequestId, randomness=deps.randomness),
        Middleware(SecurityHeaders),
        Middleware(Problems, log=deps.log),
        Middleware(BodyLimit, bytes_max=deps.limits.request_bytes_max, timeout_ms=deps.limits.body_ms_max),
    ]
    app = Starlette(routes=routes, middleware=middleware, exception_handlers={HTTPException: _routing_problem})
    app.router.redirect_slashes = False  # a redirect would carry a key to a path that nobody asked for
    return app


async def _routing_problem(request: Request, error: Exception) -> Response:
    """Starlette would answer its own 404 and 405 in plain text."""
    return problem_response(error, instance=request.url.path, request_id=request_id_of(request.scope))
