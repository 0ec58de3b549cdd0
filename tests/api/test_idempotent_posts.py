"""Idempotency-Key of every POST that changes something: done once, answered as often as it is asked."""

import asyncio

import httpx
import pytest

from api.body import Body
from api.endpoint import Call, Endpoint, Reply, Runner
from api.models import Liveness
from driftlock.accounts.keys import Scope
from driftlock.errors import DriftlockError, Internal, InvalidArgument, Unavailable
from tests.api.conftest import Service
from tests.api.fakes import key
from tests.api.key_fakes import FakeIdempotency
from tests.api.serving import client_of

ALIVE = Liveness(status="ok")


class Wish(Body):
    """A body of this test's endpoint."""

    name: str = ""
    count: int = 0


class Work:
    """What the endpoint does: counts, and fails as it is told."""

    def __init__(self, service: Service) -> None:
        self.done = 0
        self.error: DriftlockError | None = None
        self.happens = True
        self.gate: asyncio.Event | None = None
        self.started = asyncio.Event()
        assert isinstance(service.deps.idempotency, FakeIdempotency)
        self.store = service.deps.idempotency
        self.endpoint = Endpoint(
            "POST", "/x/{id}", "makeX", "x", "x", self, {201: Liveness}, scope=Scope.ADMIN, request=Wish, idempotent=True,
            path_parameters={"id": "x"},
        )  # fmt: skip

    async def __call__(self, call: Call) -> Reply:
        self.started.set()
        if self.gate is not None:
            await self.gate.wait()
        claim = call.actor.claim
        if self.happens and claim is not None:
            self.store.happened.add(claim)
        if self.error is not None:
            raise self.error
        self.done += 1
        return Reply(ALIVE, 201, {"Location": f"/x/{self.done}", "X-Other": "1"}, kept=Liveness(status="ok"))


@pytest.fixture
def work(service: Service) -> Work:
    return Work(service)


async def post(client: httpx.AsyncClient, body: object = None, path: str = "/x/1", **headers: str) -> httpx.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post(path, json=body or {}, headers=sent)


async def test_the_same_request_is_done_once(service: Service, work: Work) -> None:
    async with client_of(service.deps, work.endpoint) as client:
        first = await post(client, {"name": "a", "count": 1}, Idempotency_Key="k")
        again = await client.post(
            "/x/1", content=b'{ "count" : 1, "name":"a"}', headers={"Idempotency-Key": "k", "Content-Type": "application/json"}
        )
        assert (first.status_code, again.status_code, work.done) == (201, 201, 1)
        assert (again.content, again.headers["location"]) == (first.content, first.headers["location"])
        assert "idempotency-replayed" not in first.headers
        assert again.headers["idempotency-replayed"] == "true"
        assert "x-other" not in again.headers
        assert (await post(client, {"name": "a", "count": 1})).status_code == 201
        assert (await post(client, {"name": "a", "count": 1}, Idempotency_Key="other")).status_code == 201
        assert work.done == 3


@pytest.mark.parametrize("other", ["body", "path", "query"])
async def test_another_request_with_the_key_is_refused(service: Service, work: Work, other: str) -> None:
    async with client_of(service.deps, work.endpoint) as client:
        await post(client, {"name": "a"}, Idempotency_Key="k")
        body, path = {"name": "b" if other == "body" else "a"}, "/x/2" if other == "path" else "/x/1"
        refused = await post(client, body, path + ("?" if other == "query" else ""), Idempotency_Key="k")
        if other == "query":  # an empty query is the same request
            assert refused.status_code == 201
        else:
            assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
        assert work.done == 1


async def test_keys_are_those_of_an_account(service: Service, work: Work) -> None:
    async with client_of(service.deps, work.endpoint) as client:
        await post(client, Idempotency_Key="k")
        await post(client, Idempotency_Key="k", X_Api_Key=key("other"))
    assert work.done == 2


async def test_a_request_that_is_under_way_is_not_done_twice(service: Service, work: Work) -> None:
    work.gate = asyncio.Event()
    async with client_of(service.deps, work.endpoint) as client:
        first = asyncio.create_task(post(client, Idempotency_Key="k"))
        await work.started.wait()
        second = await post(client, Idempotency_Key="k")
        assert (second.status_code, second.json()["code"], second.headers["retry-after"]) == (409, "conflict", "1")
        work.gate.set()
        assert (await first).status_code == 201
        assert (await post(client, Idempotency_Key="k")).status_code == 201
    assert work.done == 1


@pytest.mark.parametrize("error", [Unavailable("away"), InvalidArgument("wrong"), Internal("bug")], ids=repr)
async def test_an_error_before_anything_was_changed_lets_the_key_go(
    service: Service, work: Work, error: DriftlockError
) -> None:
    work.error, work.happens = error, False
    async with client_of(service.deps, work.endpoint) as client:
        assert (await post(client, Idempotency_Key="k")).status_code >= 400
        work.error = None
        assert (await post(client, Idempotency_Key="k")).status_code == 201


async def test_an_error_after_the_change_is_not_repeated(service: Service, work: Work) -> None:
    work.error = Unavailable("away")
    async with client_of(service.deps, work.endpoint) as client:
        assert (await post(client, Idempotency_Key="k")).status_code == 503
        work.error = None
        assert (await post(client, Idempotency_Key="k")).status_code == 409
    assert work.done == 0


async def test_who_may_not_ask_gets_no_kept_answer(service: Service, work: Work) -> None:
    async with client_of(service.deps, work.endpoint) as client:
        await post(client, Idempotency_Key="k")
        assert (await post(client, Idempotency_Key="k", X_Api_Key=key("reader"))).status_code == 403


@pytest.mark.parametrize("sent", ["", "x" * 256, "k\tk"])
async def test_a_bad_key_is_refused(service: Service, work: Work, sent: str) -> None:
    async with client_of(service.deps, work.endpoint) as client:
        assert (await post(client, Idempotency_Key=sent)).status_code == 400
    assert work.done == 0


def test_what_can_not_have_an_idempotency_key(service: Service, work: Work) -> None:
    table: dict[str, dict[str, object]] = {
        "no account": {"scope": None},
        "GET": {"method": "GET"},
        "bytes": {"responses": {200: "text/csv"}},
    }
    for changes in table.values():
        parts = {name: getattr(work.endpoint, name) for name in work.endpoint.__dataclass_fields__} | changes
        with pytest.raises(ValueError, match="Idempotency-Key"):
            Runner(service.deps).route(Endpoint(**parts))
