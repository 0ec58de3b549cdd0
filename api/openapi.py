"""The OpenAPI 3.1 document, made of the same endpoints and models that serve requests."""

import asyncio
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from pydantic.json_schema import models_json_schema

from api.credentials import Caller
from api.endpoint import JSON_MEDIA_TYPE, Call, Endpoint, Repeated, Reply
from api.examples import EXAMPLES
from api.headers import (
    ANSWERED,
    CHALLENGE,
    DEMO_RATES,
    IDEMPOTENCY_KEY,
    IF_MATCH,
    RATES,
    REPLAYED,
    REQUEST_ID,
    RETRY_AFTER,
    Header,
    promised,
)
from api.parsing import body_media_types
from api.problems import KINDS, PROBLEM_MEDIA_TYPE, RETRYABLE, Problem
from api.replies import Declared, media_types
from driftlock.accounts.people import TENANT_HEADER
from driftlock.accounts.roles import least_role
from driftlock.errors import Code

OPENAPI_VERSION = "3.1.0"
SAFE = frozenset({"GET", "HEAD"})
KEPT = "May be sent again with its Idempotency-Key: it is answered again then, not done again."
REPEATED: Mapping[Repeated, str] = MappingProxyType(
    {
        Repeated.COUNTED_ONCE: "May be sent again with its Idempotency-Key: its events are not counted again then.",
        Repeated.SAME: "May be sent again: what was done already is not done again. It takes no Idempotency-Key.",
        Repeated.NOTHING_STORED: "May be sent again: it changes nothing. It takes no Idempotency-Key.",
    }
)
"""What is said of a POST that comes again."""
PATH = "/v1/openapi.json"
_REF = "#/components/schemas/{model}"
_HEADER, _PARAMETER = "#/components/headers/{key}", "#/components/parameters/{key}"
_SOMETIMES = "-sometimes"
_OWN = "#/$defs/"
_REFUSED_EARLY = {
    HTTPStatus.REQUEST_TIMEOUT: "The body took too long to arrive",
    HTTPStatus.REQUEST_URI_TOO_LONG: "The path and the query are too long",
}
"""What is refused before its endpoint runs, with the code of a request that is not valid."""
_PATH_PARAMETER = re.compile(r"\{([a-z_]+)\}")


def openapi_endpoint(others: Iterable[Endpoint], version: str) -> Endpoint:
    """The endpoint that serves the document about `others` and itself.

    Rendering takes a noticeable part of a second, so it is done once, when somebody asks for it, and beside the event loop.
    """
    rendering = asyncio.Lock()
    rendered = b""

    async def openapi(call: Call) -> Reply:  # noqa: ARG001
        nonlocal rendered
        async with rendering:
            rendered = rendered or await asyncio.to_thread(render)
        return Reply(rendered)

    def render() -> bytes:
        return json.dumps(document((*others, endpoint), version), allow_nan=False).encode()

    endpoint = Endpoint("GET", PATH, "getOpenapi", "system", "This document", openapi, {200: JSON_MEDIA_TYPE})
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
            "headers": _used(_headers_of(ANSWERED), paths),
            "parameters": dict(parameter for endpoint in table for parameter in _header_parameters(endpoint)),
            "securitySchemes": {
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
                "signIn": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "The Firebase ID token of somebody who has signed in. Who is in several accounts names one "
                    f"by its id in the header {TENANT_HEADER}.",
                },
            },
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "tags": [endpoint.tag],
        "summary": endpoint.summary,
        "parameters": _parameters(endpoint),
        "responses": {str(status): _response(endpoint, status) for status in endpoint.responses},
    }
    for status, codes in _problems(endpoint).items():
        operation["responses"].setdefault(str(status), _problem(endpoint, status, codes))
    for early, said in _REFUSED_EARLY.items():
        if early != HTTPStatus.REQUEST_TIMEOUT or endpoint.request is not None:
            words = f"{said} (`{Code.INVALID_ARGUMENT}`)"
            counted = early == HTTPStatus.REQUEST_TIMEOUT  # the other one is refused before anybody counts
            told = _common(endpoint) if counted else {REQUEST_ID.name: True}
            operation["responses"].setdefault(str(int(early)), _problem_of(words, told))
    operation["responses"] = dict(sorted(operation["responses"].items()))
    if endpoint.request is not None:
        schema = {"$ref": _REF.format(model=endpoint.request.__name__)}
        content: dict[str, Any] = {"schema": schema}
        examples = {example.name: example.rendered for example in EXAMPLES.get(endpoint.name, ()) if example.body is not None}
        if examples:
            content["examples"] = examples
        operation["requestBody"] = {
            "required": True,
            "content": dict.fromkeys(body_media_types(endpoint.method), content),
        }
    description, schemes = _credentials(endpoint)
    words = " ".join(part for part in (description, _again(endpoint)) if part)
    if words:
        operation["description"] = words
    operation["security"] = [{scheme: []} for scheme in schemes]
    return operation


