"""The routing file: what is accepted, and how each mistake is named."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.routing.file import (
    CONDITIONS_MAX,
    FILE_BYTES_MAX,
    NAMES_MAX,
    PATTERNS_MAX,
    RULES_MAX,
    TEMPLATE_BYTES_MAX,
    RoutingError,
    parse_rules,
    read_rules,
)
from collector.routing.rules import ANY_SIGNAL, Pattern, RoutingRules, Rule, Template
from driftlock.engine.event import Signal


def test_an_empty_file_says_the_conventions() -> None:
    assert parse_rules(b"# nothing\n") == RoutingRules()


def test_everything_that_can_be_said() -> None:
    text = """
    service = ["app"]
    service_fallback = ["k8s.deployment.name"]
    namespace = []
    namespace_fallback = []
    environment = ["stage", "env"]
    instance = ["task"]
    [[rule]]
    name = "nightly jobs"
    signals = ["logs", "traces"]
    match = { "service.name" = "nightly-*", zone = ["a", "b"] }
    absent = ["driftlock.stream_id"]
    service = "$$${k8s.cronjob.name}-${zone} {x}"
    namespace = ""
    environment = "e"
    instance = "${host.name}"
    [[rule]]
    stream = "rest"
    """
    found = parse_rules(text.encode())
    lists = (found.services, found.service_fallbacks, found.namespaces, found.namespace_fallbacks)
    assert lists == (("app",), ("k8s.deployment.name",), (), ())
    assert (found.environments, found.instances) == (("stage", "env"), ("task",))
    assert found.rules == (
        Rule(
            "nightly jobs",
            frozenset({Signal.LOGS, Signal.TRACES}),
            (("service.name", (Pattern("nightly-*"),)), ("zone", (Pattern("a"), Pattern("b")))),
            ("driftlock.stream_id",),
            None,
            Template((("$", "k8s.cronjob.name"), ("-", "zone"), (" {x}", ""))),
            Template(),
            Template((("e", ""),)),
            Template((("", "host.name"),)),
        ),
        Rule("rule 2", ANY_SIGNAL, stream=Template((("rest", ""),))),
    )


MISTAKES = {
    "not UTF-8": (b"a = '\xff'", "byte 5 is not UTF-8"),
    "not TOML": (b"# rules\nservice = a\n", "not TOML: .*line 2"),
    "twice": (b"service = ['a']\nservice = ['b']", "not TOML: Cannot overwrite a value"),
    "too deep": (b"a = " + b"[" * 100_000, "not TOML: it is nested too deep"),
    "key": (b"servce = ['a']", "'servce' is not a key; did you mean 'service'"),
    "key of a rule": (
        b"[[rule]]\nstream='a'\n[[rule]]\nsteam='a'",
        r"rule 2: 'steam' is not a key; did you mean 'stream'",
    ),
    "rule is no list": (b"[rule]\nstream='a'", r"rule: write each rule below a line \[\[rule\]\]"),
    "list": (b"service = 'a'", "service: use a list of attribute names"),
    "name in a list": (b"instance = [3]", "instance: 3 is not the name of an attribute"),
    "long name": (b"instance = ['" + b"x" * 257 + b"']", "instance: .* is not the name"),
    "named twice": (b"instance = ['a', 'a']", "instance: an attribute is named twice"),
    "no service": (b"service = []", "service: name at least one attribute"),
    "name of a rule": (b"[[rule]]\nname = ''\nstream='a'", "rule 1: name: use 1 to 256 bytes"),
    "nothing": (b"[[rule]]\nname='n'\nmatch={a='b'}", r"rule 1 \('n'\): it changes nothing: set one of stream, service"),
    "both": (b"[[rule]]\nstream='a'\nservice='b'", "rule 1: stream is the whole identity: remove it"),
    "signals": (b"[[rule]]\nstream='a'\nsignals=['profiles']", "rule 1: signals: use a list of logs, metrics, traces"),
    "signal": (b"[[rule]]\nstream='a'\nsignals='logs'", "rule 1: signals: use a list"),
    "no signals": (b"[[rule]]\nstream='a'\nsignals=[]", "rule 1: signals: use a list"),
    "match": (b"[[rule]]\nstream='a'\nmatch='x'", "rule 1: match: use a table"),
    "unquoted": (
        b"[[rule]]\nstream='a'\nmatch={service.name='x'}",
        "rule 1: match: 'service': write the attribute's name in quotes",
    ),
    "number": (b"[[rule]]\nstream='a'\nmatch={a=3}", "rule 1: match: 'a': 3 is not a text"),
    "no patterns": (b"[[rule]]\nstream='a'\nmatch={a=[]}", "rule 1: match: 'a': use 1 to 64 texts"),
    "never matches": (b"[[rule]]\nstream='a'\nmatch={a=' x'}", "rule 1: match: 'a': ' x' never matches"),
    "empty pattern": (b"[[rule]]\nstream='a'\nmatch={a=''}", "rule 1: match: 'a': '' never matches"),
    "template": (b"[[rule]]\nstream=3", "rule 1: stream: use a text of at most"),
    "open template": (b"[[rule]]\nstream='${a'", r"rule 1: stream: write an attribute as \$\{name\}"),
    "dollar": (b"[[rule]]\nstream='$a'", r"rule 1: stream: write an attribute as"),
    "no attribute": (b"[[rule]]\nstream='${}'", "rule 1: stream: '' is not the name of an attribute"),
    "empty stream": (b"[[rule]]\nstream=''", "rule 1: stream: it must not be empty"),
    "invisible service": (b"[[rule]]\nservice=' '", "rule 1: service: it must not be empty"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_by_its_place(mistake: str) -> None:
    data, told = MISTAKES[mistake]
    with pytest.raises(RoutingError, match=told) as caught:
        parse_rules(data)
    assert "\n" not in str(caught.value)


def listed(count: int) -> str:
    return "[" + ",".join(f"'a{number}'" for number in range(count)) + "]"


@pytest.mark.parametrize(
    ("good", "told"),
    [
        (lambda extra: "[[rule]]\nstream='a'\n" * (RULES_MAX + extra), "at most 256 are allowed"),
        (lambda extra: f"instance = {listed(NAMES_MAX + extra)}", "at most 32 attribute names"),
        (
            lambda extra: "[[rule]]\nstream='a'\nmatch={" + ",".join(f"a{n}='x'" for n in range(CONDITIONS_MAX + extra)) + "}",
            "at most 16",
        ),
        (lambda extra: f"[[rule]]\nstream='a'\nmatch={{a={listed(PATTERNS_MAX + extra)}}}", "use 1 to 64 texts"),
        (lambda extra: f"[[rule]]\nstream='{'x' * (TEMPLATE_BYTES_MAX + extra)}'", "at most 512 bytes"),
        (lambda extra: "#" * (FILE_BYTES_MAX + extra), "more than 262144 bytes"),
    ],
    ids=["rules_max", "names_max", "conditions_max", "patterns_max", "template_bytes_max", "file_bytes_max"],
)
def test_limits(good: object, told: str) -> None:
    parse_rules(good(0).encode())  # type: ignore[operator]
    with pytest.raises(RoutingError, match=told):
        parse_rules(good(1).encode())  # type: ignore[operator]


@given(
    st.one_of(
        st.binary(max_size=60),
        st.text(max_size=60).map(lambda text: f"[[rule]]\nstream = '''{text}'''".encode("utf-8", "replace")),
    )
)
def test_anything_is_either_rules_or_a_mistake(data: bytes) -> None:
    with suppress(RoutingError):
        assert isinstance(parse_rules(data), RoutingRules)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["named pipe", "folder"])
def test_what_is_no_regular_file_is_refused_without_waiting(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "rules")
    with pytest.raises(RoutingError, match=r"is not a regular file|the file can not be read: Is a directory"):
        read_rules(str(tmp_path / "rules"))
