"""Where the resources of one request go: streams, environments of traces and instances, as the numbers that readers take."""

from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from collector.otlp.limits import OtlpLimits
from collector.otlp.reasons import Reason, explanation
from collector.otlp.redaction import redacted_by_all
from collector.otlp.sanitize import TooManyElements
from collector.otlp.senders import Senders
from collector.otlp.values import plain_attributes, repaired_resource, trusted_resource
from collector.redact import Redactor, StreamRules
from collector.routing import Route, Routes
from collector.routing.conventions import STREAM_ID
from driftlock.engine.canonical import Cuts, TooDeep, Value
from driftlock.engine.event import Signal, StreamKey, trace_stream_key


class _Seen(NamedTuple):
    """What became of a resource, and what was cut of it each time it is there."""

    outcome: Route | TooDeep | TooManyElements
    cuts: Cuts


class Target:
    """A stream of this request, who sends to it, and what its records are redacted with (None = nothing is taken out)."""

    __slots__ = ("nameless", "redactor", "route", "senders")

    def __init__(self, route: Route, instances_max: int, redactor: Redactor | None) -> None:
        self.route = route
        self.redactor = redactor
        self.senders = Senders(instances_max)
        self.nameless = route.nameless


class Targets:
    """The resources of a request by number, and the distinct streams and environments that they go to.

    `streams[r]` is the number of the stream of resource r in `targets` (-1: its records are rejected, or it has none),
    `senders[r]` the number of its instance there, or of that and its version (see `Senders`), `names[r]` that instance's name.
    For spans `environments[r]` is the number in `places` of the traces that resource r belongs to, `services[r]` the number of
    its service in `service_names`.
    `rejected` counts records, by reason.
    """

    def __init__(self, routes: Routes, limits: OtlpLimits, rules: StreamRules | None, cuts: Cuts, bound: str | None) -> None:
        """`bound`: the only stream that the sender may write to, by name (None = any)."""
        self._routes, self._limits, self._rules, self._cuts, self._bound = routes, limits, rules, cuts, bound
        self.streams, self._pairs = array("i"), array("I")
        self.environments, self.services = array("i"), array("I")
        self.names: list[str] = []
        self.targets: list[Target] = []
        self.places: dict[tuple[str, bool], int] = {}
        self.service_names: dict[str, int] = {}
        self.rejected: Counter[Reason] = Counter()
        self.messages: dict[Reason, str] = {}
        self._of_services: dict[int, dict[int, Redactor]] = {}  # those of the streams that a service's texts go to
        self._numbers: dict[tuple[StreamKey, bool], int] = {}
        self._seen: dict[bytes, _Seen] = {}
        self._repaired_bytes = 0

    def add(self, signal: Signal, resources: Sequence[bytes], counts: Sequence[int]) -> None:
        """Take the resources of a request with the numbers of their records, in order."""
        for resource, count in zip(resources, counts, strict=True):
            route = self._route(signal, resource, count) if count else None
            number = -1 if route is None else self._number(signal, route, count)
            if route is None or number < 0:
                self._append(-1, 0, 0, 0, "")
                continue
            target = self.targets[number]
            name, version = _redacted(route.instance, target.redactor), _redacted(route.version, target.redactor)
            target.nameless |= route.nameless
            environment = service = 0
            if signal is Signal.TRACES:
                environment = self.places.setdefault((route.environment, route.historical), len(self.places))
                service = self.service_names.setdefault(route.service, len(self.service_names))
                if target.redactor is not None:
                    self._of_services.setdefault(service, {})[number] = target.redactor
            self._append(number, target.senders.add(name, version), environment, service, name)

    @property
    def senders(self) -> "array[int]":
        """What readers take for the number of each resource's instance, once all resources are added."""
        numbers = [target.senders.numbers() for target in self.targets]
        of = zip(self.streams, self._pairs, strict=True)
        return array("I", [0 if stream < 0 else numbers[stream][pair] for stream, pair in of])

    @property
    def redacts(self) -> bool:
        """Whether any stream of the request has rules."""
        return any(target.redactor is not None for target in self.targets)

    def redacted_scopes(self, scopes: Sequence[str], metrics: "array[int]") -> list[str]:
        """Identities of scopes without what must not be kept; `metrics` is that of a `MetricsEnvelope`."""
        kept = list(scopes)
        for resource, scope in sorted(set(zip(metrics[2::4], metrics[3::4], strict=True))):
            target = self.streams[resource]
            if target >= 0:
                kept[scope] = _redacted(kept[scope], self.targets[target].redactor)
        return kept

    def name_redactor(self, environment: str, service: int) -> Callable[[str], str] | None:
        """What the names of a service's operations are redacted with among the traces of an environment.

        They stand in the texts of the service's streams, too: whatever rules hold there hold here as well.
        """
        of_traces = None if self._rules is None else self._rules.of(trace_stream_key(environment))
        of_texts = self._of_services.get(service, {}).values()
        found = dict.fromkeys([*([] if of_traces is None else [of_traces]), *of_texts])  # mostly one for all
        return partial(redacted_by_all, redactors=found) if found else None

    def _append(self, stream: int, pair: int, environment: int, service: int, name: str) -> None:
        self.streams.append(stream)
        self._pairs.append(pair)
        self.environments.append(environment)
        self.services.append(service)
        self.names.append(name)

    def _route(self, signal: Signal, resource: bytes, count: int) -> Route | None:
        """Where the records of a resource go; None when they were rejected. Equal resources are looked at once."""
        seen = self._seen.get(resource)
        if seen is None:
            if len(self._seen) >= self._limits.resources_distinct_max:
                text = f"a request has at most {self._limits.resources_distinct_max} different resources; send smaller batches"
                self._reject(Reason.TOO_MANY_STREAMS, count, text)
                return None
            cuts = Cuts()
            seen = self._seen[resource] = _Seen(self._looked_at(signal, resource, cuts), cuts)
        self._cuts.add(seen.cuts)
        if isinstance(seen.outcome, Route):
            return seen.outcome
        reason = Reason.TOO_DEEP if isinstance(seen.outcome, TooDeep) else Reason.TOO_MANY_ELEMENTS
        self._reject(reason, count, seen.outcome.message)
        return None

    def _looked_at(self, signal: Signal, resource: bytes, cuts: Cuts) -> Route | TooDeep | TooManyElements:
        try:
            return self._routes.route(signal, resource, partial(self._attributes, cuts=cuts), cuts)
        except (TooDeep, TooManyElements) as error:
            return error

    def _attributes(self, resource: bytes, cuts: Cuts) -> Mapping[str, Value]:
        limits = self._limits
        message = trusted_resource(resource, limits)
        if message is None:
            self._repaired_bytes += len(resource)
            if self._repaired_bytes > limits.resource_bytes_repaired_max:
                raise TooManyElements(
                    f"resources that are damaged or long have more than {limits.resource_bytes_repaired_max} bytes in a request"
                )
            message = repaired_resource(resource, limits, cuts)
        return plain_attributes(message.attributes, limits.resource_attributes_max, limits.text.depth_max, cuts)

    def _number(self, signal: Signal, route: Route, count: int) -> int:
        """The number of a route's stream, a new one while there is room; -1 when it may not or can not be written to."""
        if self._bound is not None and route.key != StreamKey(signal, self._bound):
            text = f"the API key is bound to the stream {self._bound}: set {STREAM_ID} to it, or use another key"
            self._reject(Reason.WRONG_STREAM, count, text)
            return -1
        key = (route.key, route.historical)
        number = self._numbers.get(key)
        place_is_new = signal is Signal.TRACES and (route.environment, route.historical) not in self.places
        further = (number is None) + place_is_new
        if further and len(self._numbers) + len(self.places) + further > self._limits.streams_max:
            self._reject(Reason.TOO_MANY_STREAMS, count, explanation(Reason.TOO_MANY_STREAMS, self._limits))
            return -1
        if number is None:
            number = self._numbers[key] = len(self.targets)
            redactor = None if self._rules is None else self._rules.of(route.key)
            self.targets.append(Target(route, self._limits.instances_max, redactor))
        return number

    def _reject(self, reason: Reason, count: int, message: str) -> None:
        self.rejected[reason] += count
        self.messages.setdefault(reason, message)


def _redacted(name: str, redactor: Redactor | None) -> str:
    return redactor.text(name) if name and redactor is not None else name
