"""What every route has in common: HEAD, methods that are not there, addresses that are too long."""

from collections.abc import Callable

import httpx
import pytest

from api.deps import ApiLimits
from tests.api.conftest import Service


@pytest.mark.parametrize("path", ["/livez", "/v1/streams", "/v1/api-keys"])
async def test_head_is_get_without_a_body(service: Service, path: str) -> None:
    answer, head = await service.client.get(path), await service.client.head(path)
    assert (head.status_code, head.headers["content-type"]) == (answer.status_code, answer.headers["content-type"])


@pytest.mark.parametrize(
    ("method", "path", "allowed"), [("PUT", "/v1/api-keys", {"GET", "POST"}), ("HEAD", "/v1/detect", {"POST"})]
)
async def test_other_methods_are_named(service: Service, method: str, path: str, allowed: set[str]) -> None:
    answer = await service.client.request(method, path)
    assert answer.status_code == 405
    assert allowed <= {name.strip() for name in answer.headers["allow"].split(",")}


async def test_an_address_has_a_limit(with_deps: Callable[..., httpx.AsyncClient]) -> None:
    async with with_deps(limits=ApiLimits(url_bytes_max=100)) as client:
        fits = await client.get("/v1/streams?" + "x" * (100 - len("/v1/streams")))
        long_query = await client.get("/v1/streams?" + "x" * (101 - len("/v1/streams")))
        long_path = await client.get("/v1/" + "x" * 97)
    assert fits.status_code == 400
    for answer in (long_query, long_path):
        assert (answer.status_code, answer.json()["code"], answer.headers["content-type"]) == (
            414,
            "invalid_argument",
            "application/problem+json",
        )
        assert "url_bytes_max" in answer.json()["detail"]
