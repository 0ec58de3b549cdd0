"""From the configuration that is wanted to the requests that make a server so, and back."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from driftlock.engine.event import TRACES_SERVICE
from driftlock.engine.profile import CUSTOM, PROFILES
from server.client import RestClient
from server.config_file import KEY_MEMBERS, PROFILE_MEMBERS, RULE_MEMBERS, Config, Key, StreamConfig

OF_TRACES = ("p_value_threshold", "alerts_per_day_max")
"""Members of the profile of a stream where traces are put together."""


@dataclass(frozen=True, slots=True)
class Change:
    """One request, and what it changes in words, a line a member.

    `waits`: what of it may be impossible for now (409), as a baseline is not there at once; None where nothing may.
    """

    method: str
    path: Callable[[], str] = field(repr=False)
    body: Mapping[str, Any]
    where: str
    lines: tuple[str, ...]
    waits: str | None = None
    answered: Callable[[Mapping[str, Any]], None] = field(default=lambda _answer: None, repr=False)


def exported(client: RestClient) -> Config:
    """The configuration of the account that the client's key is of. Raises `ClientError`."""
    config = Config(client.fetch("/v1/budget")["tenant"]["allowed"], _rules(client.fetch("/v1/redaction")))
    for stream in client.pages("/v1/streams", "streams"):
        config.streams.append(_exported(client, stream))
    config.streams.sort(key=lambda each: each.key)
    return config


def planned(client: RestClient, wanted: Config) -> list[Change]:
    """What has to be asked so that the server is as `wanted` says; nothing for what it does not speak of."""
    changes = list(_of_account(client, wanted))
    there = {_key(stream): stream for stream in client.pages("/v1/streams", "streams")}
    for stream in wanted.streams:
        found = there.get(stream.key)
        changes += _created(stream) if found is None else _changed(client, stream, found)
    return changes


def _exported(client: RestClient, stream: Mapping[str, Any]) -> StreamConfig:
    made = StreamConfig(_key(stream))
    if stream["display_name"]:
        made.settings["display_name"] = stream["display_name"]
    if stream["retention_days"] is not None:
        made.settings["retention_days"] = stream["retention_days"]
    made.profile = _shown_profile(stream)
    rules = _rules(client.fetch(f"{_path(stream)}/redaction"))
    made.redaction = rules or None
    anchor = None if _is_of_traces(stream) else client.find(f"{_path(stream)}/anchor")
    if anchor is not None and anchor["anchor"] is not None:
        made.anchor = dict(anchor["settings"])
    return made


def _shown_profile(stream: Mapping[str, Any]) -> dict[str, Any]:
    """A built-in profile by its name, another one by all its values."""
    profile = stream["profile"]
    if _is_of_traces(stream):
        return {name: profile[name] for name in OF_TRACES}
    return {"name": profile["name"]} if profile["name"] in PROFILES else {name: profile[name] for name in PROFILE_MEMBERS}


def _of_account(client: RestClient, wanted: Config) -> Iterator[Change]:
    if wanted.alerts_per_day_max is not None:
        now = client.fetch("/v1/budget")["tenant"]["allowed"]
        if now != wanted.alerts_per_day_max:
            told = (_line("alerts_per_day_max", now, wanted.alerts_per_day_max),)
            yield Change("PATCH", lambda: "/v1/budget", {"alerts_per_day_max": wanted.alerts_per_day_max}, "account", told)
    if wanted.redaction is not None:
        yield from _redaction(lambda: "/v1/redaction", "account", _rules(client.fetch("/v1/redaction")), wanted.redaction)


def _created(stream: StreamConfig) -> Iterator[Change]:
    """A stream that is not there yet: its path is known when it is."""
    known: dict[str, str] = {}
    body = dict(zip(KEY_MEMBERS, stream.key, strict=True)) | stream.settings | _profile_body(stream.profile or {})
    lines = tuple(f"+ {name}: {value}" for name, value in body.items() if name not in KEY_MEMBERS)

    def answered(answer: Mapping[str, Any]) -> None:
        known["path"] = _path(answer)

    where = f"new stream {_words(stream.key)}"
    lines = lines or ("+ with the default profile",)
    if stream.anchor is not None:  # there is nothing to freeze yet
        lines += ("(its anchor is frozen when the file is applied again, once the stream has a baseline)",)
    yield Change("POST", lambda: "/v1/streams", body, where, lines, answered=answered)
    if stream.redaction:
        yield from _redaction(lambda: known["path"] + "/redaction", where, [], stream.redaction)


