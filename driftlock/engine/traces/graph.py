"""The service graph with names in place of the kernel's numbers."""

from collections.abc import Iterable

from driftlock.engine.fold import GraphEdge
from driftlock.engine.traces.directory import Directory


def service_text(service: str, environment: str) -> str:
    """A service as streams of its own are keyed, without the signal: `namespace/name@environment`.

    >>> service_text("shop/cart", "prod"), service_text("cart", "")
    ('shop/cart@prod', 'cart')
    """
    return f"{service}@{environment}" if environment else service


def graph_edges(
    edges: Iterable[tuple[int, int, int, int, float, float, int, int]], directory: Directory, environment: str
) -> tuple[GraphEdge, ...]:
    """Edges of `cbad_cy.calls`, by caller and callee; caller 0 is where traces begin."""
    services = directory.services
    found = [
        GraphEdge(
            caller=service_text(services[caller], environment) if caller else "",
            callee=service_text(services[callee], environment),
            calls=calls,
            errors=errors,
            p50_s=p50_s,
            p99_s=p99_s,
            first_ns=first_ns,
            last_ns=last_ns,
        )
        for caller, callee, calls, errors, p50_s, p99_s, first_ns, last_ns in edges
    ]
    return tuple(sorted(found, key=lambda edge: (edge.caller, edge.callee)))
