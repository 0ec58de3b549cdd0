"""From what is known of traces to what clients see."""

from collections.abc import Sequence
from dataclasses import asdict

from api import evidence_models, graph_models, models
from api.ports import ServiceGraphRow, StreamRow
from api.rfc3339 import NS_PER_SECOND, event_time
from driftlock.engine.evidence import CallEvidence, Suspect, TraceExample


def call(evidence: CallEvidence) -> evidence_models.Call:
    """Odd calls."""
    parts = asdict(evidence)
    return evidence_models.Call(**parts | {"caller": evidence.caller or None, "instance": evidence.instance or None})


def suspects(found: Sequence[Suspect]) -> tuple[evidence_models.Suspect, ...]:
    """Services that may be the cause."""
    return tuple(evidence_models.Suspect(**asdict(each)) for each in found)


def culprit(found: Sequence[Suspect]) -> str | None:
    """The service that is most probably the cause."""
    return found[0].service if found else None


def example(seen: TraceExample) -> evidence_models.TraceExample:
    """A trace that shows what was found."""
    return evidence_models.TraceExample(
        trace_id=seen.trace_id,
        start=event_time(seen.start_ns),
        duration_s=seen.duration_ns / NS_PER_SECOND,
        spans=seen.spans,
        root=seen.root,
        path=seen.path,
        error=seen.error,
    )


def service_graph(of: StreamRow, row: ServiceGraphRow) -> graph_models.ServiceGraph:
    """The service graph of a stream."""
    edges = tuple(
        graph_models.Edge(
            caller=edge.caller or None,
            callee=edge.callee,
            calls=edge.calls,
            errors=edge.errors,
            p50_s=edge.p50_s,
            p99_s=edge.p99_s,
            first=event_time(edge.first_ns),
            last=event_time(edge.last_ns),
        )
        for edge in row.graph.edges
    )
    return graph_models.ServiceGraph(
        stream=models.StreamRef(id=of.stream_id, slug=of.slug),
        as_of=event_time(row.graph.as_of_ns),
        edges=edges,
        edges_omitted=row.edges_known - len(edges),
    )
