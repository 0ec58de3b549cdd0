"""The configuration as a file: YAML in and out, with the lines of what is wrong.

Aliases are refused: a few lines of them can stand for gigabytes. What a member may hold is decided by the server; here it is
only made sure that each is known, stands once, and is of the right sort.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import yaml

from driftlock.engine.profile import DEFAULT_PROFILE, PROFILES, Profile

VERSION = 1
FILE_BYTES_MAX = 4 * 1024 * 1024
DEPTH_MAX = 8
PROFILE_MEMBERS = tuple(each.name for each in fields(Profile))
RULE_MEMBERS = ("name", "where", "kind", "mask", "action")
ANCHOR_MEMBERS = ("drift_ncd_threshold", "reset_on_drift")
KEY_MEMBERS = ("signal", "service", "namespace", "environment")
STREAM_MEMBERS = (*KEY_MEMBERS, "display_name", "retention_days", "profile", "redaction", "anchor")

Key = tuple[str, str, str, str]


class ConfigError(Exception):
    """A file that can not be a configuration; the text says where and what to do."""


@dataclass(slots=True)
class StreamConfig:
    """What a file says of a stream: only what is there is set. `key` is signal, service, namespace and environment."""

    key: Key
    settings: dict[str, Any] = field(default_factory=dict)
    profile: dict[str, Any] | None = None
    redaction: list[dict[str, Any]] | None = None
    anchor: dict[str, Any] | None = None


@dataclass(slots=True)
class Config:
    """What a file says: of the account, and of streams in its order."""

    alerts_per_day_max: int | None = None
    redaction: list[dict[str, Any]] | None = None
    streams: list[StreamConfig] = field(default_factory=list)


def parse(text: str) -> Config:
    """The configuration that a file holds. Raises `ConfigError` with the line of the first thing that is wrong."""
    size = len(text.encode("utf-8", "replace"))
    if size > FILE_BYTES_MAX:
        raise ConfigError(f"the file has {size} bytes, at most {FILE_BYTES_MAX} are read (file_bytes_max); split it")
    root = _Mapping(_node(text), "the file", ("version", "account", "streams"))
    version = root.scalar("version", int)
    if version != VERSION:
        raise _wrong(root.node, f"has no `version: {VERSION}`, the only one that this version of driftlock reads")
    config = Config()
    account = root.mapping("account", ("alerts_per_day_max", "redaction"))
    if account is not None:
        config.alerts_per_day_max = account.scalar("alerts_per_day_max", int)
        config.redaction = _rules(account)
    lines: dict[Key, int] = {}
    for node in root.items("streams"):
        stream = _stream(_Mapping(node, "a stream", STREAM_MEMBERS))
        if stream.key in lines:
            raise _wrong(node, f"is the stream of line {lines[stream.key]} again; join them")
        lines[stream.key] = _line(node)
        config.streams.append(stream)
    return config


def render(config: Config) -> str:
    """A file that says it. `parse` of it gives an equal configuration."""
    account: dict[str, Any] = {}
    if config.alerts_per_day_max is not None:
        account["alerts_per_day_max"] = config.alerts_per_day_max
    if config.redaction is not None:
        account["redaction"] = config.redaction
    streams = []
    for stream in config.streams:
        told: dict[str, Any] = {name: value for name, value in zip(KEY_MEMBERS, stream.key, strict=True) if value}
        told |= stream.settings
        for name in ("profile", "redaction", "anchor"):
            if getattr(stream, name) is not None:
                told[name] = getattr(stream, name)
        streams.append(told)
    whole = {"version": VERSION, "account": account, "streams": streams}
    text: str = yaml.dump(whole, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=120)
    return text


class _Dumper(yaml.SafeDumper):
    """Writes no aliases, which `parse` refuses."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _node(text: str) -> yaml.Node:
    try:
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            if isinstance(token, yaml.AliasToken | yaml.AnchorToken):
                raise ConfigError(f"line {token.start_mark.line + 1}: aliases (& and *) are not read; write it out")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = 0 if error.problem_mark is None else error.problem_mark.line
        raise ConfigError(f"line {line + 1}: is no YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"the file is no YAML: {error}") from None
    if node is None:
        raise ConfigError(f"the file is empty; it begins with `version: {VERSION}`")
    return node


class _Mapping:
    """The members of a mapping, each known and there once."""

    def __init__(self, node: yaml.Node, what: str, known: Sequence[str]) -> None:
        if not isinstance(node, yaml.MappingNode):
            raise _wrong(node, f"{what} must be a mapping of {', '.join(known)}")
        self.node = node
        self.members: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value not in known:
                named = key.value if isinstance(key, yaml.ScalarNode) else "this"
                raise _wrong(key, f"{named!r} is no member of {what}; known are {', '.join(known)}")
            if key.value in self.members:
                raise _wrong(key, f"{key.value!r} stands twice; remove one")
            self.members[key.value] = value

    def scalar(self, name: str, sort: type) -> Any:
        """A plain value of that type; None where there is none, or null."""
        node = self.members.get(name)
        if node is None:
            return None
        value = _value(node)
        if value is not None and type(value) is not sort:
            raise _wrong(node, f"{name} must be {_SORTS[sort]}")
        return value

    def mapping(self, name: str, known: Sequence[str]) -> "_Mapping | None":
        """A mapping; None where there is none, or nothing in it."""
        node = self.members.get(name)
        return None if node is None or _is_null(node) else _Mapping(node, name, known)

    def items(self, name: str) -> Iterator[yaml.Node]:
        """The items of a list."""
        node = self.members.get(name)
        if node is None or _is_null(node):
            return
        if not isinstance(node, yaml.SequenceNode):
            raise _wrong(node, f"{name} must be a list")
        yield from node.value


_SORTS = {int: "a whole number", str: "a text", bool: "true or false", float: "a number", list: "a list of texts"}
_PROFILE_SORTS: Mapping[type, tuple[type, ...]] = {
    bool: (bool,),
    int: (int,),
    float: (float, int),
    str: (str,),
    tuple: (list,),
}
"""What stands in a file for the type of a profile's value."""


def _stream(told: _Mapping) -> StreamConfig:
    signal = told.scalar("signal", str) or "logs"
    service = told.scalar("service", str)
    if not service:
        raise _wrong(told.node, "a stream needs its service")
    stream = StreamConfig((signal, service, told.scalar("namespace", str) or "", told.scalar("environment", str) or ""))
    for name, sort in (("display_name", str), ("retention_days", int)):
        if name in told.members:
            stream.settings[name] = told.scalar(name, sort)
    if stream.settings.get("display_name", "") is None:
        stream.settings["display_name"] = ""
    profile = told.mapping("profile", PROFILE_MEMBERS)
    if profile is not None:
        stream.profile = {name: _member(name, node) for name, node in profile.members.items()}
    stream.redaction = _rules(told)
    anchor = told.mapping("anchor", ANCHOR_MEMBERS)
    if anchor is not None:
        stream.anchor = {name: _value(node) for name, node in anchor.members.items()}
    return stream


def _member(name: str, node: yaml.Node) -> Any:
    """A member of a profile."""
    sorts = _PROFILE_SORTS[type(getattr(PROFILES[DEFAULT_PROFILE], name))]
    value = _value(node)
    if type(value) not in sorts or (isinstance(value, list) and not all(isinstance(each, str) for each in value)):
        raise _wrong(node, f"{name} must be {_SORTS[sorts[0]]}")
    return value


def _rules(told: _Mapping) -> list[dict[str, Any]] | None:
    """Redaction rules, as the API shows them; None where nothing is said of them."""
    if "redaction" not in told.members:
        return None
    rules = []
    for node in told.items("redaction"):
        rule = _Mapping(node, "a redaction rule", RULE_MEMBERS)
        rules.append({name: value for name in RULE_MEMBERS if (value := rule.scalar(name, str)) is not None})
    return rules


def _value(node: yaml.Node) -> Any:
    """What a node says that holds no mappings."""
    if isinstance(node, yaml.SequenceNode):
        return [_value(each) for each in node.value]
    if not isinstance(node, yaml.ScalarNode):
        raise _wrong(node, "a plain value is needed here")
    try:
        return yaml.SafeLoader("").construct_object(node)
    except (yaml.YAMLError, ValueError, OverflowError):
        raise _wrong(node, f"{node.value[:40]!r} can not be read; write a text in quotes") from None


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _line(node: yaml.Node) -> int:
    line: int = node.start_mark.line + 1
    return line


def _wrong(node: yaml.Node, detail: str) -> ConfigError:
    return ConfigError(f"line {_line(node)}: {detail}")
