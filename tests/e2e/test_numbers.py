"""Metrics through the front door: what an exporter would send, a fault in it, and what is told of it."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric

from tests.e2e.harness import Server, wait_for

pytestmark = pytest.mark.e2e
FIRST_S = 1_700_000_000
MINUTES, FAULT, RESET = 1500, 1400, 700
CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE


def noise(number: int) -> float:
    """A number in [-1, 1) that looks random and is always the same."""
    return math.sin(number * 12.9898) * 43758.5453 % 2 - 1


def gauge(name: str, minute: int, value: float) -> Metric:
    metric = Metric(name=name)
    metric.gauge.data_points.add(time_unix_nano=(FIRST_S + 60 * minute) * 10**9, as_double=value)
    return metric


def counter(name: str, minute: int, total: float, started: int) -> Metric:
    metric = Metric(name=name)
    metric.sum.aggregation_temporality = CUMULATIVE
    metric.sum.is_monotonic = True
    point = metric.sum.data_points.add(time_unix_nano=(FIRST_S + 60 * minute) * 10**9, as_double=total)
    point.start_time_unix_nano = (FIRST_S + 60 * started) * 10**9
    return metric


def requests(batch: int) -> Iterator[bytes]:
    """A pod's memory that jumps at minute FAULT, and a counter that only starts again at RESET, `batch` minutes a request."""
    total, started = 0.0, -1
    for first in range(0, MINUTES, batch):
        request = ExportMetricsServiceRequest()
        resource = request.resource_metrics.add()
        for key, value in (("service.name", "shop"), ("service.instance.id", "pod-7")):
            resource.resource.attributes.add(key=key).value.string_value = value
        metrics = resource.scope_metrics.add().metrics
        for minute in range(first, min(first + batch, MINUTES)):
            if minute == RESET:
                total, started = 0.0, RESET - 1
            total += 600 + 30 * noise(minute)
            memory = 512 + 4 * noise(3 * minute + 1) + (90 if minute >= FAULT else 0)
            metrics.extend((gauge("memory", minute, memory), counter("requests", minute, total, started)))
        yield request.SerializeToString()


def send(server: Server, batch: int, *, kill_at: int = -1) -> None:
    for number, body in enumerate(requests(batch)):
        if number == kill_at:
            server.kill()
            server.start()
        answer = httpx.post(
            f"http://127.0.0.1:{server.otlp_http_port}/v1/metrics",
            content=body,
            headers={"content-type": "application/x-protobuf"},
            timeout=30,
        )
        assert answer.status_code == 200, answer.text


def told(server: Server) -> list[dict[str, Any]]:
    """Anomalies with their evidence, oldest first, once every point is scored."""

    def scored() -> bool:
        return [stream["events"] for stream in server.get("/v1/streams")["streams"]] == [2 * MINUTES]

    wait_for("every point is scored", scored)
    listed = server.get("/v1/anomalies", limit="200")["anomalies"]
    return sorted((server.get(f"/v1/anomalies/{item['id']}") for item in listed), key=lambda each: each["start"])


def comparable(anomalies: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(each["question"], each["start"], each["explanation"], each["series"]) for each in anomalies]


def test_a_jump_is_told_with_its_range_and_a_restarted_counter_is_not(make_server: Callable[..., Server]) -> None:
    server = make_server("numbers")
    server.start()
    send(server, 100)
    anomalies = told(server)
    jump = max(anomalies, key=lambda each: each["surprise"])
    [series] = jump["series"]
    assert (series["name"], series["instance"]) == ("memory", "pod-7")
    assert series["low"] < 512 < series["high"] < series["value"]
    assert "memory" in jump["explanation"]
    assert "pod-7" in jump["explanation"]
    assert series["chart"]["values"][-1] == series["value"]
    [incident] = server.get("/v1/incidents")["incidents"]
    assert incident["id"] == jump["incident_id"]
    # The counter began anew at minute RESET: its rate did not change.
    assert all("requests" not in each["explanation"] for each in anomalies)


def test_batches_and_a_killed_server_change_nothing(make_server: Callable[..., Server]) -> None:
    runs = []
    for name, batch, kill_at in (("whole", 250, -1), ("killed", 60, 12)):
        server = make_server(name)
        server.start()
        send(server, batch, kill_at=kill_at)
        runs.append(comparable(told(server)))
        server.close()
    assert runs[0]
    assert runs[0] == runs[1]
