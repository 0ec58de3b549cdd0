"""Where the resources of one request go: streams, environments of traces and instances, as the numbers that readers take."""

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from collector.otlp.limits import OtlpLimits
from collector.otlp.reasons import Reason, explanation
from collector.otlp.sanitize import TooManyElements
from collector.otlp.values import plain_attributes, repaired_resource, trusted_resource
from collector.redact import Redactor
from collector.routing import Route, Routes
from collector.routing.conventions import STREAM_ID
from driftlock.engine.canonical import Cuts, TooDeep, Value
from driftlock.engine.event import Signal, StreamKey


class Instances:
    """Names of instances of one stream, numbered from 1 in the order in which they came; at most `instances_max`."""

    __slots__ = ("_instances_max", "_numbers")

    def __init__(self, instances_max: int) -> None:
        self._instances_max = instances_max
        self._numbers: dict[str, int] = {}

    def number(self, instance: str) -> int:
        """The number of an instance; 0 for "" (unknown) and for those over the limit."""
        if not instance or (instance not in self._numbers and len(self._numbers) >= self._instances_max):
            return 0
        return self._numbers.setdefault(instance, len(self._numbers) + 1)

    def names(self) -> tuple[str, ...]:
        """All names, the first one first."""
        return tuple(self._numbers)


class _Seen(NamedTuple):
    """What became of a resource, and what was cut of it each time it is there."""

    outcome: Route | TooDeep | TooManyElements
    cuts: Cuts


class Target:
    """A stream of this request, and the instances that send to it."""

    __slots__ = ("instances", "nameless", "route")

    def __init__(self, route: Route, instances_max: int) -> None:
        self.route = route
        self.instances = Instances(instances_max)
        self.nameless = route.nameless


class Targets:
    """The resources of a request by number, and the distinct streams and environments that they go to.

    `streams[r]` is the number of the stream of resource r in `targets` (-1: its records are rejected, or it has none),
    `instances[r]` the number of its instance there, `names[r]` that instance's name. For spans `environments[r]` is the number
    in `places` of the traces that resource r belongs to, `services[r]` the number of its service in `service_names`.
    `rejected` counts records, by reason.
    """

    def __init__(self, routes: Routes, limits: OtlpLimits, redactor: Redactor | None, cuts: Cuts, bound: str | None) -> None:
        """`bound`: the only stream that the sender may write to, by name (None = any)."""
        self._routes, self._limits, self._redactor, self._cuts, self._bound = routes, limits, redactor, cuts, bound
        self.streams, self.instances = array("i"), array("I")
        self.environments, self.services = array("i"), array("I")
        self.names: list[str] = []
        self.targets: list[Target] = []
        self.places: dict[tuple[str, bool], int] = {}
        self.service_names: dict[str, int] = {}
        self.rejected: Counter[Reason] = Counter()
        self.messages: dict[Reason, str] = {}
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
            name = route.instance
            if name and self._redactor is not None:
                name = self._redactor.redact(name)
            target = self.targets[number]
            target.nameless |= route.nameless
            environment = service = 0
            if signal is Signal.TRACES:
                environment = self.places.setdefault((route.environment, route.historical), len(self.places))
                service = self.service_names.setdefault(route.service, len(self.service_names))
            self._append(number, target.instances.number(name), environment, service, name)

    def _append(self, stream: int, instance: int, environment: int, service: int, name: str) -> None:
        self.streams.append(stream)
        self.instances.append(instance)
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
            self.targets.append(Target(route, self._limits.instances_max))
        return number

    def _reject(self, reason: Reason, count: int, message: str) -> None:
        self.rejected[reason] += count
        self.messages.setdefault(reason, message)
