"""`make bench-replay`: all HDFS lines through port 4317 into a fresh server, once undisturbed and once with a kill -9 midway.

Shows lines per second from the first byte sent to the last line scored, and that both runs end with the same findings.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from bench.data import loaders
from bench.report import report
from tests.e2e.harness import free_port

READY_TIMEOUT_S = 60
KILL_AFTER_SHARE = 0.5
DRIFTLOCK = str(Path(sys.executable).parent / "driftlock")
CANONICAL = ("window", "first_event", "last_event", "start", "end", "ncd", "p_value", "explanation", "seed")


@dataclass
class Server:
    """One data folder and its two ports; start and kill it as often as needed."""

    folder: Path
    grpc: int
    http: int

    def environment(self) -> dict[str, str]:
        """What the server and its clients are told."""
        return os.environ | {
            "DRIFTLOCK_DATA_DIR": str(self.folder / "data"),
            "DRIFTLOCK_OTLP_GRPC_ADDR": f"127.0.0.1:{self.grpc}",
            "DRIFTLOCK_HTTP_ADDR": f"127.0.0.1:{self.http}",
            "DRIFTLOCK_OTLP_HTTP_ADDR": "off",
        }

    def start(self) -> "subprocess.Popen[bytes]":
        """Start and wait until it is ready."""
        log = (self.folder / "serve.log").open("ab")
        process = subprocess.Popen([DRIFTLOCK, "serve"], env=self.environment(), stdout=log, stderr=log)
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                urlopen(f"http://127.0.0.1:{self.http}/readyz", timeout=1).close()
            except (URLError, OSError):
                if process.poll() is not None:
                    break
                time.sleep(0.05)
            else:
                return process
        sys.exit((self.folder / "serve.log").read_text())

    def get(self, path: str) -> dict[str, object]:
        """A REST answer."""
        key = (self.folder / "data" / "api-key").read_text().strip()
        request = Request(f"http://127.0.0.1:{self.http}{path}", headers={"X-Api-Key": key})
        with urlopen(request, timeout=60) as answer:
            body: dict[str, object] = json.load(answer)
        return body

    def findings(self) -> list[dict[str, object]]:
        """All findings, oldest window first, reduced to what every run must agree on."""
        found: list[dict[str, object]] = []
        cursor = ""
        while True:
            page = self.get(f"/v1/anomalies?limit=200{cursor}")
            found += [{name: item[name] for name in CANONICAL} for item in page["anomalies"]]  # type: ignore[attr-defined]
            if not page["next_cursor"]:
                return sorted(found, key=lambda item: int(item["window"]))  # type: ignore[call-overload]
            cursor = f"&cursor={page['next_cursor']}"


@contextmanager
def server() -> Iterator[Server]:
    """A server in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        yield Server(Path(folder), free_port(), free_port())


def replay(running: Server, source: Path) -> "subprocess.Popen[bytes]":
    """Start the client."""
    command = [DRIFTLOCK, "replay", str(source), "--service", "hdfs", "--json", "--retry-for", "60"]
    return subprocess.Popen(command, env=running.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(client: "subprocess.Popen[bytes]", process: "subprocess.Popen[bytes]") -> None:
    """Wait for the client, then stop the server the polite way."""
    _, errors = client.communicate()
    if client.returncode != 0:
        sys.exit(f"replay failed: {errors.decode()}")
    process.send_signal(signal.SIGINT)
    process.wait(30)


def run(source: Path, lines: int, *, kill: bool) -> tuple[dict[str, object], list[dict[str, object]]]:
    """One replay; with `kill` the server dies by SIGKILL when half of the lines are journaled, and comes back."""
    with server() as running:
        process = running.start()
        begin = time.monotonic()
        client = replay(running, source)
        if kill:
            while journaled(running) < lines * KILL_AFTER_SHARE:
                time.sleep(0.02)
            process.kill()
            process.wait()
            process = running.start()
        client.wait(600)
        seconds = time.monotonic() - begin
        found, records = running.findings(), journaled(running)
        finish(client, process)
    row = {
        "run": "kill -9 midway" if kill else "undisturbed",
        "lines": lines,
        "journaled": records,
        "seconds": seconds,
        "lines/s": lines / seconds,
        "findings": len(found),
    }
    return row, found


def journaled(running: Server) -> int:
    """Events that the server has journaled and folded of the one stream, 0 before it exists."""
    streams = running.get("/v1/streams")["streams"]
    return sum(int(stream["events"]) + int(stream["pending"]) for stream in streams)  # type: ignore[attr-defined]


def main() -> None:
    """Run both, compare, report."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "hdfs.jsonl"
        lines = 0
        with source.open("w") as out:
            for time_s, text, _, _ in loaders().hdfs_lines():
                out.write(json.dumps({"time": time_s, "text": text}) + "\n")
                lines += 1
        calm, expected = run(source, lines, kill=False)
        killed, found = run(source, lines, kill=True)
    for row in (calm, killed):
        row["equal findings"] = "yes" if found == expected else "NO"
    report("replay", "HDFS lines through OTLP/gRPC 4317, with their own times", [calm, killed])
    if found != expected or calm["journaled"] != lines or killed["journaled"] != lines:
        sys.exit("the runs disagree")


if __name__ == "__main__":
    main()
