"""The operations: a method for each, twice, and one for each list that goes through all of its pages."""

import keyword
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from client.generator.annotations import REFERENCE, Unsupported, annotation, reference, repr_of, union
from client.generator.text import docstring, snake_case

HEAD = '''"""Operations of the Driftlock API, made from its OpenAPI document. Do not edit: `make build` makes them again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from driftlock_client import models
from driftlock_client.request import Call
from driftlock_client.sending import AsyncSender, Sender
from driftlock_client.values import UNSET, Content, Unset
'''
KEY = "Idempotency-Key"
PARAMETERS = "#/components/parameters/"
_PREFIX = "models."
_JSON, _EVENTS = "application/json", "text/event-stream"


@dataclass(frozen=True, slots=True)
class Parameter:
    """An argument of a method. `place` is path, query, header or body."""

    name: str
    wire: str
    place: str
    kind: str
    default: str | None
    words: str

    @property
    def declared(self) -> str:
        """As it stands in the signature."""
        return f"{self.name}: {self.kind}" + (f" = {self.default}" if self.default else "")


@dataclass(frozen=True, slots=True)
class Operation:
    """A method to write. `answers` has the Python type of each status; `items` the list of a page, and its type."""

    name: str
    method: str
    path: str
    words: str
    parameters: tuple[Parameter, ...]
    answers: Mapping[str, str]
    has_body: bool
    items: tuple[str, str] | None

    @property
    def returns(self) -> str:
        """The type of what the method returns."""
        return union(self.answers.values())


def render(document: Mapping[str, Any]) -> str:
    """The module of the operations. Streams of events are left out: nobody can generate going on where one ended."""
    schemas, shared = document["components"]["schemas"], document["components"].get("parameters", {})
    found = [
        _operation(method, path, value, schemas, shared)
        for path, methods in document["paths"].items()
        for method, value in methods.items()
        if not any(_EVENTS in answer.get("content", {}) for answer in value["responses"].values())
    ]
    names = [operation.name for operation in found]
    if len(set(names)) != len(names):
        raise Unsupported("two operations have the same name in Python")
    classes = (
        ("Operations", "Sender", "", "Every operation."),
        ("AsyncOperations", "AsyncSender", "async ", "Every operation, for asyncio."),
    )
    parts = [HEAD]
    for name, base, is_async, words in classes:
        parts.append(f'\n\nclass {name}({base}):\n    """{words}"""\n')
        for operation in found:
            parts.extend(_method(operation, is_async))
            parts.extend(_iterator(operation, is_async) if operation.items else ())
    return "".join(parts)


def _operation(
    method: str, path: str, value: Mapping[str, Any], schemas: Mapping[str, Any], shared: Mapping[str, Any]
) -> Operation:
    parameters = [_parameter(_resolved(one, shared)) for one in value["parameters"]]
    body = value.get("requestBody")
    if body is not None:
        parameters += _members(schemas[reference(body["content"][_JSON]["schema"])], schemas)
    parameters.sort(key=lambda one: (one.place != "path", one.default is not None))
    names = [one.name for one in parameters]
    if len(set(names)) != len(names):
        raise Unsupported(f"{value['operationId']}: two parameters have the same name: {sorted(names)}")
    answers = {status: _answer(answer) for status, answer in value["responses"].items() if status < "300"}
    words = value["summary"] + "." + (f"\n\n{value['description']}" if "description" in value else "")
    pages = any(one.wire == "cursor" and one.place == "query" for one in parameters)
    items = _items(value["operationId"], answers["200"], schemas) if pages else None
    return Operation(
        snake_case(value["operationId"]), method.upper(), path, words, tuple(parameters), answers, body is not None, items
    )


def _resolved(one: Mapping[str, Any], shared: Mapping[str, Any]) -> Mapping[str, Any]:
    """A parameter, or the one among the components that stands in its place."""
    if "$ref" not in one:
        return one
    target = str(one["$ref"])
    key = target.removeprefix(PARAMETERS)
    if key == target or key not in shared:
        raise Unsupported(f"a reference to the parameter {target}; only those of {PARAMETERS} are known")
    found: Mapping[str, Any] = shared[key]
    return found


def _parameter(one: Mapping[str, Any]) -> Parameter:
    kind, default = annotation(one["schema"], sent=True, prefix=_PREFIX), None
    if one["in"] == "path":
        kind = "str | UUID | int"
    elif not one["required"]:
        kind, default = union([*kind.split(" | "), "None"]), "None"
    name = snake_case(one["name"])
    return Parameter(name + "_" * keyword.iskeyword(name), one["name"], one["in"], kind, default, one.get("description", ""))


