"""The routing file: TOML to `RoutingRules`, every mistake named by its place.

environment = ["deployment.environment.name", "k8s.cluster.name"]   # also: service, service_fallback, namespace,
                                                                    # namespace_fallback, instance
[[rule]]
name = "nightly jobs"
signals = ["logs"]
match = { "service.name" = "nightly-*", "k8s.namespace.name" = ["batch", "cron"] }
absent = ["driftlock.stream_id"]
service = "${k8s.cronjob.name}"                                     # also: stream, namespace, environment, instance
"""

import difflib
import os
import re
import stat
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from collector.routing.rules import ANY_SIGNAL, Pattern, RoutingRules, Rule, Template
from driftlock.engine.canonical import label
from driftlock.engine.event import Signal

FILE_BYTES_MAX = 256 * 1024
RULES_MAX = 256
CONDITIONS_MAX = 16
PATTERNS_MAX = 64
NAMES_MAX = 32
NAME_BYTES_MAX = 256
TEMPLATE_BYTES_MAX = 512

_LISTS = {
    "service": "services",
    "service_fallback": "service_fallbacks",
    "namespace": "namespaces",
    "namespace_fallback": "namespace_fallbacks",
    "environment": "environments",
    "instance": "instances",
}
_PARTS = ("stream", "service", "namespace", "environment", "instance")
_RULE_KEYS = ("name", "signals", "match", "absent", *_PARTS)
_MAY_BE_EMPTY = frozenset({"namespace", "environment", "instance"})
_PIECE = re.compile(r"\$\$|\$\{([^{}$]*)\}|\$|[^$]+")


class RoutingError(ValueError):
    """The file is not usable; the text is one line that says where and why."""


def read_rules(path: str) -> RoutingRules:
    """The rules in a file, `~` being the home folder. Raises `RoutingError`, also where it can not be read."""
    try:
        with open(Path(path).expanduser(), "rb", opener=_no_wait) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise RoutingError("it is not a regular file")
            data = file.read(FILE_BYTES_MAX + 1)
    except RoutingError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        raise RoutingError(f"the file can not be read: {getattr(error, 'strerror', None) or error}") from None
    return parse_rules(data)


