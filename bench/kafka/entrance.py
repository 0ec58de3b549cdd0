"""A gateway: OTLP in, acknowledged once the broker has it."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import grpc
import httpx

from bench.ingest.generator import EXPORT
from bench.ingest.processes import cpu_s
from bench.ingest.requests import Template, templates
from bench.kafka.load import PARTITIONS
from bench.kafka.site import Rows, Site
from tests.conftest import Urls
from tests.e2e.harness import COMMAND, environment, free_port, wait_for

STREAMS, TIMEOUT_S, STOP_S = 20, 30.0, 15.0
LOADS = ((1000, 4), (100, 4), (10, 8))
"""Records a request, and connections."""


@dataclass
class _Gateway:
    process: "subprocess.Popen[bytes]"
    port: int
    key: str


async def rows(site: Site, seconds: float) -> Rows:
    """Closed loop: each connection sends when it has its answer."""
    urls, topic = await site.database(), site.topic()
    gateway = _start(site, urls, topic)
    try:
        found = [_measured(site, gateway, records, connections, seconds) for records, connections in LOADS]
    finally:
        gateway.process.terminate()
        gateway.process.wait(STOP_S)
    await site.cluster.drop(urls)
    return found


def _start(site: Site, urls: Urls, topic: str) -> _Gateway:
    http, port = free_port(), free_port()
    settings = environment(
        DATABASE_URL=urls.app,
        DRIFTLOCK_DATA_DIR=str(site.home / "gateway"),
        DRIFTLOCK_HTTP_ADDR=f"127.0.0.1:{http}",
        DRIFTLOCK_OTLP_GRPC_ADDR=f"127.0.0.1:{port}",
        DRIFTLOCK_OTLP_HTTP_ADDR="off",
        DRIFTLOCK_KAFKA_BOOTSTRAP_SERVERS=site.broker.address,
        DRIFTLOCK_KAFKA_TOPIC=topic,
        DRIFTLOCK_KAFKA_PARTITIONS=str(PARTITIONS),
    )

    def run(*arguments: str) -> str:
        done = subprocess.run([*COMMAND, *arguments], env=settings, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(done.stderr)
        return done.stdout.strip()

    run("tenant", "create", "entrance")
    key = run("key", "create", "--tenant", "entrance", "--scope", "ingest")
    output = site.home / "gateway.out"
    with output.open("ab") as log:
        process = subprocess.Popen([*COMMAND, "gateway"], env=settings, stdout=log, stderr=log)

    def ready() -> bool:
        if process.poll() is not None:
            sys.exit(output.read_text())
        try:
            return httpx.get(f"http://127.0.0.1:{http}/readyz", timeout=1).status_code == 200
        except httpx.HTTPError:
            return False

    wait_for("the gateway to be ready", ready)
    return _Gateway(process, port, key)


def _measured(site: Site, gateway: _Gateway, records: int, connections: int, seconds: float) -> dict[str, object]:
    _send(gateway, records, connections, 0.5)
    before, gateway_s, own_s = site.used(), cpu_s(gateway.process.pid), cpu_s(os.getpid())
    began_s = time.monotonic()
    latencies = sorted(_send(gateway, records, connections, seconds))
    took_s, used = time.monotonic() - began_s, site.used().since(before)
    sent = records * len(latencies)
    gateway_s = cpu_s(gateway.process.pid) - gateway_s
    own_s = cpu_s(os.getpid()) - own_s
    return {
        "records a request": records,
        "connections": connections,
        "records/s": round(sent / took_s),
        "requests/s": round(len(latencies) / took_s),
        "gateway us a record": 1e6 * gateway_s / sent,
        "broker us a record": 1e6 * used.broker_s / sent,
        "client us a record": 1e6 * own_s / sent,
        "by CPU of the gateway, a core": round(sent / gateway_s),
        "p50 ms": 1e3 * latencies[len(latencies) // 2],
        "p99 ms": 1e3 * latencies[len(latencies) * 99 // 100],
    }


class _Numbers:
    """Requests, each with a number of its own: no two are the same bytes."""

    def __init__(self, records: int) -> None:
        self._made: list[Template] = templates("logs", records)
        self._number, self._lock = 0, threading.Lock()

    def next(self) -> bytes:
        """The next one."""
        with self._lock:
            self._number += 1
            template = self._made[self._number // STREAMS % len(self._made)]
            return template.stamped([self._number % STREAMS], time.time_ns())


def _send(gateway: _Gateway, records: int, connections: int, seconds: float) -> list[float]:
    """Latencies of what was acknowledged, in seconds. Raises grpc.RpcError for what was not."""
    source, latencies, failed = _Numbers(records), list[float](), list[grpc.RpcError]()
    end_s = time.monotonic() + seconds
    metadata = (("authorization", f"Bearer {gateway.key}"),)

    def work() -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{gateway.port}", options=options) as channel:
            export: Callable[..., bytes] = channel.unary_unary(EXPORT, None, None)
            while time.monotonic() < end_s and not failed:
                request, began_s = source.next(), time.perf_counter()
                try:
                    export(request, timeout=TIMEOUT_S, metadata=metadata)
                except grpc.RpcError as error:
                    failed.append(error)
                else:
                    latencies.append(time.perf_counter() - began_s)

    threads = [threading.Thread(target=work) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return latencies
