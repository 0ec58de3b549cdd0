"""The load generator: a process of its own, told by one line of JSON what to send; it answers with one line of what happened.

Closed loop: every connection sends its next request when the last one is answered. Open loop: requests come at a rate, whatever
the server does, and are answered, refused or lost; so a server that slows down can not slow its load down.
"""

import json
import resource
import sys
import threading
import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any

import grpc

from bench.ingest.open_loop import OpenLoop
from bench.ingest.requests import Template, templates

EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
MESSAGE_BYTES_MAX = 64 * 1024 * 1024
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Load:
    """What to send for `seconds`, or until `requests` were sent (0 = no such end); each of `records` of `resources` services.

    `rate`: requests a second (0 = closed loop). `honour` the server's retry hints, or send again at once.
    """

    port: int
    seconds: float
    records: int
    connections: int
    shape: str = "logs"
    streams: int = 50
    gzip: bool = False
    rate: float = 0.0
    honour: bool = True
    resources: int = 1
    requests: int = 0
    in_flight_max: int = 1024


@dataclass
class Sent:
    """What happened. Latencies in ms are from handing a request over (open loop: from when it was due) to its answer."""

    acknowledged: int = 0
    records: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    skipped: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    not_retryable: int = 0

    @property
    def records_per_s(self) -> float:
        """Acknowledged records a second."""
        return self.records / self.seconds


def channel(load: Load) -> grpc.Channel:
    """A connection of its own."""
    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
        ("grpc.enable_retries", 0),
    ]
    compression = grpc.Compression.Gzip if load.gzip else grpc.Compression.NoCompression
    return grpc.insecure_channel(f"127.0.0.1:{load.port}", options=options, compression=compression)


class Source:
    """Requests, one stream after the other; never the same bytes twice, times ascending."""

    def __init__(self, load: Load) -> None:
        """Make the templates."""
        self._made: Sequence[Template] = templates(load.shape, load.records, load.resources)
        self._load = load
        self._numbers = count()
        self._lock = threading.Lock()

    def next(self) -> bytes:
        """The next one; b"" when there are to be no more."""
        load = self._load
        with self._lock:
            number = next(self._numbers)
            if load.requests and number >= load.requests:
                return b""
            first = number * load.resources
            services = [service % load.streams for service in range(first, first + load.resources)]
            # Every stream meets all templates, also when their numbers have a common divisor.
            template = self._made[(number + first // load.streams) % len(self._made)]
            return template.stamped(services, time.time_ns())


def closed_loop(load: Load) -> Sent:
    """One thread a connection."""
    source, sent, lock = Source(load), Sent(), threading.Lock()
    latencies = array("d")
    end = time.perf_counter() + load.seconds

    def work() -> None:
        own, statuses, acknowledged = array("d"), Counter[str](), 0
        with channel(load) as opened:
            export: Callable[..., bytes] = opened.unary_unary(EXPORT, None, None)
            while time.perf_counter() < end and (request := source.next()):
                began = time.perf_counter()
                try:
                    export(request, timeout=TIMEOUT_S)
                except grpc.RpcError as error:
                    statuses[error.code().name] += 1
                    time.sleep(0.05)
                else:
                    own.append(time.perf_counter() - began)
                    acknowledged += 1
        with lock:
            latencies.extend(own)
            sent.acknowledged += acknowledged
            sent.statuses = dict(Counter(sent.statuses) + statuses)

    began, used = time.perf_counter(), cpu_s()
    threads = [threading.Thread(target=work) for _ in range(load.connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sent.seconds, sent.cpu_s = time.perf_counter() - began, cpu_s() - used
    return summed(sent, latencies, load)


def open_loop(load: Load) -> Sent:
    """Requests at a rate over all connections in turn."""
    source, channels = Source(load), [channel(load) for _ in range(load.connections)]
    calls = [opened.unary_unary(EXPORT, None, None) for opened in channels]
    loop = OpenLoop(calls, source.next, honour=load.honour, in_flight_max=load.in_flight_max, timeout_s=TIMEOUT_S)
    used = cpu_s()
    loop.run(load.rate, load.seconds)
    used = cpu_s() - used
    for opened in channels:
        opened.close()
    sent = Sent(
        acknowledged=loop.acknowledged,
        seconds=loop.seconds,
        cpu_s=used,
        skipped=loop.skipped,
        statuses=dict(loop.statuses),
        not_retryable=loop.given_up,
    )
    return summed(sent, loop.latencies, load)


def summed(sent: Sent, latencies: "array[float]", load: Load) -> Sent:
    """With what is computed of it."""
    ordered = sorted(latencies) or [0.0]
    sent.p50_ms = 1e3 * ordered[len(ordered) // 2]
    sent.p99_ms = 1e3 * ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    sent.records = sent.acknowledged * load.records
    return sent


def cpu_s() -> float:
    """User and system seconds of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main(argument: str) -> None:
    """Send, then tell."""
    told: dict[str, Any] = json.loads(argument)
    load = Load(**told)
    sent = open_loop(load) if load.rate else closed_loop(load)
    print(json.dumps(asdict(sent)))


if __name__ == "__main__":
    main(sys.argv[1])
