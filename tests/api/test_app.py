import asyncio
from collections.abc import Callable

import httpx
import pytest

from api.deps import ApiLimits
from api.models import Readiness, Version
from driftlock.errors import Internal, Unavailable
from tests.api.conftest import Service

WithDeps = Callable[..., httpx.AsyncClient]


async def fine() -> None:
    return None


async def away() -> None:
    raise Unavailable("the database does not answer; it is retried by itself")


async def broken() -> None:
    raise ValueError("secret dsn")


async def internal() -> None:
    raise Internal("secret dsn")


async def stuck() -> None:
    await asyncio.Event().wait()


async def test_liveness_looks_at_nothing(with_deps: WithDeps) -> None:
    async with with_deps(readiness={"database": away}) as client:
        response = await client.get("/livez")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


async def test_readiness_names_its_checks(with_deps: WithDeps) -> None:
    async with with_deps(readiness={"database": fine, "detector": fine}) as client:
        response = await client.get("/readyz")
    assert response.status_code == 200
    assert Readiness.model_validate_json(response.content).checks.keys() == {"database", "detector"}


@pytest.mark.parametrize(
    ("check", "words"), [(away, "does not answer"), (broken, "logged"), (internal, "logged"), (stuck, "readiness_ms_max")]
)
async def test_one_failing_check_is_enough(with_deps: WithDeps, check: object, words: str) -> None:
    async with with_deps(readiness={"a": fine, "b": check}, limits=ApiLimits(readiness_ms_max=30)) as client:
        response = await client.get("/readyz")
    body = Readiness.model_validate_json(response.content)
    assert response.status_code == 503
    assert not body.ready
    assert body.checks["a"].ok
    assert not body.checks["b"].ok
    assert words in (body.checks["b"].detail or "")
    assert "secret" not in response.text


async def test_metrics_are_the_renderers_text(service: Service) -> None:
    response = await service.client.get("/metrics")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert response.content == b"driftlock_build_info 1.0\n"


async def test_versions(service: Service) -> None:
    body = Version.model_validate_json((await service.client.get("/v1/version")).content)
    assert (body.version, body.schema_version, body.codec.name, body.codec.version) == ("0.1.0", 1, "zstd", "1.5.4")


@pytest.mark.parametrize("path", ["/", "/v1", "/v2/streams", "/v1/streams/", "/v1/streams/x/y", "//v1/streams", "/LIVEZ"])
async def test_an_unknown_path_is_a_problem(service: Service, path: str) -> None:
    response = await service.client.get(httpx.URL("http://127.0.0.1:8080").copy_with(raw_path=path.encode()))
    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["request_id"] == response.headers["X-Request-ID"]


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/v1/streams"), ("GET", "/v1/detect"), ("DELETE", "/livez"), ("OPTIONS", "/v1/detect")]
)
async def test_another_method_is_a_problem_that_names_the_right_one(service: Service, method: str, path: str) -> None:
    response = await service.client.request(method, path)
    assert response.status_code == 405
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Allow"]
    assert response.json()["code"] == "invalid_argument"


async def test_head_answers_as_get(service: Service) -> None:
    assert (await service.client.head("/livez")).status_code == 200


async def test_a_failure_of_a_room_is_told_apart(service: Service) -> None:
    service.house.failure = RuntimeError("postgres://secret")
    response = await service.client.post("/v1/detect", json={"events": ["a"]})
    assert response.status_code == 500
    assert "secret" not in response.text


@pytest.mark.parametrize("name", list(ApiLimits.__dataclass_fields__))
def test_a_limit_limits(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        ApiLimits(**{name: 0})
