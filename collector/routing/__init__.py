"""From the attributes of a resource to the stream of a tenant that its records belong to, by conventions and by rules."""

from collector.routing.conventions import INSTANCES, UNKNOWN_SERVICE
from collector.routing.memory import Routes
from collector.routing.nameless import NamelessNotices
from collector.routing.route import Decision, Route, Router
from collector.routing.router import ResourceRouter
from collector.routing.rules import RoutingRules

__all__ = [
    "INSTANCES",
    "UNKNOWN_SERVICE",
    "Decision",
    "NamelessNotices",
    "ResourceRouter",
    "Route",
    "Router",
    "Routes",
    "RoutingRules",
]
