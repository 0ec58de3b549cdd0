"""What the process says about itself: liveness, readiness, metrics and versions."""

import asyncio
from collections.abc import Awaitable, Callable

from structlog.typing import FilteringBoundLogger

from api import models
from api.endpoint import Call, Endpoint, Reply
from driftlock.errors import Code, DriftlockError

METRICS_MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def livez(call: Call) -> Reply:  # noqa: ARG001
    """The process runs; nothing else is looked at, so that an outage elsewhere never gets it killed."""
    return Reply(models.Liveness(status="ok"))


async def readyz(call: Call) -> Reply:
    """Run all checks at once."""
    deps = call.deps
    names = list(deps.readiness)
    checks = await asyncio.gather(
        *(_check(name, deps.readiness[name], deps.limits.readiness_ms_max, deps.log) for name in names)
    )
    ready = all(check.ok for check in checks)
    return Reply(models.Readiness(ready=ready, checks=dict(zip(names, checks, strict=True))), status=200 if ready else 503)


async def metrics(call: Call) -> Reply:
    """Prometheus text."""
    return Reply(call.deps.metrics())


async def version(call: Call) -> Reply:
    """Versions of all that a verdict depends on."""
    deps = call.deps
    codec = models.Codec(name=deps.detector.codec, level=deps.detector.codec_level, version=deps.detector.codec_version)
    return Reply(models.Version(version=deps.version.version, codec=codec, schema_version=deps.version.schema_version))


async def _check(name: str, check: Callable[[], Awaitable[None]], timeout_ms: int, log: FilteringBoundLogger) -> models.Check:
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            await check()
    except TimeoutError:
        return models.Check(ok=False, detail=f"no answer within {timeout_ms} ms (readiness_ms_max)")
    except Exception as error:
        if isinstance(error, DriftlockError) and error.code is not Code.INTERNAL:
            return models.Check(ok=False, detail=error.message)
        log.error("readiness check failed", check=name, exc_info=error)
        return models.Check(ok=False, detail="failed; the reason has been logged")
    return models.Check(ok=True, detail=None)


ENDPOINTS = (
    Endpoint(
        "GET", "/livez", "getLiveness", "system", "Whether the process runs", livez, {200: models.Liveness}, unlimited=True
    ),
    Endpoint(
        "GET",
        "/readyz",
        "getReadiness",
        "system",
        "Whether requests can be served, with named checks",
        readyz,
        {200: models.Readiness, 503: models.Readiness},
        unlimited=True,
    ),
    Endpoint(
        "GET",
        "/metrics",
        "getMetrics",
        "system",
        "Metrics in the Prometheus text format",
        metrics,
        {200: METRICS_MEDIA_TYPE},
        unlimited=True,
    ),
    Endpoint(
        "GET", "/v1/version", "getVersion", "system", "Versions of code, codec and schema", version, {200: models.Version}
    ),
)