def _changed(client: RestClient, wanted: StreamConfig, stream: Mapping[str, Any]) -> Iterator[Change]:
    path, where = _path(stream), f"stream {_words(wanted.key)}"
    settings = {name: value for name, value in wanted.settings.items() if stream[name] != value}
    if settings:
        told = tuple(_line(name, stream[name], value) for name, value in settings.items())
        yield Change("PATCH", lambda: path, settings, where, told)
    if wanted.profile is not None:
        target = _target(stream["profile"], wanted.profile)
        told = tuple(
            _line(f"profile.{name}", stream["profile"][name], value)
            for name, value in target.items()
            if name != "name" and stream["profile"][name] != value
        )
        if told:
            yield Change("PATCH", lambda: f"{path}/profile", _profile_body(wanted.profile), where, told)
    if wanted.redaction is not None:
        now = _rules(client.fetch(f"{path}/redaction"))
        yield from _redaction(lambda: f"{path}/redaction", where, now, wanted.redaction)
    if wanted.anchor is not None:
        yield from _anchor(client, f"{path}/anchor", where, wanted.anchor)


def _anchor(client: RestClient, path: str, where: str, wanted: Mapping[str, Any]) -> Iterator[Change]:
    found = client.fetch(path)
    settings = {name: value for name, value in found["settings"].items() if name not in wanted} | dict(wanted)
    told = [_line(f"anchor.{name}", found["settings"].get(name), value) for name, value in wanted.items()
            if found["settings"].get(name) != value]  # fmt: skip
    if found["anchor"] is None:
        told.append("+ anchor: the baseline is frozen")
    if told:
        yield Change("PUT", lambda: path, settings, where, tuple(told), waits="anchor")


def _redaction(
    path: Callable[[], str], where: str, now: list[dict[str, Any]], wanted: list[dict[str, Any]]
) -> Iterator[Change]:
    full = [_full(rule) for rule in wanted]
    before = [_full(rule) for rule in now]
    if full == before:
        return
    told = [f"- redaction {_rule_words(rule)}" for rule in before if rule not in full]
    told += [f"+ redaction {_rule_words(rule)}" for rule in full if rule not in before]
    yield Change("PUT", path, {"rules": wanted}, where, tuple(told) or ("~ redaction: the order of the rules",))


def _target(now: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a profile once `wanted` is laid over what it starts from."""
    name = wanted.get("name")
    base = {each: getattr(PROFILES[name], each) for each in PROFILE_MEMBERS} if name in PROFILES else dict(now)
    merged = {**base, **{each: value for each, value in wanted.items() if each != "name"}}
    return {
        each: list(value) if isinstance(value, tuple) else value for each, value in merged.items() if each in PROFILE_MEMBERS
    }


def _profile_body(profile: Mapping[str, Any]) -> dict[str, Any]:
    """A profile as requests have it: a built-in one by `profile`, a custom one by its values alone."""
    body = {name: value for name, value in profile.items() if name != "name"}
    if "name" in profile and profile["name"] != CUSTOM:
        body["profile"] = profile["name"]
    return body


def _rules(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rules as a file has them: without what is the default."""
    rules = []
    for rule in answer["rules"]:
        told = {name: rule[name] for name in RULE_MEMBERS if rule[name] is not None}
        rules.append({name: value for name, value in told.items() if (name, value) != ("where", "text")})
    return rules


def _full(rule: Mapping[str, Any]) -> tuple[Any, ...]:
    defaults = {"where": "text", "action": "replace"}
    return tuple(rule.get(name, defaults.get(name)) for name in RULE_MEMBERS)


def _rule_words(rule: tuple[Any, ...]) -> str:
    name, where, kind, mask, action = rule
    return f"{name}: {action} {kind or mask or 'the value'} in {where}"


def _line(name: str, before: object, after: object) -> str:
    return f"~ {name}: {before} -> {after}"


def _key(stream: Mapping[str, Any]) -> Key:
    return stream["signal"], stream["service"], stream["namespace"], stream["environment"]


def _is_of_traces(stream: Mapping[str, Any]) -> bool:
    return (stream["signal"], stream["service"]) == ("traces", TRACES_SERVICE)


def _path(stream: Mapping[str, Any]) -> str:
    return f"/v1/streams/{quote(str(stream['id']), safe='')}"


def _words(key: Key) -> str:
    signal, service, namespace, environment = key
    return f"{signal} {'/'.join(part for part in (namespace, service) if part)}{f' in {environment}' if environment else ''}"
