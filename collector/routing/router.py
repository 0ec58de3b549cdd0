"""The router of resources: rules first, then the conventions."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from collector.routing.conventions import HISTORICAL, STREAM_ID, UNKNOWN_SERVICE, VERSIONS, is_unknown
from collector.routing.route import Decision, Route
from collector.routing.rules import Read, RoutingRules, Rule
from driftlock.engine.canonical import Value, label, scalar_text
from driftlock.engine.event import TRACES_SERVICE, Signal, StreamKey

OVERFLOW_SERVICE = "_overflow"
"""The service of the stream that takes the records of all streams over a tenant's number of them."""

_TAKEN = frozenset({TRACES_SERVICE, OVERFLOW_SERVICE})


class _Part(NamedTuple):
    """A name and where it is from."""

    text: str = ""
    origin: str = ""


_NOTHING = _Part()


class ResourceRouter:
    """Routes by `rules`; without any: (service.namespace, service.name, environment, signal), or `driftlock.stream_id` alone.

    Names are normalised (NFC, nothing invisible, at most 256 bytes). A resource without a service's name is called after what
    runs it (see `conventions`), else it goes to `unknown_service`. Names of streams of our own are taken: who uses one gets
    an underscore more. The tenant is never taken from attributes: it comes from the credential.
    """

    def __init__(self, rules: RoutingRules | None = None) -> None:
        """None: the conventions alone."""
        self._rules = rules or RoutingRules()

    def route(self, signal: Signal, attributes: Mapping[str, Value]) -> Route:
        """See `Router.route`.

        >>> ResourceRouter().route(Signal.LOGS, {"service.name": "cart", "host.name": "a1"}).key.text
        'logs:cart'
        """
        return self.decide(signal, attributes).route

    def decide(self, signal: Signal, attributes: Mapping[str, Value]) -> Decision:
        """The route and why."""
        read = _reader(attributes)
        rule, given = self._ruled(signal, read)
        service, unknown, fallen_back = self._service(read, given)
        namespace = given.get("namespace") or _first(read, self._rules.namespaces)
        if fallen_back and not namespace.text and "namespace" not in given:
            namespace = _first(read, self._rules.namespace_fallbacks)
        environment = given.get("environment") or _first(read, self._rules.environments)
        instance = given.get("instance") or _first(read, self._rules.instances)
        stream = given.get("stream", _NOTHING)
        if not given.keys() & {"stream", "service", "namespace", "environment"}:
            stream = _first(read, (STREAM_ID,))
        if stream.text:
            key = StreamKey(signal, _free(stream.text))
        else:
            key = StreamKey(signal, service.text, namespace.text, environment.text)
        historical = attributes.get(HISTORICAL)
        route = Route(
            key,
            instance.text,
            historical is True or historical == "true",
            f"{namespace.text}/{service.text}" if namespace.text else service.text,
            environment.text,
            unknown and not stream.text,
            _first(read, VERSIONS).text,
        )
        name = rule.name if rule else ""
        origins = (stream.origin, service.origin, namespace.origin, environment.origin, instance.origin)
        return Decision(route, name, *origins)

    def _ruled(self, signal: Signal, read: Read) -> tuple[Rule | None, dict[str, _Part]]:
        """The first rule that holds, and the parts that it gives."""
        for rule in self._rules.rules:
            if rule.holds(signal, read):
                given = _given(rule, read)
                if given is not None:
                    return rule, given
        return None, {}

    def _service(self, read: Read, given: Mapping[str, _Part]) -> tuple[_Part, bool, bool]:
        """The service, whether it is unknown, and whether its name is a fallback."""
        ruled = given.get("service")
        if ruled:
            return _Part(_free(ruled.text), ruled.origin), False, False
        unknown = _NOTHING
        for name in self._rules.services:
            text = read(name)
            if text and not is_unknown(text):
                return _Part(_free(text), name), False, False
            if text and not unknown.text:
                unknown = _Part(text, name)
        found = _first(read, self._rules.service_fallbacks)
        if found.text:
            return _Part(_free(found.text), found.origin), False, True
        return (unknown if unknown.text else _Part(UNKNOWN_SERVICE)), True, False


def _reader(attributes: Mapping[str, Value]) -> Read:
    """Names in attributes; each is made once, however many rules ask for it."""
    known: dict[str, str] = {}

    def read(attribute: str) -> str:
        text = known.get(attribute)
        if text is None:
            value = attributes.get(attribute)
            text = label(scalar_text(value)) if isinstance(value, str | bool | int | float | bytes) else ""
            known[attribute] = text
        return text

    return read


def _first(read: Read, names: Iterable[str]) -> _Part:
    """The first of the attributes that has a name."""
    for name in names:
        text = read(name)
        if text:
            return _Part(text, name)
    return _NOTHING


def _given(rule: Rule, read: Read) -> dict[str, _Part] | None:
    """The parts that a rule sets; None when a template can not be filled, or gives no name where one is needed."""
    given: dict[str, _Part] = {}
    for part, template in (
        ("stream", rule.stream),
        ("service", rule.service),
        ("namespace", rule.namespace),
        ("environment", rule.environment),
        ("instance", rule.instance),
    ):
        if template is not None:
            text = template.fill(read)
            if text is None:
                return None
            given[part] = _Part(label(text), f"rule: {part}")
    if any(part in given and not given[part].text for part in ("stream", "service")):
        return None
    return given


def _free(name: str) -> str:
    """The name, unless it is ours."""
    return f"_{name}" if name in _TAKEN else name
