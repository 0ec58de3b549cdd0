"""The official SDK's exporters, unchanged, over both transports and with all three signals."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from collector.otlp.http import HttpLimits, create_app
from driftlock.engine.event import PointKind, Signal, StreamKey, trace_stream_key
from tests.collector.fakes import KEY, Bench, bench, grpc_bench

RESOURCE = Resource({"service.name": "cart", "service.namespace": "shop", "service.instance.id": "i1"})


def emit(log_exporter: Any, metric_exporter: Any, span_exporter: Any) -> None:
    """Use the SDK as an application does, and flush."""
    logger_provider = LoggerProvider(resource=RESOURCE, shutdown_on_exit=False)
    logger_provider.add_log_record_processor(BatchLogRecordProcessor(log_exporter))
    logger = logger_provider.get_logger("test")
    for number in range(3):
        logger.emit(body=f"order {number} placed", severity_text="INFO", attributes={"n": number}, timestamp=10**18)
    tracer_provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    tracer_provider.add_span_processor(BatchSpanProcessor(span_exporter))
    with tracer_provider.get_tracer("test").start_as_current_span("checkout", attributes={"k": "v"}) as span:
        span.add_event("paid", {"amount": 3})
    reader = PeriodicExportingMetricReader(metric_exporter)
    meter_provider = MeterProvider([reader], resource=RESOURCE, shutdown_on_exit=False)
    meter = meter_provider.get_meter("test")
    meter.create_counter("orders").add(5, {"region": "eu"})
    meter.create_histogram("latency").record(0.25)
    for provider in (logger_provider, tracer_provider, meter_provider):
        assert provider.force_flush()
        provider.shutdown()


def check(parts: Bench) -> None:
    lines = {
        submission.signal: [line.decode() for part in submission.batches if part.records for line in part.batch.lines()]
        for submission in parts.intake.submissions
    }
    assert lines[Signal.LOGS] == [f"INFO order {number} placed n={number}" for number in range(3)]
    assert lines[Signal.TRACES] == ["INTERNAL checkout k=v event: paid amount=3"]
    assert lines[Signal.METRICS][0] == "orders{region=eu}"
    assert lines[Signal.METRICS][1].startswith("latency histogram count=1 sum=0.25 min=0.25 max=0.25 bounds=[")
    for submission in parts.intake.submissions:
        part, *derived = submission.batches
        assert len(derived) == (submission.signal is Signal.TRACES)
        assert part.key == StreamKey(submission.signal, "cart", "shop")
        assert part.batch.instances == ("i1",)
        assert submission.request_hash is not None
        if submission.signal is Signal.METRICS:
            assert part.batch.values[0] == 5
            assert part.batch.point_kinds == bytes([PointKind.CUMULATIVE, PointKind.HISTOGRAM_CUMULATIVE])
            assert all(0 < start < now for start, now in zip(part.batch.starts_ns, part.batch.times_ns, strict=True))
            assert (part.batch.counts[1], part.batch.sums[1], sum(part.batch.shape)) == (1, 0.25, 1)
            assert part.batch.shape_at[-1] == float("inf")
        if submission.signal is Signal.TRACES:
            assert any(part.batch.trace_ids)
            assert derived[0].key == trace_stream_key("")
            spans = derived[0].batch
            assert (spans.trace_ids, spans.span_ids) == (part.batch.trace_ids, part.batch.span_ids)
            assert (spans.series, spans.instances) == (("shop/cart\x1fcheckout\x1f1",), ("i1",))
            assert (spans.parent_ids, spans.span_marks) == (bytes(8), b"\x01")
            assert 0 < spans.durations_ns[0] < 60 * 10**9
    assert {kind for _, kind, _ in parts.meter.counts} == {"received", "accepted"}


@asynccontextmanager
async def http_server(parts: Bench) -> AsyncIterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        app = create_app(parts.exporter, HttpLimits())
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1))
        task = asyncio.create_task(server._serve([listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await task


@pytest.mark.parametrize("compressed", [False, True])
async def test_grpc_exporters(compressed: bool) -> None:
    import grpc

    compression = grpc.Compression.Gzip if compressed else grpc.Compression.NoCompression
    async with grpc_bench() as (parts, server):
        options: dict[str, Any] = {
            "endpoint": f"http://127.0.0.1:{server.port}",
            "headers": {"x-api-key": KEY},
            "compression": compression,
            "insecure": True,
        }
        exporters = GrpcLogExporter(**options), GrpcMetricExporter(**options), GrpcSpanExporter(**options)
        await asyncio.to_thread(emit, *exporters)
        check(parts)


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
async def test_http_exporters(compression: Compression) -> None:
    async with bench() as parts, http_server(parts) as port:
        options: dict[str, Any] = {"headers": {"authorization": f"Bearer {KEY}"}, "compression": compression}
        base = f"http://127.0.0.1:{port}/v1"
        exporters = (
            HttpLogExporter(endpoint=f"{base}/logs", **options),
            HttpMetricExporter(endpoint=f"{base}/metrics", **options),
            HttpSpanExporter(endpoint=f"{base}/traces", **options),
        )
        await asyncio.to_thread(emit, *exporters)
        check(parts)


async def test_a_wrong_key_is_not_retried(caplog: pytest.LogCaptureFixture) -> None:
    async with grpc_bench() as (parts, server):
        exporter = GrpcSpanExporter(endpoint=f"http://127.0.0.1:{server.port}", headers={"x-api-key": "no"}, insecure=True)
        provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        provider.get_tracer("test").start_span("x").end()
        with caplog.at_level(logging.ERROR):
            await asyncio.to_thread(provider.force_flush)
            await asyncio.to_thread(provider.shutdown)
        assert "UNAUTHENTICATED" in caplog.text
        assert parts.meter.counts == {("traces", "refused", "unauthenticated"): 1}
