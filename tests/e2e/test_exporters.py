"""Clients we did not write: the OpenTelemetry SDK over gRPC and HTTP, and rotel, a collector of its own lineage."""

import importlib.util
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import opentelemetry.exporter.otlp.proto.grpc._log_exporter as grpc_logs
import opentelemetry.exporter.otlp.proto.grpc.metric_exporter as grpc_metrics
import opentelemetry.exporter.otlp.proto.grpc.trace_exporter as grpc_traces
import opentelemetry.exporter.otlp.proto.http._log_exporter as http_logs
import opentelemetry.exporter.otlp.proto.http.metric_exporter as http_metrics
import opentelemetry.exporter.otlp.proto.http.trace_exporter as http_traces
import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from tests.e2e.harness import Server, environment, free_port, listens, wait_for

pytestmark = pytest.mark.e2e
LOGS, SPANS, COUNTERS = 30, 20, 5


def grpc_exporters(port: int, headers: dict[str, str]) -> tuple[Any, Any, Any]:
    options: dict[str, Any] = {"endpoint": f"http://127.0.0.1:{port}", "insecure": True, "headers": headers}
    return (
        grpc_logs.OTLPLogExporter(**options),
        grpc_metrics.OTLPMetricExporter(**options),
        grpc_traces.OTLPSpanExporter(**options),
    )


def http_exporters(port: int, headers: dict[str, str]) -> tuple[Any, Any, Any]:
    base = f"http://127.0.0.1:{port}/v1"
    return (
        http_logs.OTLPLogExporter(endpoint=f"{base}/logs", headers=headers),
        http_metrics.OTLPMetricExporter(endpoint=f"{base}/metrics", headers=headers),
        http_traces.OTLPSpanExporter(endpoint=f"{base}/traces", headers=headers),
    )


def emit(exporters: tuple[Any, Any, Any], service: str) -> None:
    """30 log records, 5 counters and 20 spans of a service, flushed."""
    logs, metrics, traces = exporters
    resource = Resource.create({"service.name": service, "service.namespace": "shop", "host.name": "h1"})
    loggers = LoggerProvider(resource=resource, shutdown_on_exit=False)
    loggers.add_log_record_processor(BatchLogRecordProcessor(logs))
    logger = loggers.get_logger("test")
    meters = MeterProvider(
        [PeriodicExportingMetricReader(metrics, export_interval_millis=60_000)], resource=resource, shutdown_on_exit=False
    )
    tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracers.add_span_processor(BatchSpanProcessor(traces))
    tracer = tracers.get_tracer("test")
    for number in range(LOGS):
        logger.emit(timestamp=1_700_000_000_000_000_000 + number, body=f"order {number} placed", attributes={"n": number})
    for number in range(COUNTERS):
        meters.get_meter("test").create_counter(f"orders.{number}").add(number + 1)
    for number in range(SPANS):
        with tracer.start_as_current_span(f"step {number}"):
            pass
    assert loggers.force_flush()
    assert tracers.force_flush()
    for provider in (loggers, meters, tracers):  # a meter provider exports once more on shutdown, so it is not flushed
        provider.shutdown()


def arrived(server: Server, service: str) -> dict[str, int]:
    """Records by signal of a service's streams."""
    return {
        stream["signal"]: stream["events"] + stream["pending"]
        for stream in server.get("/v1/streams")["streams"]
        if (stream["service"], stream["namespace"]) == (service, "shop")
    }


EVERYTHING = {"logs": LOGS, "metrics": COUNTERS, "traces": SPANS}


@pytest.mark.parametrize("with_key", [True, False])
def test_sdk_over_grpc(server: Server, with_key: bool) -> None:
    key = (server.data_dir / "api-key").read_text().strip()
    service = f"grpc-{with_key}"
    emit(grpc_exporters(server.grpc_port, {"x-api-key": key} if with_key else {}), service)
    assert arrived(server, service) == EVERYTHING
    streams = server.streams()
    assert all(streams[slug]["pending"] == 0 for slug in streams)


def test_sdk_over_http(server: Server) -> None:
    key = (server.data_dir / "api-key").read_text().strip()
    emit(http_exporters(server.otlp_http_port, {"authorization": f"Bearer {key}"}), "http")
    assert arrived(server, "http") == EVERYTHING


@pytest.fixture
def start_rotel(tmp_path: Path) -> Iterator[Callable[[Server], int]]:
    """Starts a rotel agent that sends to a server; returns its OTLP/gRPC port."""
    specification = importlib.util.find_spec("rotel")
    assert specification is not None
    assert specification.origin is not None
    agent = Path(specification.origin).parent / "rotel-agent"
    check = subprocess.run([agent, "version"], capture_output=True, text=True, check=False)
    assert check.returncode == 0, f"rotel-agent does not start (it needs Debian's libpython3.11): {check.stderr}"
    started: list[subprocess.Popen[bytes]] = []

    def start(server: Server) -> int:
        port = free_port()
        key = (server.data_dir / "api-key").read_text().strip()
        command = [
            *(str(agent), "start", "--otlp-grpc-endpoint", f"127.0.0.1:{port}"),
            *("--otlp-http-endpoint", f"127.0.0.1:{free_port()}", "--batch-timeout", "100ms"),
            *("--pid-file", str(tmp_path / "rotel.pid"), "--log-file", str(tmp_path / "rotel.log")),
            *("--exporter", "otlp", "--otlp-exporter-endpoint", f"http://127.0.0.1:{server.grpc_port}"),
            *("--otlp-exporter-custom-headers", f"x-api-key={key}"),
            *("--otlp-exporter-retry-initial-backoff", "200ms", "--otlp-exporter-retry-max-backoff", "500ms"),
        ]
        with (tmp_path / "rotel.out").open("wb") as output:
            started.append(subprocess.Popen(command, env=environment(), stdout=output, stderr=output))
        wait_for("rotel to listen", lambda: listens(port))  # an SDK tries again for ten seconds only
        return port

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        process.wait(15)


def test_rotel_forwards_all_three_signals(server: Server, start_rotel: Callable[[Server], int]) -> None:
    emit(grpc_exporters(start_rotel(server), {}), "rotel")
    wait_for("rotel to forward everything", lambda: arrived(server, "rotel") == EVERYTHING)


def test_rotel_gets_through_a_crash_of_the_server(
    make_server: Callable[..., Server], start_rotel: Callable[[Server], int]
) -> None:
    server = make_server("crash")
    server.start()
    port = start_rotel(server)
    emit(grpc_exporters(port, {}), "before")
    wait_for("rotel to forward the first part", lambda: arrived(server, "before") == EVERYTHING)
    server.kill()
    emit(grpc_exporters(port, {}), "during")
    server.start()
    wait_for("rotel to forward the second part", lambda: arrived(server, "during") == EVERYTHING)
    assert arrived(server, "before") == EVERYTHING
