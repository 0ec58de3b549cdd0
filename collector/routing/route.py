"""What routing decides, and the seam behind which it is decided."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from driftlock.engine.canonical import Value
from driftlock.engine.event import Signal, StreamKey


@dataclass(frozen=True, slots=True)
class Route:
    """Where the records of one resource go, which instance sent them ("" = unknown), and whether they replay the past.

    `service` ("namespace/name", or "name" alone) and `environment` are the resource's own, whatever stream it chose.
    `nameless`: nothing says what its service is called, and so it shares the stream of all that say nothing. `version` is
    that of the service ("" = unknown).
    """

    key: StreamKey
    instance: str
    historical: bool
    service: str
    environment: str
    nameless: bool = False
    version: str = ""


class Router(Protocol):
    """Decides the route of a resource."""

    def route(self, signal: Signal, attributes: Mapping[str, Value]) -> Route:
        """The route for records of `signal` whose resource has these attributes. Pure."""
        ...


class Decision(NamedTuple):
    """A route and why: the rule that decided ("" = none), and of each part the attribute that it was read from.

    A part that a rule has set names the rule's key, such as `rule: service`; "" is a part that nothing gave.
    """

    route: Route
    rule: str
    stream_from: str
    service_from: str
    namespace_from: str
    environment_from: str
    instance_from: str
