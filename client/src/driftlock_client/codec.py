"""JSON values from and to the generated models."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from datetime import date, datetime
from functools import cache
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from driftlock_client.errors import UnexpectedAnswer
from driftlock_client.values import UNSET, Unset

Decoder: TypeAlias = Callable[[Any, str], Any]
"""From a JSON value and the pointer to it; raises `UnexpectedAnswer`."""

_KINDS: Mapping[Any, tuple[Any, ...]] = types.MappingProxyType({str: (str,), bool: (bool,), int: (int,), float: (float, int)})


def encode(value: object) -> Any:
    """A JSON value without members that are UNSET. Raises ValueError for a time without a zone, TypeError for the rest."""
    if is_dataclass(value) and not isinstance(value, type):
        members = ((member.name, getattr(value, member.name)) for member in fields(value))
        return {name: encode(inner) for name, inner in members if inner is not UNSET}
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, datetime | date | UUID):
        return text_of(value)
    if isinstance(value, Mapping):
        return {str(name): encode(inner) for name, inner in value.items() if inner is not UNSET}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [encode(inner) for inner in value]
    raise TypeError(f"{type(value).__name__} has no form in JSON; pass texts, numbers, lists, mappings or models")


def text_of(value: object) -> str:
    """A parameter of a path or query as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"the time {value.isoformat()} has no zone; use datetime(..., tzinfo=UTC)")
        return value.isoformat()
    return value.isoformat() if isinstance(value, date) else str(value)


@cache
def decoder(annotation: Any) -> Decoder:
    """What reads values of a type; raises TypeError for a type that no generated model has."""
    if annotation is Any:
        return _anything
    if annotation in _KINDS:
        return _scalar(annotation)
    if annotation in (datetime, date, UUID):
        return _parsed(annotation, UUID if annotation is UUID else annotation.fromisoformat)
    if isinstance(annotation, type) and is_dataclass(annotation):
        return _model(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:  # a newer server may have more of them
        return _scalar(type(arguments[0]))
    if origin in (Union, types.UnionType):
        return _union(arguments)
    if origin is tuple and (len(arguments) != 2 or arguments[1] is not ...):
        return _fixed(tuple(decoder(argument) for argument in arguments))
    if origin in (tuple, Sequence):
        return _array(decoder(arguments[0]))
    if origin is Mapping:
        return _mapping(decoder(arguments[1]))
    raise TypeError(f"there is no decoder for {annotation}")


def _anything(value: Any, where: str) -> Any:  # noqa: ARG001
    return value


def _scalar(kind: Any) -> Decoder:
    accepted = _KINDS[kind]

    def decode(value: Any, where: str) -> Any:
        if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
            raise UnexpectedAnswer(f"{where or '/'} is {type(value).__name__}, not {kind.__name__}")
        return float(value) if kind is float else value

    return decode


def _parsed(kind: type, parse: Callable[[str], object]) -> Decoder:
    def decode(value: Any, where: str) -> object:
        try:
            return parse(value)
        except (TypeError, ValueError, AttributeError):
            raise UnexpectedAnswer(f"{where or '/'} is not a {kind.__name__}") from None

    return decode


def _model(model: type) -> Decoder:
    def decode(value: Any, where: str) -> object:
        found = {}
        _checked(value, dict, where)
        for name, (read, optional) in _members(model).items():
            if name in value:
                found[name] = read(value[name], f"{where}/{name}")
            elif not optional:
                raise UnexpectedAnswer(f"{where}/{name} is missing; is the client newer than the server?")
        return model(**found)

    return decode


@cache
def _members(model: Any) -> Mapping[str, tuple[Decoder, bool]]:
    """What reads each member, and whether it may be missing. Asked for at the first value: models may hold themselves."""
    hints = get_type_hints(model)
    return {one.name: (decoder(hints[one.name]), one.default is not MISSING) for one in fields(model)}


def _union(arguments: tuple[Any, ...]) -> Decoder:
    rest = tuple(argument for argument in arguments if argument not in (type(None), Unset))
    if len(rest) == 1:
        inner = decoder(rest[0])
    elif all(argument in _KINDS or get_origin(argument) in (tuple, Sequence, Mapping, Literal) for argument in rest):
        inner = _frozen
    else:
        raise TypeError(f"a value of {arguments} does not say which of them it is")
    nullable = type(None) in arguments

    def decode(value: Any, where: str) -> Any:
        return None if value is None and nullable else inner(value, where)

    return decode


def _frozen(value: Any, where: str) -> Any:  # noqa: ARG001
    return tuple(value) if isinstance(value, list) else value


def _array(inner: Decoder) -> Decoder:
    def decode(value: Any, where: str) -> tuple[Any, ...]:
        return tuple(inner(item, f"{where}/{index}") for index, item in enumerate(_checked(value, list, where)))

    return decode


def _fixed(inner: tuple[Decoder, ...]) -> Decoder:
    def decode(value: Any, where: str) -> tuple[Any, ...]:
        if len(_checked(value, list, where)) != len(inner):
            raise UnexpectedAnswer(f"{where or '/'} has {len(value)} items, not {len(inner)}")
        return tuple(read(item, f"{where}/{index}") for index, (read, item) in enumerate(zip(inner, value, strict=True)))

    return decode


def _mapping(inner: Decoder) -> Decoder:
    def decode(value: Any, where: str) -> dict[str, Any]:
        return {name: inner(item, f"{where}/{name}") for name, item in _checked(value, dict, where).items()}

    return decode


def _checked(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind):
        raise UnexpectedAnswer(f"{where or '/'} is {type(value).__name__}, not {kind.__name__}")
    return value
