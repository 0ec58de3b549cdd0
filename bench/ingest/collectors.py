"""The official OpenTelemetry Collector beside us, where `make peers` has built it: OTLP in, OTLP out to a sink.

Once with its queue in memory, once with the persistent one whose every write is an fsync, which keeps the promise that ours
keeps: what is acknowledged survives a crash of the machine.
"""

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from bench.ingest.processes import Foreign, ours
from tests.e2e.harness import ROOT, free_port

BINARY = ROOT / "build" / "peers" / "otelcol" / "otelcol-peer"


def configuration(port: int, sink: int, queue: Path | None) -> dict[str, object]:
    """OTLP/gRPC in and out. JSON is YAML, so this is its configuration file as it is."""
    sending: dict[str, object] = {"enabled": True, "num_consumers": 4, "queue_size": 10_000, "block_on_overflow": True}
    service: dict[str, object] = {
        "telemetry": {"metrics": {"level": "none"}},
        "pipelines": {"logs": {"receivers": ["otlp"], "exporters": ["otlp_grpc"]}},
    }
    whole: dict[str, object] = {
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{port}", "max_recv_msg_size_mib": 16}}}},
        "exporters": {
            "otlp_grpc": {
                "endpoint": f"127.0.0.1:{sink}",
                "tls": {"insecure": True},
                "compression": "none",
                "sending_queue": sending,
            }
        },
        "service": service,
    }
    if queue is not None:
        sending["storage"] = "file_storage"
        service["extensions"] = ["file_storage"]
        whole["extensions"] = {"file_storage": {"directory": str(queue), "create_directory": True, "fsync": True}}
    return whole


@contextmanager
def collector(name: str, *, persistent: bool) -> Iterator[Foreign]:
    """The Collector, sending to a receiver of ours that acknowledges at once."""
    with tempfile.TemporaryDirectory() as text, ours("sink", "route") as sink:
        folder, port = Path(text), free_port()
        path = folder / "collector.yaml"
        path.write_text(json.dumps(configuration(port, sink.port, folder / "queue" if persistent else None)))
        command = [str(BINARY), "--config", str(path)]
        with contextlib.closing(Foreign(name, command, port, folder / "collector.out")) as running:
            yield running


def built() -> list[Callable[[], AbstractContextManager[Foreign]]]:
    """The ways to run it; none where it is not built."""
    if not BINARY.exists():
        print(f"the official Collector is not built ({BINARY.relative_to(ROOT)}; see `make peers`): its rows are left out")
        return []
    return [
        lambda: collector("Collector, queue in memory", persistent=False),
        lambda: collector("Collector, fsync'd queue", persistent=True),
    ]