def _no_wait(path: str, flags: int) -> int:
    """Opens for `open`; to open a named pipe would else take until somebody writes to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def parse_rules(data: bytes) -> RoutingRules:
    """The rules that a file says. Raises `RoutingError`."""
    if len(data) > FILE_BYTES_MAX:
        raise RoutingError(f"the file has more than {FILE_BYTES_MAX} bytes")
    try:
        table = tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        raise RoutingError(f"byte {error.start} is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise RoutingError(f"it is not TOML: {error}") from None
    except RecursionError:
        raise RoutingError("it is not TOML: it is nested too deep") from None
    _known(table, (*_LISTS, "rule"), "")
    lists = {field: _names(table[key], key) for key, field in _LISTS.items() if key in table}
    if lists.get("services") == ():
        raise RoutingError("service: name at least one attribute")
    rules = table.get("rule", [])
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise RoutingError("rule: write each rule below a line [[rule]]")
    if len(rules) > RULES_MAX:
        raise RoutingError(f"rule: there are {len(rules)} rules, at most {RULES_MAX} are allowed")
    return RoutingRules(**lists, rules=tuple(_rule(rule, number) for number, rule in enumerate(rules, 1)))


def _rule(table: Mapping[str, Any], number: int) -> Rule:
    name = table.get("name", f"rule {number}")
    where = f"rule {number}"
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name.encode()) <= NAME_BYTES_MAX:
        raise RoutingError(f"{where}: name: use 1 to {NAME_BYTES_MAX} bytes of printable text")
    if "name" in table:
        where = f"{where} ({name!r})"
    _known(table, _RULE_KEYS, f"{where}: ")
    templates = {part: _template(table[part], part, f"{where}: {part}") for part in _PARTS if part in table}
    if not templates:
        raise RoutingError(f"{where}: it changes nothing: set one of {', '.join(_PARTS)}")
    if "stream" in templates and templates.keys() & {"service", "namespace", "environment"}:
        raise RoutingError(f"{where}: stream is the whole identity: remove it, or remove service, namespace and environment")
    return Rule(
        name,
        _signals(table.get("signals"), f"{where}: signals"),
        _conditions(table.get("match", {}), f"{where}: match"),
        _names(table.get("absent", []), f"{where}: absent"),
        **templates,
    )


def _known(table: Mapping[str, Any], keys: Collection[str], where: str) -> None:
    for key in table:
        if key not in keys:
            nearest = difflib.get_close_matches(key, keys, n=1, cutoff=0.0)[0]
            raise RoutingError(f"{where}{key!r} is not a key; did you mean {nearest!r}?")


def _names(value: object, where: str) -> tuple[str, ...]:
    """A list of attribute names."""
    if not isinstance(value, list):
        raise RoutingError(f'{where}: use a list of attribute names, such as ["service.name"]')
    if len(value) > NAMES_MAX:
        raise RoutingError(f"{where}: at most {NAMES_MAX} attribute names are allowed")
    names = tuple(_name(name, where) for name in value)
    if len(set(names)) < len(names):
        raise RoutingError(f"{where}: an attribute is named twice")
    return names


def _name(value: object, where: str) -> str:
    if not isinstance(value, str) or not 0 < len(value.encode()) <= NAME_BYTES_MAX:
        raise RoutingError(f"{where}: {value!r} is not the name of an attribute: use a text of 1 to {NAME_BYTES_MAX} bytes")
    return value


def _signals(value: object, where: str) -> frozenset[Signal]:
    if value is None:
        return ANY_SIGNAL
    if not isinstance(value, list) or not value or not all(signal in list(Signal) for signal in value):
        raise RoutingError(f"{where}: use a list of {', '.join(Signal)}")
    return frozenset(map(Signal, value))


def _conditions(value: object, where: str) -> tuple[tuple[str, tuple[Pattern, ...]], ...]:
    if not isinstance(value, dict):
        raise RoutingError(f'{where}: use a table, such as {{ "service.name" = "web-*" }}')
    if len(value) > CONDITIONS_MAX:
        raise RoutingError(f"{where}: at most {CONDITIONS_MAX} attributes are allowed")
    return tuple((_name(name, where), _patterns(patterns, f"{where}: {name!r}")) for name, patterns in value.items())


def _patterns(value: object, where: str) -> tuple[Pattern, ...]:
    """One text, or a list of some: names as routing sees them, since others could never be equal to one."""
    texts = value if isinstance(value, list) else [value]
    if not 0 < len(texts) <= PATTERNS_MAX:
        raise RoutingError(f"{where}: use 1 to {PATTERNS_MAX} texts")
    for text in texts:
        if isinstance(text, dict):
            raise RoutingError(f"{where}: write the attribute's name in quotes: its dots are part of it")
        if not isinstance(text, str):
            raise RoutingError(f"{where}: {text!r} is not a text: write it in quotes, as it is shown")
        if not text or label(text) != text:
            raise RoutingError(f"{where}: {text!r} never matches: use 1 to {NAME_BYTES_MAX} printable bytes, NFC, stripped")
    return tuple(map(Pattern, texts))


def _template(value: object, part: str, where: str) -> Template:
    if not isinstance(value, str) or len(value.encode()) > TEMPLATE_BYTES_MAX:
        raise RoutingError(f"{where}: use a text of at most {TEMPLATE_BYTES_MAX} bytes")
    pieces: list[tuple[str, str]] = []
    literal = ""
    for piece in _PIECE.finditer(value):
        if piece[0] == "$":
            raise RoutingError(f"{where}: write an attribute as ${{name}}, and the character $ as $$")
        if piece[1] is None:
            literal += "$" if piece[0] == "$$" else piece[0]
        else:
            pieces.append((literal, _name(piece[1], where)))
            literal = ""
    if literal:
        pieces.append((literal, ""))
    nothing = not any(attribute for _, attribute in pieces) and not label("".join(literal for literal, _ in pieces))
    if nothing and part not in _MAY_BE_EMPTY:
        raise RoutingError(f"{where}: it must not be empty")
    return Template(tuple(pieces))
