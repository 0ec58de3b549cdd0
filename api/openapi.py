"""The OpenAPI 3.1 document, made of the same endpoints and models that serve requests."""

import json
import re
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.endpoint import JSON_MEDIA_TYPE, Call, Endpoint, Reply
from api.problems import KINDS, PROBLEM_MEDIA_TYPE, Problem
from driftlock.errors import Code

OPENAPI_VERSION = "3.1.0"
PATH = "/v1/openapi.json"
_REF = "#/components/schemas/{model}"
_PATH_PARAMETER = re.compile(r"\{([a-z_]+)\}")


def openapi_endpoint(others: Iterable[Endpoint], version: str) -> Endpoint:
    """The endpoint that serves the document about `others` and itself, rendered once."""

    async def openapi(call: Call) -> Reply:  # noqa: ARG001
        return Reply(rendered)

    endpoint = Endpoint("GET", PATH, "getOpenapi", "system", "This document", openapi, {200: JSON_MEDIA_TYPE})
    rendered = json.dumps(document((*others, endpoint), version), allow_nan=False).encode()
    return endpoint


def document(endpoints: Iterable[Endpoint], version: str) -> dict[str, Any]:
    """The document as a Python value."""
    table = tuple(endpoints)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in table:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": OPENAPI_VERSION,
        "info": {
            "title": "Driftlock",
            "version": version,
            "description": "Events in, and what changed out, with the very bytes that are new. Errors are "
            "application/problem+json (RFC 9457); lists are pages with opaque cursors; times are RFC 3339 in UTC.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": _schemas(table),
            "securitySchemes": {
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "tags": [endpoint.tag],
        "summary": endpoint.summary,
        "parameters": _parameters(endpoint),
        "responses": {str(status): _response(status, body) for status, body in endpoint.responses.items()},
    }
    for status, codes in _problems(endpoint).items():
        operation["responses"].setdefault(str(status), _problem(codes))
    if endpoint.request is not None:
        schema = {"$ref": _REF.format(model=endpoint.request.__name__)}
        operation["requestBody"] = {"required": True, "content": {JSON_MEDIA_TYPE: {"schema": schema}}}
    if endpoint.scope is not None:
        operation["description"] = f"Needs the scope `{endpoint.scope.value}`."
        operation["security"] = [{"apiKey": []}, {"bearer": []}]
    else:
        operation["security"] = []
    return operation


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": endpoint.path_parameters[name],
            "schema": {"type": "string"},
        }
        for name in _PATH_PARAMETER.findall(endpoint.path)
    ]
    schema = endpoint.query.model_json_schema()
    for name, value in schema.get("properties", {}).items():
        description = value.pop("description", "")
        value.pop("title", None)
        required = name in schema.get("required", ())
        parameters.append({"name": name, "in": "query", "required": required, "description": description, "schema": value})
    for name, description in endpoint.header_parameters.items():
        parameters.append(
            {"name": name, "in": "header", "required": False, "description": description, "schema": {"type": "string"}}
        )
    return parameters


def _response(status: int, body: type[BaseModel] | str) -> dict[str, Any]:
    if isinstance(body, str):
        media_type, schema = body, {} if body == JSON_MEDIA_TYPE else {"type": "string"}
    else:
        media_type, schema = JSON_MEDIA_TYPE, {"$ref": _REF.format(model=body.__name__)}
    words = {200: "Done", 202: "Accepted, not finished", 503: "Not now"}
    return {"description": words.get(status, "Answer"), "content": {media_type.partition(";")[0]: {"schema": schema}}}


def _problems(endpoint: Endpoint) -> dict[int, list[Code]]:
    """The statuses of the problems that an endpoint can answer with, and their codes."""
    codes = [Code.INVALID_ARGUMENT, Code.INTERNAL, *endpoint.problems]
    if endpoint.scope is not None:
        codes += [Code.UNAUTHORIZED, Code.FORBIDDEN, Code.UNAVAILABLE]
    if _PATH_PARAMETER.search(endpoint.path) or "stream" in endpoint.query.model_fields:
        codes.append(Code.NOT_FOUND)
    if endpoint.demo:
        codes += [Code.RATE_LIMITED, Code.UNAVAILABLE]
    if endpoint.request is not None:
        codes += [Code.PAYLOAD_TOO_LARGE, Code.UNSUPPORTED_ENCODING]
    by_status: dict[int, list[Code]] = {}
    for code in codes:
        by_status.setdefault(KINDS[code].status, []).append(code)
    return dict(sorted(by_status.items()))


def _problem(codes: list[Code]) -> dict[str, Any]:
    return {
        "description": "; ".join(f"{KINDS[code].title} (`{code}`)" for code in codes),
        "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": _REF.format(model=Problem.__name__)}}},
    }


def _schemas(table: Iterable[Endpoint]) -> dict[str, Any]:
    """Schemas of all bodies: of requests as they are read, of responses as they are written."""
    inputs = {endpoint.request for endpoint in table if endpoint.request is not None}
    outputs = {body for endpoint in table for body in endpoint.responses.values() if not isinstance(body, str)} | {Problem}
    ordered = [(model, "validation") for model in sorted(inputs, key=lambda model: model.__name__)]
    ordered += [(model, "serialization") for model in sorted(outputs, key=lambda model: model.__name__)]
    _, definitions = models_json_schema(ordered, ref_template=_REF)  # type: ignore[arg-type]
    schemas: dict[str, Any] = definitions["$defs"]
    return schemas