def _again(endpoint: Endpoint) -> str:
    """What becomes of a request that comes again; "" where its method says so."""
    if endpoint.idempotent:
        return KEPT
    return "" if endpoint.repeated is None else REPEATED[endpoint.repeated]


def _credentials(endpoint: Endpoint) -> tuple[str, tuple[str, ...]]:
    """What has to be shown, in words, and as the names of security schemes."""
    again = " The sign-in has to be recent, or to be found standing still." if endpoint.fresh_login else ""
    if endpoint.scope is None:
        if endpoint.caller is Caller.PERSON:
            return f"For people, with the ID token of their sign-in.{again}", ("signIn",)
        return "", ()
    role = (endpoint.role or least_role(endpoint.scope)).value
    if endpoint.caller is Caller.MEMBER:
        return f"For people, with the ID token of their sign-in and the role `{role}` in the account.{again}", ("signIn",)
    words = f"Needs the scope `{endpoint.scope.value}`, or the role `{role}` of somebody who has signed in.{again}"
    return words, ("apiKey", "bearer", "signIn")


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
    for name, value in _inlined(schema.get("properties", {}), schema.get("$defs", {})).items():
        description = value.pop("description", "")
        value.pop("title", None)
        required = name in schema.get("required", ())
        parameters.append({"name": name, "in": "query", "required": required, "description": description, "schema": value})
    parameters += [{"$ref": _PARAMETER.format(key=key)} for key, _ in _header_parameters(endpoint)]
    return parameters


def _inlined(value: Any, definitions: Mapping[str, Any]) -> Any:
    """A schema with the definitions of its own in the place of references to them."""
    if isinstance(value, list):
        return [_inlined(inner, definitions) for inner in value]
    if not isinstance(value, dict):
        return value
    reference = str(value.get("$ref", ""))
    if reference.startswith(_OWN):
        rest = {name: inner for name, inner in value.items() if name != "$ref"}
        return _inlined(definitions[reference.removeprefix(_OWN)] | rest, definitions)
    return {name: _inlined(inner, definitions) for name, inner in value.items()}


def _header_parameters(endpoint: Endpoint) -> list[tuple[str, dict[str, Any]]]:
    """Headers that the endpoint reads, as components with their keys; its own words of one are a component of their own."""
    shared = {IDEMPOTENCY_KEY.name: IDEMPOTENCY_KEY, IF_MATCH.name: IF_MATCH}
    found: list[tuple[str, Header]] = []
    for name, words in endpoint.header_parameters.items():
        if name in shared:
            found.append((f"{name}-{endpoint.name}", replace(shared[name], words=words)))
        else:
            found.append((name, Header(name, words)))
    if endpoint.idempotent:
        found.append((IDEMPOTENCY_KEY.name, IDEMPOTENCY_KEY))
    if endpoint.etag and endpoint.method not in SAFE:
        found.append((IF_MATCH.name, IF_MATCH))
    return [
        (
            key,
            {"name": it.name, "in": "header", "required": False, "description": it.words, "schema": dict(it.schema)},
        )
        for key, it in found
    ]


def _headers_of(table: Iterable[Header]) -> dict[str, Any]:
    """Components of headers of answers, each as one that is always there, and as one that is there sometimes."""
    return {
        f"{it.name}{suffix}": {"description": it.words, "required": not suffix, "schema": dict(it.schema)}
        for it in table
        for suffix in ("", _SOMETIMES)
    }


