"""Traces, put together again from what the journal holds."""

import re

from pydantic import Field

from api import trace_models
from api.endpoint import Call, Endpoint, Query, Reply
from api.models import StreamRef
from api.reading import reading
from api.rfc3339 import NS_PER_SECOND, event_time, parse_rfc3339
from api.times import Time
from driftlock.accounts.keys import Scope
from driftlock.engine.traces.tree import TreeSpan
from driftlock.errors import Code, NotFound
from driftlock.storage.readback import FoundTrace

_TRACE_ID = re.compile("[0-9a-f]{32}")


class TraceQuery(Query):
    """Where to look."""

    around: Time | None = Field(
        default=None,
        description="About when the trace was. Without it the search goes back from when an anomaly named it, or from now.",
    )


async def get_trace(call: Call) -> Reply:
    """The tree of a trace."""
    deps, tenant_id, trace_id = call.deps, call.principal.tenant_id, call.path("trace_id").lower()
    if not _TRACE_ID.fullmatch(trace_id) or trace_id == "0" * 32:
        raise NotFound("there is no trace with this id: a trace id has 32 hexadecimal digits, and is not all zeros")
    around = call.query(TraceQuery).around
    found = await deps.readback.trace(tenant_id, trace_id, None if around is None else max(0, parse_rfc3339(around)))
    row = await deps.streams.get(tenant_id, found.stream_id)
    return Reply(_trace(found, None if row is None else StreamRef(id=row.stream_id, slug=row.slug)))


def _trace(found: FoundTrace, stream: StreamRef | None) -> trace_models.Trace:
    tree = found.tree
    return trace_models.Trace(
        trace_id=tree.trace_id,
        stream=stream,
        environment=found.environment,
        start=event_time(tree.start_ns),
        duration_s=(tree.end_ns - tree.start_ns) / NS_PER_SECOND,
        services=tuple(sorted({span.service for span in tree.spans})),
        errors=sum(span.error for span in tree.spans),
        marks=tree.marks,
        spans=tuple(_span(span, tree.start_ns) for span in tree.spans),
        cut=tree.cut or found.scan.cut,
        findings=tuple(
            trace_models.TraceFinding(
                id=row.anomaly_id,
                question=row.finding.question,
                explanation=row.finding.explanation,
                subtree=row.finding.subtree,
            )
            for row in found.findings
        ),
        reading=reading(found.scan),
    )


def _span(span: TreeSpan, start_ns: int) -> trace_models.Span:
    return trace_models.Span(
        span_id=span.span_id,
        parent_id=span.parent_id or None,
        depth=span.depth,
        orphan=span.orphan,
        service=span.service,
        operation=span.operation,
        kind=span.kind,
        instance=span.instance or None,
        start=event_time(span.start_ns),
        offset_s=(span.start_ns - start_ns) / NS_PER_SECOND,
        duration_s=span.duration_ns / NS_PER_SECOND,
        self_s=span.self_ns / NS_PER_SECOND,
        error=span.error,
        backwards=span.backwards,
        new=span.new,
    )


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/traces/{trace_id}",
        "getTrace",
        "traces",
        "The tree of a trace that the journal still holds",
        get_trace,
        {200: trace_models.Trace},
        scope=Scope.READ,
        query=TraceQuery,
        path_parameters={"trace_id": "Id of the trace, 32 hexadecimal digits."},
        problems=(Code.RATE_LIMITED, Code.UNAVAILABLE),
    ),
)
