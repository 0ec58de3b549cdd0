"""From resource attributes to the stream of a tenant that their records belong to.

Identity follows the OpenTelemetry semantic conventions: `service.namespace`, `service.name` and the deployment
environment. What tells copies of a service apart (pod, container, host) is evidence and never identity: a rollout would
otherwise begin every stream anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from driftlock.engine.canonical import Value, label, scalar_text
from driftlock.engine.event import TRACES_SERVICE, Signal, StreamKey

UNKNOWN_SERVICE = "unknown_service"
STREAM_ID = "driftlock.stream_id"
HISTORICAL = "driftlock.historical"
ENVIRONMENTS = ("deployment.environment.name", "deployment.environment")  # the second is the name used before 1.27
INSTANCES = ("service.instance.id", "k8s.pod.name", "k8s.pod.uid", "container.id", "host.name")


@dataclass(frozen=True, slots=True)
class Route:
    """Where the records of one resource go, which instance sent them ("" = unknown), and whether they replay the past.

    `service` ("namespace/name", or "name" alone) and `environment` are the resource's own, whatever stream it chose.
    """

    key: StreamKey
    instance: str
    historical: bool
    service: str
    environment: str


class Router(Protocol):
    """Decides the route of a resource."""

    def route(self, signal: Signal, attributes: Mapping[str, Value]) -> Route:
        """The route for records of `signal` whose resource has these attributes. Pure."""
        ...


class ResourceRouter:
    """The default routing: (service.namespace, service.name, environment, signal), or `driftlock.stream_id` alone.

    Names are normalised (NFC, nothing invisible, at most 256 bytes). A resource without a service name goes to
    `unknown_service`. The name of the streams in which traces are put together is taken: who uses it gets an underscore more.
    The tenant is never taken from attributes: it comes from the credential.
    """

    def route(self, signal: Signal, attributes: Mapping[str, Value]) -> Route:
        """See `Router.route`.

        >>> ResourceRouter().route(Signal.LOGS, {"service.name": "cart", "host.name": "a1"}).key.text
        'logs:cart'
        """
        explicit = _free(_name(attributes, STREAM_ID))
        service = _free(_name(attributes, "service.name")) or UNKNOWN_SERVICE
        namespace = _name(attributes, "service.namespace")
        environment = next(filter(None, (_name(attributes, name) for name in ENVIRONMENTS)), "")
        key = StreamKey(signal, explicit) if explicit else StreamKey(signal, service, namespace, environment)
        instance = next(filter(None, (_name(attributes, name) for name in INSTANCES)), "")
        historical = attributes.get(HISTORICAL)
        full = f"{namespace}/{service}" if namespace else service
        return Route(key, instance, historical is True or historical == "true", full, environment)


def _name(attributes: Mapping[str, Value], attribute: str) -> str:
    value = attributes.get(attribute)
    if isinstance(value, str | bool | int | float | bytes):
        return label(scalar_text(value))
    return ""


def _free(name: str) -> str:
    """The name, unless it is ours."""
    return f"_{name}" if name == TRACES_SERVICE else name
