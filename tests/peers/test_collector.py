"""The official Collector in front of us: nothing is lost over our crashes and refusals, and every encoding is understood."""

import random
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.harness import Server, free_port, wait_for
from tests.e2e.test_exporters import EVERYTHING, arrived, emit, grpc_exporters

pytestmark = pytest.mark.peer
LINES = 60_000
LINES_A_PART = 500
SETTLE_S = 120.0

Start = Callable[[dict[str, Any]], Any]


def patient() -> dict[str, Any]:
    """An exporter that gives nothing up: a queue that makes its receiver wait, and retries without an end."""
    return {
        "sending_queue": {"enabled": True, "num_consumers": 4, "queue_size": 1000, "block_on_overflow": True},
        "retry_on_failure": {"enabled": True, "initial_interval": "200ms", "max_interval": "1s", "max_elapsed_time": "0s"},
        "timeout": "5s",
    }


def grpc_exporter(server: Server, **more: Any) -> dict[str, Any]:
    return {"endpoint": f"127.0.0.1:{server.grpc_port}", "tls": {"insecure": True}, **patient(), **more}


def configuration(receiver: str, settings: dict[str, Any], kind: str, exporters: dict[str, Any]) -> dict[str, Any]:
    return {
        "receivers": {receiver: settings},
        "exporters": exporters,
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {kind: {"receivers": [receiver], "exporters": list(exporters)}},
        },
    }


def tail(log: Path, service: str, server: Server, queue: Path) -> dict[str, Any]:
    """A log file to our gRPC, through a queue on disk."""
    settings = {
        "include": [str(log)],
        "start_at": "beginning",
        "resource": {"service.name": service},
        "retry_on_failure": {"enabled": True, "max_elapsed_time": "0s"},
        "storage": "file_storage",
    }
    exporter = grpc_exporter(server)
    exporter["sending_queue"]["storage"] = "file_storage"
    whole = configuration("file_log", settings, "logs", {"otlp_grpc": exporter})
    whole["extensions"] = {"file_storage": {"directory": str(queue), "create_directory": True, "fsync": True}}
    whole["service"]["extensions"] = ["file_storage"]
    return whole


def write(log: Path, lines: int, seconds: float, padding_bytes: int = 0) -> threading.Thread:
    """Append numbered lines over some seconds; `padding_bytes` of hexadecimal noise make each hard to compress."""
    source = random.Random(7)

    def work() -> None:
        with log.open("a") as file:
            for first in range(0, lines, LINES_A_PART):
                for number in range(first, first + LINES_A_PART):
                    file.write(f"INFO order {number} paid {source.randbytes(padding_bytes // 2).hex()}\n")
                file.flush()
                time.sleep(seconds * LINES_A_PART / lines)

    log.touch()
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def events(server: Server, slug: str) -> int:
    found = {stream["slug"]: stream for stream in server.get("/v1/streams")["streams"]}
    return int(found[slug]["events"]) + int(found[slug]["pending"]) if slug in found else 0


def has_more(server: Server, lines: int) -> bool:
    return events(server, "orders") > lines


def test_no_line_of_a_file_is_lost_over_a_crash_under_load(
    tmp_path: Path, make_server: Callable[..., Server], start_collector: Start
) -> None:
    server = make_server()
    server.start()
    log = tmp_path / "orders.log"
    writing = write(log, LINES, seconds=8)
    start_collector(tail(log, "orders", server, tmp_path / "queue"))
    for part in (1, 2, 3):
        wait_for("lines to come", partial(has_more, server, part * LINES // 5), SETTLE_S)
        server.kill()
        time.sleep(0.5)
        server.start()
    writing.join()
    wait_for("every line", lambda: events(server, "orders") >= LINES, SETTLE_S)
    assert server.streams()["orders"]["events"] == LINES  # none lost, and what was sent again is not counted again


def test_no_line_is_lost_over_our_refusals(tmp_path: Path, make_server: Callable[..., Server], start_collector: Start) -> None:
    server = make_server(DRIFTLOCK_JOURNAL_BYTES_MAX="16MiB")  # full with about half of the lines, and for minutes
    server.start()
    log = tmp_path / "orders.log"
    writing = write(log, LINES, seconds=4, padding_bytes=1000)
    start_collector(tail(log, "orders", server, tmp_path / "queue"))
    refused = 'driftlock_refused_requests_total{reason="unavailable",signal="logs"}'
    wait_for("a refusal", lambda: server.metric(refused) > 0, SETTLE_S)
    writing.join()
    assert events(server, "orders") < LINES, "there was room for every line: the test shows nothing"
    server.signal(signal.SIGTERM)
    server.environment["DRIFTLOCK_JOURNAL_BYTES_MAX"] = "1GiB"  # what an operator does about a full journal
    server.start()
    wait_for("every line", lambda: events(server, "orders") >= LINES, SETTLE_S)
    assert server.streams()["orders"]["events"] == LINES


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("encoding", ["proto", "json"])
def test_host_metrics_over_http(
    make_server: Callable[..., Server], start_collector: Start, compression: str, encoding: str
) -> None:
    server = make_server()
    server.start()
    exporter = {
        "endpoint": f"http://127.0.0.1:{server.otlp_http_port}",
        "compression": compression,
        "encoding": encoding,
        **patient(),
    }
    scrapers: dict[str, Any] = {"cpu": {}, "load": {}, "memory": {}}
    settings = {"collection_interval": "1s", "scrapers": scrapers}
    start_collector(configuration("hostmetrics", settings, "metrics", {"otlp_http": exporter}))
    accepted = 'driftlock_accepted_records_total{signal="metrics"}'
    wait_for("two scrapes", lambda: server.metric(accepted) >= 20, SETTLE_S)
    (stream,) = server.streams().values()
    assert stream["signal"] == "metrics"
    assert "driftlock_rejected_records_total{" not in httpx.get(f"{server.rest}/metrics", timeout=10).text


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_all_three_signals_through_its_otlp_receiver(
    make_server: Callable[..., Server], start_collector: Start, compression: str
) -> None:
    server = make_server()
    server.start()
    port = free_port()
    exporter = grpc_exporter(server, compression=compression)
    exporter["sending_queue"]["batch"] = {"flush_timeout": "100ms"}
    whole = configuration(
        "otlp",
        {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{port}"}}},
        "logs",
        {"otlp_grpc": exporter},
    )
    pipeline = {"receivers": ["otlp"], "exporters": ["otlp_grpc"]}
    whole["service"]["pipelines"] = dict.fromkeys(("logs", "metrics", "traces"), pipeline)
    start_collector(whole)
    emit(grpc_exporters(port, {}), "peer")
    wait_for("everything", lambda: arrived(server, "peer") == EVERYTHING, SETTLE_S)
