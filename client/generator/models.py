"""The models: a frozen dataclass for each object schema, a Literal for each enumeration."""

import keyword
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from client.generator.annotations import Unsupported, annotation, literal, reachable, references, repr_of
from client.generator.text import comment, docstring

HEAD = '''"""Models of the Driftlock API, made from its OpenAPI document. Do not edit: `make build` makes them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

from driftlock_client.values import UNSET, Model, Unset

'''
_TAKEN = frozenset(
    {"Mapping", "Sequence", "dataclass", "date", "datetime", "Any", "Literal", "TypeAlias", "UUID", "Model", "Unset"}
)
_SCALARS = (str, int, float, bool, type(None))


def render(document: Mapping[str, Any]) -> str:
    """The module of the models."""
    schemas = document["components"]["schemas"]
    taken = _TAKEN & set(schemas)
    if taken:
        raise Unsupported(f"schemas can not be called {sorted(taken)}")
    sent = reachable(_bodies(document, lambda it: [it.get("requestBody", {})]), schemas)
    received = reachable(_bodies(document, lambda it: it["responses"].values()), schemas)
    parts = [HEAD, f"__all__ = [\n{''.join(f'    {repr_of(name)},{chr(10)}' for name in sorted(schemas))}]\n"]
    enums = [name for name in sorted(schemas) if "enum" in schemas[name]]
    for name in enums:
        parts.append(
            f"\n{name}: TypeAlias = {literal(schemas[name]['enum'])}\n" + docstring(schemas[name].get("description"), "")
        )
    for name in sorted(set(schemas) - set(enums)):
        parts.append("\n\n" + "".join(_model(name, schemas[name], sent=name in sent, received=name in received)))
    return "".join(parts)


def _bodies(document: Mapping[str, Any], parts: Callable[[Mapping[str, Any]], Iterable[Mapping[str, Any]]]) -> set[str]:
    """Schemas that the bodies of `parts` of all operations refer to; headers are no bodies."""
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    return set().union(*(references(part.get("content", {})) for operation in operations for part in parts(operation)))


def _model(name: str, schema: Mapping[str, Any], *, sent: bool, received: bool) -> Iterator[str]:
    if schema.get("type") != "object":
        raise Unsupported(f"the schema {name} is neither an object nor an enumeration")
    required, properties = set(schema.get("required", ())), schema.get("properties", {})
    yield f"@dataclass(frozen=True, slots=True, kw_only=True)\nclass {name}(Model):\n"
    yield docstring(schema.get("description") or f"A {name} of the API.", "    ")
    for member, inner in properties.items():
        if keyword.iskeyword(member) or not member.isidentifier():
            raise Unsupported(f"{name}.{member} can not be the name of an attribute")
        kind, default = annotation(inner, sent=sent), ""
        if member not in required and sent and not received:
            kind, default = f"{kind} | Unset", " = UNSET"
        elif member not in required:
            kind, default = _with_default(f"{name}.{member}", inner, kind)
        yield "\n" if inner.get("description") else ""
        yield f"    {member}: {kind}{default}\n{comment(inner.get('description'))}"


def _with_default(member: str, schema: Mapping[str, Any], kind: str) -> tuple[str, str]:
    default = schema.get("default")
    if default == []:
        return kind, " = ()"
    if not isinstance(default, _SCALARS):
        raise Unsupported(f"{member}: the default {default!r} is no scalar")
    if default is None and "None" not in kind.split(" | "):
        kind = f"{kind} | None"
    return kind, f" = {repr_of(default)}"
