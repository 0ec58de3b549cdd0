"""Names of resource attributes, in the order in which they are asked (OpenTelemetry semantic conventions, resources).

A service is what goes on over a rollout, an instance is what a rollout replaces. So names of things that are made anew
(ReplicaSets, Jobs, pods, tasks, hosts) never become the name of a service: each of them would begin a stream of its own,
without a past. The conventions for Kubernetes ("How service.name should be calculated") do name them, as a last resort
and for looking at data, not for comparing them with their past.
"""

STREAM_ID = "driftlock.stream_id"
HISTORICAL = "driftlock.historical"

UNKNOWN_SERVICE = "unknown_service"
"""What SDKs send, alone or with `:` and the name of the executable, where nobody has said what the service is called."""

SERVICES = ("service.name",)

SERVICE_FALLBACKS = (
    "faas.name",  # a function's name, the same over its versions
    "k8s.deployment.name",  # the workload: from the ancestor to the descendant
    "k8s.statefulset.name",
    "k8s.daemonset.name",
    "k8s.cronjob.name",
    "aws.ecs.task.family",  # without its revision
    "k8s.container.name",  # all that the path of a pod's log file says beside pod and namespace
    "container.name",
)
"""Asked only where `SERVICES` say nothing, or `unknown_service`."""

NAMESPACES = ("service.namespace",)

NAMESPACE_FALLBACKS = ("k8s.namespace.name",)
"""Asked only where the service's name is a fallback too: two Deployments of one name in two namespaces are two services."""

ENVIRONMENTS = ("deployment.environment.name", "deployment.environment")  # the second is the name used before 1.27

INSTANCES = (
    "service.instance.id",
    "k8s.pod.name",
    "k8s.pod.uid",
    "container.id",
    "faas.instance",
    "host.name",
    "host.id",
    "k8s.node.name",
)
"""From the narrowest to the widest; evidence, never identity."""

VERSIONS = ("service.version",)
"""Of a service, for telling its releases apart; never identity: a release has the past of the one before."""


def is_unknown(service: str) -> bool:
    """Whether that name says that there is none (semantic conventions, `service.name`)."""
    return service == UNKNOWN_SERVICE or service.startswith(f"{UNKNOWN_SERVICE}:")
