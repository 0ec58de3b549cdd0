"""A short form of `make fuzz-rest`: the same cases every time."""

import asyncio
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from server.addresses import Address
from server.asgi import AsgiServer
from server.asgi_protocol import AsgiLimits
from tests.conftest import Cluster
from tests.fuzz.rest_house import open_house
from tests.fuzz.rest_schema import run

CASES = 300


async def test_answers_are_as_documented(cluster: Cluster, tmp_path: Path) -> None:
    urls = await cluster.create()
    async with open_house(urls, tmp_path) as house:
        base, mine = str(house.client.base_url).rstrip("/"), house.mine
        tally = await asyncio.to_thread(run, base, mine.owner, mine.paths, CASES, 1)
    await cluster.drop(urls)
    assert tally.failures == []
    assert tally.cases >= CASES
    assert tally.statuses[500] == 0
    assert all(tally.statuses[status] for status in (200, 400, 404))  # it reaches handlers, and it is refused


@pytest.mark.parametrize(("status", "said"), [(500, "Server error"), (418, "Undocumented"), (200, "Response violates schema")])
async def test_an_answer_that_is_not_as_documented_is_noticed(status: int, said: str) -> None:
    document = {
        "openapi": "3.1.0",
        "info": {"title": "t", "version": "1"},
        "paths": {
            "/x": {
                "get": {
                    "responses": {
                        "200": {"description": "d", "content": {"application/json": {"schema": {"type": "string"}}}},
                        "500": {"description": "d"},
                    }
                }
            }
        },
    }

    async def openapi(request: Request) -> JSONResponse:
        return JSONResponse(document)

    async def wrong(request: Request) -> JSONResponse:
        return JSONResponse({}, status)

    app = Starlette(routes=[Route("/v1/openapi.json", openapi), Route("/x", wrong)])
    async with AsgiServer(app, address=Address("127.0.0.1", 0), what="test", limits=AsgiLimits()) as server:
        tally = await asyncio.to_thread(run, f"http://127.0.0.1:{server.port}", {}, {}, 1, 1)
    assert tally.failures
    assert said.lower() in tally.failures[0].lower()
