"""Rules of routing: patterns, templates, which rule decides, and what it decides."""

import fnmatch
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.routing import ResourceRouter
from collector.routing.file import parse_rules
from collector.routing.rules import Pattern, RoutingRules, Rule, Template
from driftlock.engine.event import TRACES_SERVICE, Signal, StreamKey

CART = {"service.name": "cart", "service.namespace": "shop", "deployment.environment.name": "prod", "host.name": "a1"}


def router(text: str) -> ResourceRouter:
    return ResourceRouter(parse_rules(text.encode()))


def key(text: str, resource: dict[str, Any], signal: Signal = Signal.LOGS) -> StreamKey:
    return router(text).route(signal, resource).key


@given(st.text("ab*", max_size=8), st.text("ab", max_size=10))
def test_a_pattern_matches_as_shells_do(pattern: str, value: str) -> None:
    assert Pattern(pattern).matches(value) == fnmatch.fnmatchcase(value, pattern)


def test_a_pattern_takes_linear_time() -> None:
    pattern = Pattern("*" + "a*" * 120 + "b")
    assert not pattern.matches("a" * 256)
    assert pattern.matches("a" * 255 + "b")


def test_a_template_needs_all_its_attributes() -> None:
    template = Template((("jobs/", "a"), ("-", "b"), ("!", "")))
    assert template.fill({"a": "1", "b": "2"}.get) == "jobs/1-2!"  # type: ignore[arg-type]
    assert template.fill(lambda name: "" if name == "b" else "1") is None


def test_without_rules_nothing_changes() -> None:
    for signal in Signal:
        assert ResourceRouter(RoutingRules()).route(signal, CART) == ResourceRouter().route(signal, CART)
        assert router("").route(signal, CART) == ResourceRouter().route(signal, CART)


def test_the_first_rule_that_holds_decides() -> None:
    text = """
    [[rule]]
    match = {"service.name" = "cart", "host.name" = "b*"}
    stream = "of b"
    [[rule]]
    match = {"service.name" = ["x", "ca*"]}
    stream = "of carts"
    [[rule]]
    match = {"service.name" = "*"}
    stream = "of all"
    """
    assert key(text, CART) == StreamKey(Signal.LOGS, "of carts")
    assert key(text, CART | {"host.name": "b7"}) == StreamKey(Signal.LOGS, "of b")
    assert key(text, {"service.name": "other"}) == StreamKey(Signal.LOGS, "of all")
    assert key(text, {}) == StreamKey(Signal.LOGS, "unknown_service")


def test_a_rule_of_some_signals() -> None:
    text = '[[rule]]\nsignals = ["metrics"]\nservice = "hosts"'
    assert key(text, CART, Signal.METRICS) == StreamKey(Signal.METRICS, "hosts", "shop", "prod")
    assert key(text, CART) == StreamKey(Signal.LOGS, "cart", "shop", "prod")


def test_a_condition_that_something_is_absent() -> None:
    text = '[[rule]]\nabsent = ["service.name"]\nmatch = {"host.name" = "*"}\nservice = "hosts"'
    assert key(text, {"host.name": "a"}).service == "hosts"
    assert key(text, CART).service == "cart"
    assert key(text, {"host.name": "a", "service.name": "\x00"}).service == "hosts"


@pytest.mark.parametrize("value", [True, 3, 2.5, b"\x01"])
def test_values_are_compared_as_they_are_shown(value: object) -> None:
    shown = {True: "true", 3: "3", 2.5: "2.5", b"\x01": "01"}[value]  # type: ignore[index]
    assert key(f'[[rule]]\nmatch = {{a = "{shown}"}}\nservice = "x-${{a}}"', {"a": value}).service == f"x-{shown}"


def test_a_rule_whose_template_can_not_be_filled_does_not_hold() -> None:
    text = '[[rule]]\nservice = "${k8s.cronjob.name}"\n[[rule]]\nservice = "second"'
    assert key(text, CART | {"k8s.cronjob.name": "night"}).service == "night"
    assert key(text, CART).service == "second"
    assert key(text, CART | {"k8s.cronjob.name": ["a"]}).service == "second"


def test_parts_that_a_rule_does_not_set_stay() -> None:
    assert key('[[rule]]\nenvironment = "test"', CART) == StreamKey(Signal.LOGS, "cart", "shop", "test")
    assert key('[[rule]]\nnamespace = ""', CART) == StreamKey(Signal.LOGS, "cart", "", "prod")
    assert key('[[rule]]\nnamespace = ""\nenvironment = ""', CART) == StreamKey(Signal.LOGS, "cart")
    assert key('[[rule]]\nservice = "${service.namespace}-${service.name}"', CART).service == "shop-cart"
    fallback = {"k8s.deployment.name": "web", "k8s.namespace.name": "shop"}
    assert key('[[rule]]\nnamespace = ""', fallback) == StreamKey(Signal.LOGS, "web")
    assert key('[[rule]]\nservice = "x"', fallback) == StreamKey(Signal.LOGS, "x")