def _members(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[Parameter]:
    required = set(schema.get("required", ()))
    for name, inner in schema["properties"].items():
        kind = annotation(inner, sent=True, prefix=_PREFIX)
        kind, default = (kind, None) if name in required else (f"{kind} | Unset", "UNSET")
        words = inner.get("description") or schemas.get(inner.get("$ref", "").removeprefix(REFERENCE), {}).get(
            "description", ""
        )
        yield Parameter(name, name, "body", kind, default, words)


def _answer(answer: Mapping[str, Any]) -> str:
    content = answer.get("content")
    if not content:
        return "None"
    return annotation(content[_JSON]["schema"], sent=False, prefix=_PREFIX) if _JSON in content else "Content"


def _items(operation_id: str, page: str, schemas: Mapping[str, Any]) -> tuple[str, str]:
    """The member with the items of a page: its only list of models, or the one that the operation is called after."""
    properties = schemas[page.removeprefix(_PREFIX)]["properties"]
    lists = {name: inner["items"] for name, inner in properties.items() if "$ref" in inner.get("items", {})}
    named = {name: items for name, items in lists.items() if snake_case(operation_id).endswith(name)}
    if "next_cursor" not in properties or len(chosen := named if len(lists) > 1 else lists) != 1:
        raise Unsupported(f"{operation_id}: which of {sorted(lists)} are the items of the page?")
    [(name, items)] = chosen.items()
    return name, annotation(items, sent=False, prefix=_PREFIX)


def _signature(parameters: tuple[Parameter, ...]) -> str:
    first = [one.declared for one in parameters if one.place == "path"]
    rest = [one.declared for one in parameters if one.place != "path"]
    return "".join(f"        {part},\n" for part in ["self", *first, *(["*", *rest] if rest else [])])


def _words(operation: Operation, parameters: tuple[Parameter, ...], more: str = "") -> str:
    listed = [f"{one.name}: {' '.join(one.words.split())}" for one in parameters if one.words]
    return docstring("\n\n".join([operation.words + more, *listed]), "        ")


def _method(operation: Operation, is_async: str) -> Iterator[str]:
    yield f"\n    {is_async}def {operation.name}(\n{_signature(operation.parameters)}    ) -> {operation.returns}:\n"
    yield _words(operation, operation.parameters)
    yield f"        call: Call[{operation.returns}] = Call(\n            {repr_of(operation.method)},\n"
    yield f"            {repr_of(operation.path)},\n"
    yield f"            {{{', '.join(f'{status}: {kind}' for status, kind in operation.answers.items())}}},\n"
    keyed = any(one.wire == KEY for one in operation.parameters)
    for place, argument in (("path", "path_parameters"), ("query", "query"), ("header", "headers")):
        yield from _mapping(argument, [one for one in operation.parameters if one.place == place])
    if operation.has_body:
        yield from _mapping("body", [one for one in operation.parameters if one.place == "body"])
    yield "            keyed=True,\n" if keyed else ""
    send = f"{'await ' if is_async else ''}self._send(call)"
    yield f"        )\n        {send if operation.returns == 'None' else f'return {send}'}\n"


def _mapping(argument: str, parameters: list[Parameter]) -> Iterator[str]:
    if parameters:
        yield f"            {argument}={{{', '.join(f'{repr_of(one.wire)}: {one.name}' for one in parameters)}}},\n"


def _iterator(operation: Operation, is_async: str) -> Iterator[str]:
    parameters = tuple(one for one in operation.parameters if one.name != "cursor")
    name = "iter_" + operation.name.removeprefix("list_").removeprefix("get_")
    member, kind = operation.items or ("", "")
    yield f"\n    def {name}(\n{_signature(parameters)}    ) -> {'AsyncIterator' if is_async else 'Iterator'}[{kind}]:\n"
    yield _words(operation, parameters, " All pages of it, each read when it is needed.")
    arguments = [one.name if one.place == "path" else f"{one.name}={one.name}" for one in parameters]
    yield "        return self._pages(\n"
    yield f"            lambda cursor: self.{operation.name}({', '.join([*arguments, 'cursor=cursor'])}),\n"
    yield f"            lambda page: page.{member},\n            lambda page: page.next_cursor,\n        )\n"
