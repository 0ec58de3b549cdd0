import asyncio

import httpx
import pytest
import structlog
from starlette.responses import PlainTextResponse
from structlog.testing import capture_logs

import server.health
from driftlock.errors import Unavailable
from server.health import beside, health_app


async def well() -> None:
    pass


async def away() -> None:
    raise Unavailable("not now")


async def broken() -> None:
    raise RuntimeError("secret")


async def stuck() -> None:
    await asyncio.Event().wait()


def client(**checks: object) -> httpx.AsyncClient:
    app = health_app(checks, lambda: b"up 1\n", structlog.get_logger())
    both = beside(PlainTextResponse("the rest"), app)
    return httpx.AsyncClient(transport=httpx.ASGITransport(both), base_url="http://test")


async def test_a_process_that_is_well_is_ready() -> None:
    async with client(database=well) as asked:
        assert (await asked.get("/livez")).json() == {"status": "ok"}
        answer = await asked.get("/readyz")
        assert (answer.status_code, answer.json()) == (
            200,
            {"ready": True, "checks": {"database": {"ok": True, "detail": None}}},
        )
        assert (await asked.get("/metrics")).text == "up 1\n"


async def test_other_paths_are_the_others() -> None:
    async with client(database=well) as asked:
        assert (await asked.get("/v1/logs")).text == "the rest"


async def test_what_is_not_well_is_named_and_bugs_are_only_logged() -> None:
    with capture_logs() as logged:
        async with client(database=well, kafka=away, serving=broken) as asked:
            answer = await asked.get("/readyz")
            assert answer.status_code == 503
            checks = answer.json()["checks"]
            assert (await asked.get("/livez")).status_code == 200
    assert checks["database"]["ok"]
    assert checks["kafka"] == {"ok": False, "detail": "not now"}
    assert "secret" not in checks["serving"]["detail"]
    assert [line["check"] for line in logged] == ["serving"]


async def test_a_check_that_does_not_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.health, "READINESS_MS_MAX", 10)
    async with client(database=stuck) as asked:
        answer = await asked.get("/readyz")
    assert "no answer within 10 ms" in answer.json()["checks"]["database"]["detail"]