def test_the_instance_can_be_chosen_or_dropped() -> None:
    assert router('[[rule]]\ninstance = ""').route(Signal.LOGS, CART).instance == ""
    chosen = router('[[rule]]\ninstance = "${host.name}/${service.name}"').route(Signal.LOGS, CART)
    assert (chosen.instance, chosen.key) == ("a1/cart", ResourceRouter().route(Signal.LOGS, CART).key)


def test_rules_go_before_what_a_sender_chooses_unless_they_leave_the_stream_alone() -> None:
    chose = CART | {"driftlock.stream_id": "mine"}
    assert key('[[rule]]\nservice = "x"', chose) == StreamKey(Signal.LOGS, "x", "shop", "prod")
    assert key('[[rule]]\nstream = "x"', chose) == StreamKey(Signal.LOGS, "x")
    assert key('[[rule]]\ninstance = "x"', chose) == StreamKey(Signal.LOGS, "mine")
    assert key('[[rule]]\nabsent = ["driftlock.stream_id"]\nservice = "x"', chose) == StreamKey(Signal.LOGS, "mine")


def test_a_stream_of_a_rule_does_not_change_whose_records_they_are() -> None:
    route = router('[[rule]]\nstream = "one"').route(Signal.TRACES, CART)
    assert (route.service, route.environment) == ("shop/cart", "prod")
    assert not router('[[rule]]\nstream = "one"').route(Signal.LOGS, {}).nameless
    assert not router('[[rule]]\nservice = "one"').route(Signal.LOGS, {}).nameless
    assert router('[[rule]]\ninstance = "one"').route(Signal.LOGS, {}).nameless


def test_lists_say_what_names_are_read_from() -> None:
    text = 'service = ["app", "service.name"]\nnamespace = []\nenvironment = ["stage"]\ninstance = ["task"]'
    resource = CART | {"app": "kiosk", "stage": "s1", "task": "t"}
    route = router(text).route(Signal.LOGS, resource)
    assert (route.key, route.instance) == (StreamKey(Signal.LOGS, "kiosk", "", "s1"), "t")
    assert key(text, resource | {"app": "unknown_service"}).service == "cart"
    only = router("service_fallback = []\nnamespace_fallback = []")
    assert only.route(Signal.LOGS, {"k8s.deployment.name": "web"}).key.service == "unknown_service"


def test_the_streams_of_our_own_can_not_be_named_by_a_rule_either() -> None:
    for name in (TRACES_SERVICE, "_overflow"):
        assert key(f'[[rule]]\nservice = "{name}"', {}).service == f"_{name}"
        assert key('[[rule]]\nstream = "${a}"', {"a": name}).service == f"_{name}"


@given(st.text(max_size=600), st.sampled_from(["stream", "service", "namespace", "environment", "instance"]))
def test_whatever_fills_a_template_the_key_is_bounded(value: str, part: str) -> None:
    route = router(f'[[rule]]\n{part} = "${{a}}/${{a}}${{a}}"').route(Signal.LOGS, {"a": value})
    for name in (route.key.service, route.key.namespace, route.key.environment, route.instance):
        assert len(name.encode()) <= 256
        assert not set(name) & set("\x00\r\n\u202e")
    assert route.key.service


def test_a_decision_says_why() -> None:
    decided = router('[[rule]]\nname = "mine"\nenvironment = "e"').decide(Signal.LOGS, CART)
    assert (decided.rule, decided.environment_from, decided.service_from) == ("mine", "rule: environment", "service.name")
    assert ResourceRouter().decide(Signal.LOGS, CART | {"driftlock.stream_id": "s"}).stream_from == "driftlock.stream_id"
    assert ResourceRouter().decide(Signal.LOGS, {}).service_from == ""


def test_work_is_bounded_by_the_rules() -> None:
    asked: list[str] = []

    class Attributes(dict[str, Any]):
        def get(self, name: str, default: Any = None) -> Any:
            asked.append(name)
            return super().get(name, default)

    patterns = tuple(Pattern(f"{number}*z") for number in range(64))
    rules = tuple(Rule(f"r{n}", present=(("a", patterns),), service=Template((("x", ""),))) for n in range(256))
    ResourceRouter(RoutingRules(rules=rules)).route(
        Signal.LOGS, Attributes({"a": "y" * 10**6, **{f"k{n}": "" for n in range(1000)}})
    )
    assert asked.count("a") == 1  # read and cut to a name once
    assert len(asked) < 40
