"""Every example of the OpenAPI document is a request that works, and says what it is answered with."""

import dataclasses
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from api.app import DemoRules
from api.endpoint import Endpoint
from api.examples import EXAMPLES, Example
from api.openapi import document
from api.routes import ENDPOINTS
from driftlock.accounts.actor import SYSTEM
from driftlock.accounts.keys import KeyKind, MintedKey, Scope
from driftlock.engine.event import Signal, StreamKey
from tests.api.conftest import Service, client_of
from tests.api.fakes import TENANT
from tests.api.key_fakes import FakeKeys

BY_NAME: dict[str, Endpoint] = {endpoint.name: endpoint for endpoint in ENDPOINTS}
SENT = [(name, example) for name in sorted(EXAMPLES) for example in EXAMPLES[name]]


@pytest.fixture
async def account(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """An account with what the examples name: the stream `checkout` and one API key."""
    service.house._stream(TENANT, StreamKey(Signal.LOGS, "checkout"))
    keys = service.deps.keys
    assert isinstance(keys, FakeKeys)
    old = MintedKey("", "tojkiqxbdx2h4etd", bytes(32))
    rights = {"stream": None, "expires_at": None, "requests_per_minute": None}
    await keys.insert(TENANT, old, kind=KeyKind.LIVE, name="old", scopes={Scope.READ}, actor=SYSTEM, **rights)
    with ThreadPoolExecutor(1) as executor:
        demo = DemoRules(100, 100, (), lambda: 0, executor)
        async with client_of(dataclasses.replace(service.deps, demo=demo)) as client:
            yield client


@pytest.mark.parametrize(("name", "example"), SENT, ids=lambda value: value if isinstance(value, str) else value.name)
async def test_an_example_is_answered_as_it_says(account: httpx.AsyncClient, name: str, example: Example) -> None:
    endpoint = BY_NAME[name]
    path = endpoint.path.format(**example.path)
    answer = await account.request(
        endpoint.method, path, json=example.body, params=dict(example.query), headers=dict(example.headers)
    )
    assert answer.status_code == example.status, answer.text
    assert example.status in endpoint.responses


def test_examples_are_in_the_document() -> None:
    paths = document(ENDPOINTS, "1")["paths"]
    for name, examples in EXAMPLES.items():
        endpoint = BY_NAME[name]
        shown = paths[endpoint.path][endpoint.method.lower()]["requestBody"]["content"]["application/json"]["examples"]
        assert {it: shown[it]["value"] for it in shown} == {example.name: example.body for example in examples}
        assert all(shown[it]["summary"] for it in shown)
