"""One load on one server, and what it took."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict

from bench.ingest.generator import Load, Sent
from bench.ingest.processes import Target
from tests.e2e.harness import ROOT


def generate(load: Load) -> Sent:
    """Run the generator in a process of its own."""
    command = [sys.executable, "-m", "bench.ingest.generator", json.dumps(asdict(load))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode != 0:
        sys.exit(f"the load generator failed: {done.stderr}")
    return Sent(**json.loads(done.stdout))


def warm_up(target: Target, load: Load) -> None:
    """One request to every stream, and as many more as make the rest of the way known."""
    requests = -(-load.streams // load.resources)
    small = Load(target.port, 60.0, max(10, load.resources), 4, streams=load.streams, resources=load.resources)
    for _ in range(2):
        generate(Load(**asdict(small) | {"requests": requests}))
        target.settle()


def measure(target: Target, load: Load, about: Mapping[str, object] | None = None) -> dict[str, object]:
    """A row: rates, cost a record on either side, latency, memory. All work is waited for and counted."""
    target.settle()
    target.peak_mib()
    before = target.used()
    sent = generate(load)
    done_s = sent.seconds + target.settle()
    used = target.used().since(before)
    records = max(1, sent.records)
    return {
        "what": target.name,
        **(about or {}),
        "shape": load.shape,
        "records": load.records,
        "connections": load.connections,
        "gzip": "yes" if load.gzip else "no",
        "records/s": round(sent.records_per_s),
        "done/s": round(sent.records / done_s),
        "server us": 1e6 * used.server_s / records,
        "database us": 1e6 * used.database_s / records,
        "client us": 1e6 * sent.cpu_s / records,
        "p50 ms": sent.p50_ms,
        "p99 ms": sent.p99_ms,
        "peak MiB": round(target.peak_mib()),
        "not OK": " ".join(f"{count} {status}" for status, count in sorted(sent.statuses.items()) if status != "OK") or "-",
    }
