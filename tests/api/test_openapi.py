import asyncio
import json
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import httpx
import pytest
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from api.app import create_app
from api.credentials import Caller
from api.endpoint import Call, Endpoint, Query, Repeated, Reply, Runner
from api.middleware import Problems, RequestId
from api.models import Liveness, Version
from api.openapi import document
from api.problems import KINDS
from api.routes import ENDPOINTS
from tests.api.conftest import Service

TABLE = document(ENDPOINTS, "0.1.0")


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def resolved(value: dict[str, Any]) -> dict[str, Any]:
    """A value, or the component in its place."""
    _, _, path = value.get("$ref", "").partition("#/components/")
    kind, _, key = path.partition("/")
    return TABLE["components"][kind][key] if path else value


def schemas(value: object) -> Iterator[dict[str, Any]]:
    """Every object of the document that has alternatives."""
    if isinstance(value, dict):
        if "anyOf" in value or "oneOf" in value:
            yield value
        for inner in value.values():
            yield from schemas(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from schemas(inner)


async def test_every_served_route_is_described_and_every_described_one_is_served(service: Service) -> None:
    served = {
        (route.path, method.lower())
        for route in create_app(service.deps).routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    body = (await service.client.get("/v1/openapi.json")).json()
    assert body["openapi"] == "3.1.0"
    assert {(path, method) for path, methods in body["paths"].items() for method in methods} == served


def test_every_reference_resolves() -> None:
    found = set(references(TABLE))
    assert found
    for reference in found:
        node: object = TABLE
        for part in reference.removeprefix("#/").split("/"):
            assert isinstance(node, dict)
            node = node[part]
        assert node


def test_operation_ids_are_unique_and_everything_has_words() -> None:
    operations = [operation for methods in TABLE["paths"].values() for operation in methods.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)
    for operation in operations:
        assert operation["summary"]
        assert all(resolved(parameter)["description"] for parameter in operation["parameters"])
        assert all(response["description"] for response in operation["responses"].values())


def test_scopes_are_security_requirements() -> None:
    for endpoint in ENDPOINTS:
        operation = TABLE["paths"][endpoint.path][endpoint.method.lower()]
        known = endpoint.scope is not None or endpoint.caller is Caller.PERSON
        assert bool(operation["security"]) == known
        assert ({"signIn": []} in operation["security"]) == known
        assert ({"apiKey": []} in operation["security"]) == (known and endpoint.caller is Caller.ANYBODY)
        assert ("401" in operation["responses"]) == known


def test_what_is_said_of_a_value_is_said_of_the_alternative_that_it_holds_for() -> None:
    found = list(schemas(TABLE))
    assert found
    for schema in found:
        assert set(schema) <= {"anyOf", "oneOf", "title", "description", "default"}, schema
    made_at = TABLE["components"]["schemas"]["EvidenceRef"]["properties"]["made_at"]
    assert made_at["anyOf"] == [{"type": "string", "format": "date-time"}, {"type": "null"}]


def test_every_post_says_what_becomes_of_it_when_it_comes_again() -> None:
    for endpoint in ENDPOINTS:
        assert (endpoint.method == "POST") == (endpoint.idempotent or endpoint.repeated is not None), endpoint.name
        assert not (endpoint.idempotent and endpoint.repeated), endpoint.name
        operation = TABLE["paths"][endpoint.path][endpoint.method.lower()]
        keyed = any(resolved(it)["name"] == "Idempotency-Key" for it in operation["parameters"])
        assert keyed == (endpoint.idempotent or endpoint.repeated is Repeated.COUNTED_ONCE), endpoint.name
        words = operation.get("description", "")
        assert ("with its Idempotency-Key" in words) == keyed, endpoint.name
        assert ("takes no Idempotency-Key" in words) == (endpoint.method == "POST" and not keyed), endpoint.name


def test_headers_and_header_parameters_are_components() -> None:
    for methods in TABLE["paths"].values():
        for operation in methods.values():
            assert all("$ref" in it for it in operation["parameters"] if resolved(it)["in"] == "header")
            for status, response in operation["responses"].items():
                assert all("$ref" in it for it in response["headers"].values())
                assert resolved(response["headers"]["X-Request-ID"])["required"]
                problem = "application/problem+json" in response.get("content", {})
                if problem and status in ("429", "503"):
                    assert resolved(response["headers"]["Retry-After"])["required"]


def test_answers_tell_the_limits_that_they_were_counted_in() -> None:
    older = {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"}
    for endpoint in ENDPOINTS:
        responses = TABLE["paths"][endpoint.path][endpoint.method.lower()]["responses"]
        told = set(responses["400"]["headers"]) & {"RateLimit-Policy", "RateLimit", *older}
        expected = set() if endpoint.unlimited else {"RateLimit-Policy", "RateLimit"} | (set() if endpoint.demo else older)
        assert told == expected, endpoint.name
        assert set(responses["414"]["headers"]) == {"X-Request-ID"}


def test_every_path_parameter_is_described() -> None:
    for endpoint in ENDPOINTS:
        names = {part[1:-1] for part in endpoint.path.split("/") if part.startswith("{")}
        assert names == set(endpoint.path_parameters)


def test_problems_have_statuses_of_the_table() -> None:
    statuses = {str(kind.status) for kind in KINDS.values()} | {"408", "414"}
    for methods in TABLE["paths"].values():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                if "application/problem+json" in response.get("content", {}):
                    assert status in statuses


def test_what_is_refused_before_an_endpoint_runs_is_declared() -> None:
    for endpoint in ENDPOINTS:
        responses = TABLE["paths"][endpoint.path][endpoint.method.lower()]["responses"]
        assert "414" in responses
        assert ("408" in responses) == (endpoint.request is not None)


def test_the_query_of_a_list_is_described() -> None:
    parameters = {item["name"]: item for item in TABLE["paths"]["/v1/anomalies"]["get"]["parameters"]}
    filters = {"stream", "incident", "min_ncd", "max_p_value", "question", "trace_id", "since", "until", "silenced"}
    assert set(parameters) == {"limit", "cursor", *filters}
    assert all(item["in"] == "query" and not item["required"] for item in parameters.values())


def test_a_request_that_the_schema_describes_has_its_fields() -> None:
    schema = TABLE["components"]["schemas"]["DetectRequest"]
    assert set(schema["properties"]) == {"stream_id", "events", "historical", "config_override"}
    assert schema["required"] == ["events"]
    assert schema["additionalProperties"] is False


def test_the_document_is_plain_json() -> None:
    assert json.loads(json.dumps(TABLE, allow_nan=False)) == TABLE


@pytest.mark.parametrize("reply", [Reply(Version.model_construct()), Reply(Liveness(status="ok"), status=201), Reply(b"text")])
async def test_a_reply_that_is_not_declared_is_our_error(service: Service, reply: Reply) -> None:
    async def handler(call: Call) -> Reply:
        return reply

    endpoint = Endpoint("GET", "/x", "x", "x", "x", handler, {200: Liveness})

    app = Starlette(
        routes=[Route("/x", Runner(service.deps).route(endpoint))],
        middleware=[
            Middleware(RequestId, randomness=service.deps.randomness),
            Middleware(Problems, log=service.deps.log),
        ],
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
        assert (await client.get("/x")).status_code == 500


def test_models_of_queries_forbid_what_they_do_not_name() -> None:
    for endpoint in ENDPOINTS:
        assert issubclass(endpoint.query, Query)
        assert endpoint.query.model_config["extra"] == "forbid"


def test_bodies_forbid_what_they_do_not_name() -> None:
    models: list[type[BaseModel]] = [
        body for endpoint in ENDPOINTS for body in endpoint.responses.values() if isinstance(body, type)
    ]
    assert all(model.model_config.get("extra") == "forbid" for model in models)


async def test_the_document_is_made_once_and_only_when_somebody_asks(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def counted(endpoints: Iterable[Endpoint], version: str) -> dict[str, Any]:
        made.append(threading.current_thread().name)
        return document(endpoints, version)

    monkeypatch.setattr("api.openapi.document", counted)
    transport = httpx.ASGITransport(app=create_app(service.deps))
    assert not made
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
        answers = await asyncio.gather(*(client.get("/v1/openapi.json") for _ in range(3)))
    assert len(made) == 1
    assert made[0] != threading.main_thread().name  # other requests are answered meanwhile
    assert len({answer.content for answer in answers}) == 1
    assert "/v1/anomalies" in answers[0].json()["paths"]
