"""What a process that serves no REST says of itself: `/livez`, `/readyz` and `/metrics`."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from api import models
from api.routes.system import METRICS_MEDIA_TYPE
from driftlock.errors import Code, DriftlockError

READINESS_MS_MAX = 1000
PATHS = frozenset({"/livez", "/readyz", "/metrics"})
Checks = Mapping[str, Callable[[], Awaitable[None]]]


def health_app(checks: Checks, metrics: Callable[[], bytes], log: FilteringBoundLogger) -> Starlette:
    """The application. `checks` raise `DriftlockError` while the process is not ready, by what is looked at."""

    async def livez(_request: Request) -> Response:
        return JSONResponse(models.Liveness(status="ok").model_dump())

    async def readyz(_request: Request) -> Response:
        found = await asyncio.gather(*(_check(name, check, log) for name, check in checks.items()))
        body = models.Readiness(ready=all(it.ok for it in found), checks=dict(zip(checks, found, strict=True)))
        return JSONResponse(body.model_dump(), status_code=200 if body.ready else 503)

    async def published(_request: Request) -> Response:
        return Response(metrics(), media_type=METRICS_MEDIA_TYPE)

    routes = [Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", published)]
    return Starlette(routes=routes)


def beside(app: ASGIApp, health: ASGIApp) -> ASGIApp:
    """`app`, with the paths of `health` on the same address."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        chosen = health if scope["type"] == "http" and scope["path"] in PATHS else app
        await chosen(scope, receive, send)

    return run


async def _check(name: str, check: Callable[[], Awaitable[None]], log: FilteringBoundLogger) -> models.Check:
    try:
        async with asyncio.timeout(READINESS_MS_MAX / 1000):
            await check()
    except TimeoutError:
        return models.Check(ok=False, detail=f"no answer within {READINESS_MS_MAX} ms (readiness_ms_max)")
    except Exception as error:
        if isinstance(error, DriftlockError) and error.code is not Code.INTERNAL:
            return models.Check(ok=False, detail=error.message)
        log.error("readiness check failed", check=name, exc_info=error)
        return models.Check(ok=False, detail="failed; the reason has been logged")
    return models.Check(ok=True, detail=None)