def _used(components: Mapping[str, Any], paths: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Those of the components that answers refer to."""
    operations = [operation for methods in paths.values() for operation in methods.values()]
    answers = [answer for operation in operations for answer in operation["responses"].values()]
    named = {reference["$ref"] for answer in answers for reference in answer["headers"].values()}
    return {key: value for key, value in components.items() if _HEADER.format(key=key) in named}


def _headers(told: Mapping[str, bool]) -> dict[str, Any]:
    """References to headers by name; `told` says whether they are always there."""
    return {name: {"$ref": _HEADER.format(key=name if always else name + _SOMETIMES)} for name, always in told.items()}


def _common(endpoint: Endpoint) -> dict[str, bool]:
    """Headers of every answer of an endpoint, and whether they are always there."""
    if endpoint.demo:  # always counted
        return {it.name: True for it in (REQUEST_ID, *DEMO_RATES)}
    return {REQUEST_ID.name: True} | ({} if endpoint.unlimited else {it.name: False for it in RATES})


def _response(endpoint: Endpoint, status: int) -> dict[str, Any]:
    declared = endpoint.responses[status]
    words = {200: "Done", 201: "Created", 202: "Accepted, not finished", 204: "Done, nothing to say", 503: "Not now"}
    response: dict[str, Any] = {"description": words.get(status, "Answer")}
    types = [media_type.partition(";")[0] for media_type in media_types(declared)]
    if types:
        response["content"] = {media_type: {"schema": _schema(declared, media_type)} for media_type in types}
    told = _common(endpoint) | {it.name: False for it in endpoint.reply_headers.get(status, ())}
    if endpoint.idempotent:
        told[REPLAYED.name] = False
    told |= {it.name: True for it in promised(status, etag=endpoint.etag)}
    response["headers"] = _headers(told)
    return response


def _schema(declared: Declared, media_type: str) -> dict[str, Any]:
    if isinstance(declared, type):
        return {"$ref": _REF.format(model=declared.__name__)}
    return {} if media_type == JSON_MEDIA_TYPE else {"type": "string"}


def _problems(endpoint: Endpoint) -> dict[int, list[Code]]:
    """The statuses of the problems that an endpoint can answer with, and their codes."""
    codes = [Code.INVALID_ARGUMENT, Code.INTERNAL, *endpoint.problems]
    if endpoint.scope is not None:
        codes += [Code.UNAUTHORIZED, Code.FORBIDDEN, Code.NOT_FOUND, Code.UNAVAILABLE]
    elif endpoint.caller is Caller.PERSON:
        codes += [Code.UNAUTHORIZED, Code.NOT_FOUND, Code.UNAVAILABLE]
    if endpoint.fresh_login:
        codes.append(Code.SIGN_IN_AGAIN)
    if _PATH_PARAMETER.search(endpoint.path) or "stream" in endpoint.query.model_fields:
        codes.append(Code.NOT_FOUND)
    if not endpoint.unlimited:
        codes.append(Code.RATE_LIMITED)
    if endpoint.demo:
        codes += [Code.RATE_LIMITED, Code.UNAVAILABLE]
    if endpoint.idempotent:
        codes += [Code.IDEMPOTENCY_KEY_REUSED, Code.CONFLICT]
    if endpoint.etag and endpoint.method not in SAFE:
        codes.append(Code.PRECONDITION_FAILED)
    if endpoint.request is not None:
        codes += [Code.PAYLOAD_TOO_LARGE, Code.UNSUPPORTED_ENCODING]
    by_status: dict[int, list[Code]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(KINDS[code].status, []).append(code)
    return dict(sorted(by_status.items()))


def _problem(endpoint: Endpoint, status: int, codes: list[Code]) -> dict[str, Any]:
    told = _common(endpoint)
    if status == HTTPStatus.UNAUTHORIZED:
        told[CHALLENGE.name] = True
    if RETRYABLE.issuperset(codes):
        told[RETRY_AFTER.name] = True
    elif endpoint.idempotent and Code.CONFLICT in codes:  # while the first request with the same key is at work
        told[RETRY_AFTER.name] = False
    return _problem_of("; ".join(f"{KINDS[code].title} (`{code}`)" for code in codes), told)


def _problem_of(description: str, told: Mapping[str, bool]) -> dict[str, Any]:
    return {
        "description": description,
        "headers": _headers(told),
        "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": _REF.format(model=Problem.__name__)}}},
    }


def _schemas(table: Iterable[Endpoint]) -> dict[str, Any]:
    """Schemas of all bodies: of requests as they are read, of responses as they are written."""
    inputs = {endpoint.request for endpoint in table if endpoint.request is not None}
    outputs = {body for endpoint in table for body in endpoint.responses.values() if isinstance(body, type)} | {Problem}
    ordered = [(model, "validation") for model in sorted(inputs, key=lambda model: model.__name__)]
    ordered += [(model, "serialization") for model in sorted(outputs, key=lambda model: model.__name__)]
    _, definitions = models_json_schema(ordered, ref_template=_REF)  # type: ignore[arg-type]
    schemas: dict[str, Any] = definitions["$defs"]
    return schemas
