"""The generated modules: current, complete, and refused where the generator would have to guess."""

import copy
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from client.generator.__main__ import PACKAGE, modules, served
from client.generator.annotations import Unsupported, annotation
from client.generator.text import docstring, snake_case
from driftlock_client import models
from driftlock_client.codec import decoder, encode
from driftlock_client.operations import AsyncOperations, Operations


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    return served()


def test_the_client_is_that_of_the_document(openapi: dict[str, Any]) -> None:
    for name, text in modules(openapi).items():
        assert (PACKAGE / name).read_text() == text, f"{name} is not current: `make build` makes it again"


def test_every_operation_has_a_method(openapi: dict[str, Any]) -> None:
    ids = {operation["operationId"] for path in openapi["paths"].values() for operation in path.values()}
    assert {snake_case(name) for name in ids - {"streamEvents"}} <= set(vars(Operations)) & set(vars(AsyncOperations))


def test_every_model_can_be_read(openapi: dict[str, Any]) -> None:
    for name in openapi["components"]["schemas"]:
        model = getattr(models, name)
        for kind in get_type_hints(model).values() if is_dataclass(model) else [model]:
            decoder(kind)


def test_examples_of_the_document_are_what_the_models_send(openapi: dict[str, Any]) -> None:
    checked = 0
    for path in openapi["paths"].values():
        for operation in path.values():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            for example in content.get("examples", {}).values():
                model = getattr(models, content["schema"]["$ref"].rpartition("/")[2])
                sent = encode(decoder(model)(example["value"], ""))
                assert {name: sent[name] for name in example["value"]}.keys() == example["value"].keys()
                checked += 1
    assert checked > 3


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "string", "format": "date-time"}, "datetime"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}], "format": "date-time"}, "datetime | None"),
        ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, "int | None"),
        ({"type": "array", "items": {"$ref": "#/components/schemas/Line"}}, "tuple[models.Line, ...]"),
        ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "boolean"}]}, "tuple[int, bool]"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "Mapping[str, float]"),
        ({"enum": ["a", 'q"']}, 'Literal["a", "q\\""]'),
        ({}, "Any"),
    ],
    ids=range(8),
)
def test_schemas_have_types(schema: dict[str, Any], kind: str) -> None:
    assert annotation(schema, sent=False, prefix="models.") == kind


@pytest.mark.parametrize("schema", [{"allOf": []}, {"type": ["string", "null"]}, {"$ref": "other.json#/A"}], ids=range(3))
def test_what_is_not_known_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(Unsupported):
        annotation(schema, sent=False)


def test_names_that_clash_are_refused(openapi: dict[str, Any]) -> None:
    def broken(change: Any) -> None:
        changed = copy.deepcopy(openapi)
        change(changed)
        with pytest.raises(Unsupported):
            modules(changed)

    schemas = "components", "schemas"
    broken(lambda all_: all_[schemas[0]][schemas[1]].update({"UUID": {"type": "object"}}))
    broken(lambda all_: all_[schemas[0]][schemas[1]]["Stream"]["properties"].update({"class": {}}))
    broken(lambda all_: all_[schemas[0]][schemas[1]]["StreamChange"]["properties"].update({"stream": {}}))
    broken(lambda all_: all_[schemas[0]][schemas[1]]["StreamPage"]["properties"].pop("next_cursor"))
    broken(lambda all_: all_["paths"]["/v1/streams"]["get"].update(operationId="getStream"))
    broken(lambda all_: all_["components"]["parameters"].pop("If-Match"))


def test_words_can_not_end_a_docstring() -> None:
    for words in ('"""', 'ends with "', "back\\slash \\N{x}", "two\n\nparts " + "long " * 60):
        scope: dict[str, Any] = {}
        exec(f"def f():\n{docstring(words, '    ')}    return 1\n", scope)  # noqa: S102
        assert scope["f"]() == 1
        assert scope["f"].__doc__.split() == words.split()


def test_the_package_is_typed_and_needs_httpx_alone() -> None:
    assert (PACKAGE / "py.typed").exists()
    assert 'dependencies = ["httpx>=0.28.1,<1"]' in (Path(PACKAGE).parent.parent / "pyproject.toml").read_text()
