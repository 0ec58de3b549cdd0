"""JSON Schemas as Python annotations."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

REFERENCE = "#/components/schemas/"
_SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
_FORMATS = {"date-time": "datetime", "date": "date", "uuid": "UUID"}


class Unsupported(Exception):
    """A schema that this generator can not say in Python."""


def annotation(schema: Mapping[str, Any], *, sent: bool, prefix: str = "") -> str:
    """The type of a value: as it is taken from callers (`sent`), or as it is given to them. `prefix` stands before models."""
    if not schema:
        return "Any"
    if "$ref" in schema:
        return prefix + reference(schema)
    if "enum" in schema:
        return literal(schema["enum"])
    if "const" in schema:
        return literal([schema["const"]])
    for word in ("anyOf", "oneOf"):
        if word in schema:
            # A format may stand beside the alternatives, and is that of the text among them.
            parts = ({"format": schema["format"]} | part if "format" in schema else part for part in schema[word])
            return union(annotation(part, sent=sent, prefix=prefix) for part in parts)
    kind = schema.get("type")
    if kind == "array":
        return _array(schema, sent=sent, prefix=prefix)
    if kind == "object":
        inner = schema.get("additionalProperties", True)
        return f"Mapping[str, {annotation(inner, sent=sent, prefix=prefix) if isinstance(inner, dict) else 'Any'}]"
    if kind == "string":
        return _FORMATS.get(str(schema.get("format")), "str")
    if isinstance(kind, str) and kind in _SCALARS:
        return _SCALARS[kind]
    raise Unsupported(f"no Python type for the schema {dict(schema)}")


def reference(schema: Mapping[str, Any]) -> str:
    """The name that a schema refers to."""
    target = str(schema["$ref"])
    if not target.startswith(REFERENCE):
        raise Unsupported(f"a reference to {target}; only {REFERENCE} is known")
    return target.removeprefix(REFERENCE)


def literal(values: Iterable[object]) -> str:
    """An enumeration of texts or numbers."""
    return f"Literal[{', '.join(repr_of(value) for value in values)}]"


def union(parts: Iterable[str]) -> str:
    """Alternatives, each once, None last."""
    found = dict.fromkeys(parts)
    if "None" in found:
        found.pop("None")
        found["None"] = None
    return " | ".join(found)


def references(value: Any) -> set[str]:
    """Names of all schemas that a value refers to, at any depth."""
    if isinstance(value, dict):
        own = {reference(value)} if "$ref" in value else set()
        return own.union(*(references(inner) for inner in value.values()))
    return set().union(*(references(inner) for inner in value)) if isinstance(value, list) else set()


def reachable(names: set[str], schemas: Mapping[str, Any]) -> set[str]:
    """`names` and all schemas that they are made of."""
    found: set[str] = set()
    while names:
        found |= names
        names = set().union(*(references(schemas[name]) for name in names)) - found
    return found


def repr_of(value: object) -> str:
    """A literal with double quotes, as the house writes them."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _array(schema: Mapping[str, Any], *, sent: bool, prefix: str) -> str:
    if "prefixItems" in schema:
        return f"tuple[{', '.join(annotation(part, sent=sent, prefix=prefix) for part in schema['prefixItems'])}]"
    inner = annotation(schema.get("items", {}), sent=sent, prefix=prefix)
    return f"Sequence[{inner}]" if sent else f"tuple[{inner}, ...]"
