"""Every example of the OpenAPI document is sent to a real server over a real database, and is answered as the document says.

Answers without an example are those of operations without a body: `tests/fuzz/test_rest_schema.py` asks for all of them.
"""

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import jsonschema_rs
import pytest
import pytest_asyncio

from api.credentials import Caller
from api.endpoint import Endpoint, Repeated
from api.examples import EXAMPLES, Example
from api.middleware import SECURITY_HEADERS
from api.openapi import KEPT, REPEATED, document
from api.routes import ENDPOINTS
from tests.accounts.tokens import claims, signing_key
from tests.conftest import Cluster
from tests.fuzz.rest_house import PEOPLE_KEY, House, open_house

DOCUMENT = document(ENDPOINTS, "1")
BY_NAME: dict[str, Endpoint] = {endpoint.name: endpoint for endpoint in ENDPOINTS}
LAST = (
    "changeStreamProfile",
    "invite",
    "acceptInvitation",
    "changeMember",
    "createApiKey",
    "rotateApiKey",
    "signUp",
    "changeAccount",
    "deleteAccount",
)
"""The first makes the stream learn anew, so that there is nothing to freeze; each of the rest needs what came before it."""
ORDER = (*(name for name in EXAMPLES if name not in LAST), *LAST)
OF_THE_CONNECTION = {"content-type", "content-length", "transfer-encoding", "connection", "date", "server"}
OF_ALL = OF_THE_CONNECTION | {name.lower() for name, _ in SECURITY_HEADERS}


@dataclass
class Exchange:
    """One example, its answer, and for a POST the answer of the same request again."""

    endpoint: Endpoint
    example: Example
    answer: httpx.Response
    again: httpx.Response | None

    @property
    def name(self) -> str:
        return f"{self.endpoint.name}/{self.example.name}"

    @property
    def declared(self) -> dict[str, Any]:
        operation = DOCUMENT["paths"][self.endpoint.path][self.endpoint.method.lower()]
        found: dict[str, Any] = operation["responses"].get(str(self.answer.status_code), {})
        return found


def person(name: str) -> dict[str, str]:
    """Headers of somebody who has signed in just now."""
    told = claims(int(time.time()), sub=name, user_id=name, email=f"{name}@example.com", name=name)
    return {"Authorization": f"Bearer {signing_key(PEOPLE_KEY).token(told)}"}


