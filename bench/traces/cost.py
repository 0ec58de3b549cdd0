"""What judging traces costs: spans a second from the request's bytes to the score of traces, and memory of open traces."""

import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice

import numpy as np
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span, Status

from bench.quality.figures import Figure
from bench.traces.open import TRACE_SPANS
from bench.traces.synthetic import Shop, Spans
from bench.traces.traffic import picked
from cbad_cy.codec import Codec
from collector.otlp.decode import decode
from collector.otlp.limits import OtlpLimits
from collector.redact import NoRedaction
from collector.routing import ResourceRouter
from driftlock.engine.event import RecordBatch, Signal
from driftlock.engine.limits import Limits
from driftlock.engine.offline import RECEIVED_NS
from driftlock.engine.profile import DEFAULT_PROFILE, PROFILES
from driftlock.engine.traces.detector import TraceDetector
from server.offline.span_batches import TRACES

PROTOCOL = "cost"
BLOCKS, QUICK_BLOCKS = 5, 1
REQUEST_SPANS = 2_000
OPEN_TRACES = 100_000
CONDITION = "one core, CPU time, requests of 2,000 spans"
DATA, OURS = "made-up shop", "driftlock"


def figures(*, quick: bool) -> Iterator[Figure]:
    """Each stage by itself, and the road from bytes to score."""
    shop = Shop(1)
    requests, count = [], 0
    for block in islice(shop.blocks(3600.0), QUICK_BLOCKS if quick else BLOCKS):
        requests += list(exports(shop, block.spans))
        count += len(block.spans.trace)
    begin = time.process_time()
    batches = [columns(request) for request in requests]
    decoded_s = time.process_time() - begin
    fold, codec = TraceDetector(TRACES, PROFILES[DEFAULT_PROFILE], 0, Limits()), Codec("zstd", 1)
    begin = time.process_time()
    for batch in batches:
        fold.fold(batch, RECEIVED_NS, codec)
    fold.flush()
    folded_s = time.process_time() - begin
    about = (PROTOCOL, CONDITION, DATA, OURS)
    yield Figure(*about, "bytes to columns and texts, spans/s", count / decoded_s, count=count)
    yield Figure(*about, "columns to score, spans/s", count / folded_s, count=count)
    yield Figure(*about, "bytes to score, spans/s", count / (decoded_s + folded_s), count=count)
    rss, spans = open_traces(OPEN_TRACES // 10 if quick else OPEN_TRACES)
    about = (PROTOCOL, f"memory of open traces of {TRACE_SPANS} spans", f"{spans // TRACE_SPANS:,} traces", OURS)
    yield Figure(*about, "MiB resident", rss / 2**20, count=spans)
    yield Figure(*about, "bytes a span", rss / spans, count=spans)


def columns(request: bytes) -> RecordBatch:
    """The columns of the stream of traces from a request's bytes; the texts of the spans are made with them."""
    return decode(request, Signal.TRACES, OtlpLimits(), ResourceRouter(), NoRedaction()).batches[-1].batch


def exports(shop: Shop, spans: Spans) -> Iterator[bytes]:
    """Requests of an OpenTelemetry Collector: spans by their ends, a resource for each instance."""
    order = np.argsort(spans.start_ns + spans.duration_ns, kind="stable")
    for rows in np.split(order, range(REQUEST_SPANS, len(order), REQUEST_SPANS)):
        yield _export(shop, picked(spans, rows))


def _export(shop: Shop, spans: Spans) -> bytes:
    request = ExportTraceServiceRequest()
    scopes: dict[str, ScopeSpans] = {}
    for it in shop.objects(spans):
        scope = scopes.get(it.instance)
        if scope is None:
            group = request.resource_spans.add()
            for name, value in (("service.name", it.service), ("service.instance.id", it.instance)):
                attribute = group.resource.attributes.add(key=name)
                attribute.value.string_value = value
            scope = scopes[it.instance] = group.scope_spans.add()
        span = scope.spans.add(
            trace_id=it.trace.to_bytes(16, "big"),
            span_id=it.span.to_bytes(8, "big"),
            parent_span_id=it.parent.to_bytes(8, "big") if it.parent else b"",
            name=it.operation,
            kind=Span.SpanKind.ValueType(it.kind),
            start_time_unix_nano=it.start_ns,
            end_time_unix_nano=it.start_ns + it.duration_ns,
        )
        if it.error:
            span.status.code = Status.STATUS_CODE_ERROR
    return request.SerializeToString()


def open_traces(count: int) -> tuple[int, int]:
    """Bytes by which a fresh process grows when it holds so many open traces of `TRACE_SPANS` spans, and their spans."""
    done = subprocess.run([sys.executable, "-m", "bench.traces.open", str(count)], check=True, capture_output=True, text=True)
    grown, spans = done.stdout.split()
    return int(grown), int(spans)