@dataclass
class Scene:
    """Sends the examples; what one has made is in the path or the body of the next."""

    house: House
    done: list[Exchange] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    token: str = ""
    member: str = ""

    def who(self, endpoint: Endpoint) -> dict[str, str]:
        if endpoint.name == "acceptInvitation":
            return person("bob")
        if endpoint.caller is Caller.PERSON or endpoint.name in ("changeAccount", "deleteAccount"):
            return person("ann")
        return self.house.mine.owner

    def path(self, endpoint: Endpoint) -> str:
        paths = self.house.mine.paths
        found = {
            "stream": next(it for it in paths["stream"] if it.startswith("odd-")),
            "anomaly_id": paths["anomaly_id"][0],
            "incident_id": paths["incident_id"][0],
            "member": self.member,
            "id": self.keys.pop(0) if endpoint.name == "rotateApiKey" else "",
        }
        return endpoint.path.format(**found)

    async def send(self, endpoint: Endpoint, example: Example) -> None:
        body = {**example.body, **({"token": self.token} if endpoint.name == "acceptInvitation" else {})}
        key = endpoint.name if endpoint.repeated is Repeated.NOTHING_STORED else f"{endpoint.name}-{example.name}"
        headers = {"Idempotency-Key": key, **example.headers, **self.who(endpoint)}
        method, path = endpoint.method, self.path(endpoint)
        answers = [
            await self.house.client.request(method, path, json=body, headers=headers) for _ in range(1 + (method == "POST"))
        ]
        self.done.append(Exchange(endpoint, example, answers[0], answers[1] if answers[1:] else None))
        if endpoint.name == "invite":
            self.token = answers[0].json()["token"]
        elif endpoint.name == "createApiKey":
            self.keys.append(answers[0].json()["api_key"]["id"])
        elif endpoint.name == "acceptInvitation":
            listed = (await self.house.client.get("/v1/members", headers=self.house.mine.owner)).json()["members"]
            self.member = next(it["id"] for it in listed if it["email"] == "bob@example.com")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def done(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[list[Exchange]]:
    urls = await cluster.create()
    async with open_house(urls, tmp_path_factory.mktemp("examples")) as house:
        scene = Scene(house)
        for name in ORDER:
            for example in EXAMPLES[name]:
                await scene.send(BY_NAME[name], example)
        yield scene.done
    await cluster.drop(urls)


def of(
    done: list[Exchange], repeated: Repeated | None, *, idempotent: bool = False
) -> Iterator[tuple[Exchange, httpx.Response]]:
    for it in done:
        if it.again is not None and it.endpoint.repeated is repeated and it.endpoint.idempotent is idempotent:
            yield it, it.again


def test_every_operation_with_a_body_has_examples_and_no_other() -> None:
    assert set(EXAMPLES) == {endpoint.name for endpoint in ENDPOINTS if endpoint.request is not None}
    assert set(ORDER) == set(EXAMPLES)
    assert all(examples for examples in EXAMPLES.values())


def test_examples_are_in_the_document() -> None:
    for name, examples in EXAMPLES.items():
        endpoint = BY_NAME[name]
        for content in DOCUMENT["paths"][endpoint.path][endpoint.method.lower()]["requestBody"]["content"].values():
            shown = content["examples"]
            assert {it: shown[it]["value"] for it in shown} == {example.name: example.body for example in examples}
            assert all(shown[it]["summary"] for it in shown)


@pytest.mark.asyncio(loop_scope="module")
async def test_an_example_is_answered_with_its_status(done: list[Exchange]) -> None:
    wrong = [(it.name, it.answer.status_code, it.answer.text) for it in done if it.answer.status_code != it.example.status]
    assert wrong == []
    assert len(done) == sum(map(len, EXAMPLES.values()))


@pytest.mark.asyncio(loop_scope="module")
async def test_an_answer_has_the_schema_of_its_operation(done: list[Exchange]) -> None:
    checked = 0
    for it in done:
        content = it.declared.get("content", {})
        media_type = it.answer.headers.get("content-type", "").partition(";")[0]
        assert (media_type in content) if content else not it.answer.content, it.name
        if media_type == "application/json":
            schema = {**content[media_type]["schema"], "components": DOCUMENT["components"]}
            validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
            assert [error.message for error in validator.iter_errors(it.answer.json())] == [], it.name
            checked += 1
    assert checked > len(EXAMPLES)


@pytest.mark.asyncio(loop_scope="module")
async def test_an_answer_has_the_headers_that_are_declared_and_no_others(done: list[Exchange]) -> None:
    for it in done:
        declared = {
            name.lower(): DOCUMENT["components"]["headers"][told["$ref"].rpartition("/")[2]]["required"]
            for name, told in it.declared["headers"].items()
        }
        sent = set(it.answer.headers) - OF_ALL
        assert {name for name, always in declared.items() if always} <= sent <= set(declared), it.name


@pytest.mark.asyncio(loop_scope="module")
async def test_where_answers_are_kept_a_request_that_comes_again_gets_the_kept_one(done: list[Exchange]) -> None:
    seen = list(of(done, None, idempotent=True))
    for it, again in seen:
        assert KEPT in operation(it.endpoint)["description"]
        assert (again.status_code, again.headers.get("idempotency-replayed")) == (it.answer.status_code, "true"), it.name
        assert again.headers.get("location") == it.answer.headers.get("location")
    assert {it.endpoint.name for it, _ in seen} >= {"createStream", "createApiKey", "giveFeedback"}


@pytest.mark.asyncio(loop_scope="module")
async def test_events_that_come_again_are_counted_once(done: list[Exchange]) -> None:
    for it, again in of(done, Repeated.COUNTED_ONCE):
        assert REPEATED[Repeated.COUNTED_ONCE] in operation(it.endpoint)["description"]
        assert (it.answer.json()["duplicate"], again.json()["duplicate"]) == (False, True), it.name


@pytest.mark.asyncio(loop_scope="module")
async def test_what_needs_no_key_does_nothing_twice(done: list[Exchange]) -> None:
    names = set()
    for it, again in of(done, Repeated.SAME):
        assert REPEATED[Repeated.SAME] in operation(it.endpoint)["description"]
        new = {"created": False, "api_key": None} if it.endpoint.name == "signUp" else {}
        assert again.json() == {**it.answer.json(), **new}, it.name
        assert "idempotency-replayed" not in again.headers
        names.add(it.endpoint.name)
    assert names == {"joinWaitlist", "signUp", "acceptInvitation"}


@pytest.mark.asyncio(loop_scope="module")
async def test_what_changes_nothing_does_not_look_at_a_key(done: list[Exchange]) -> None:
    names = set()
    for it, again in of(done, Repeated.NOTHING_STORED):  # all examples of an operation came with one key
        assert REPEATED[Repeated.NOTHING_STORED] in operation(it.endpoint)["description"]
        assert again.status_code == it.example.status, it.name
        assert "idempotency-replayed" not in again.headers
        names.add(it.endpoint.name)
    assert names == {"exportAnomalies", "testRedaction", "demoDetect"}


def operation(endpoint: Endpoint) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][endpoint.path][endpoint.method.lower()]
    return found
