"""Real processes for end-to-end tests: servers on free ports and folders of their own, and the command line beside them."""

import contextlib
import itertools
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import httpx

ROOT = Path(__file__).parent.parent.parent
COMMAND = [sys.executable, "-c", "from server.cli import main; main(prog_name='driftlock')"]
START_S, STOP_S, ANSWER_S = 60.0, 30.0, 10.0
"""How long a busy machine is waited for: what comes sooner is not held up."""


# Servers keep their ports over restarts, so these lie below the range from which the system gives ports to outgoing
# connections (Linux: 32768 and above). A port may be free for a moment only, as its server starts again: processes that run
# beside this one have ids near its own, and begin thousands of ports away.
SERVER_PORTS = range(12_000, 32_000)
_first = os.getpid() * 6_007 % len(SERVER_PORTS)
_ports: Iterator[int] = itertools.cycle((*SERVER_PORTS[_first:], *SERVER_PORTS[:_first]))


def free_port() -> int:
    """A port on which nothing listens, and which no connection of another program will be given."""
    for port in itertools.islice(_ports, len(SERVER_PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S):
        return True
    return False


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without its own settings, plus `variables`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DRIFTLOCK_", "OTEL_", "DATABASE_URL"))}
    kept.pop("PORT", None)
    return {**kept, "PYTHONPATH": str(ROOT), **variables}


def wait_for(what: str, condition: Callable[[], Any], timeout_s: float = START_S) -> Any:
    """The first true value of `condition`."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {timeout_s} s")


def freeze(process: subprocess.Popen[bytes]) -> None:
    """SIGSTOP, and wait until it has taken effect: on a busy machine a process may answer once more before it stops."""
    process.send_signal(signal.SIGSTOP)
    flags = os.WSTOPPED | os.WNOHANG
    wait_for("it to be stopped", lambda: os.waitid(os.P_PID, process.pid, flags) is not None)


class Server:
    """`driftlock serve` on a data folder; ports stay the same over restarts."""

    def __init__(self, data_dir: Path, **variables: str) -> None:
        self.data_dir = data_dir
        self.http_port, self.grpc_port, self.otlp_http_port = free_port(), free_port(), free_port()
        self.environment = environment(
            DRIFTLOCK_DATA_DIR=str(data_dir),
            DRIFTLOCK_HTTP_ADDR=f"127.0.0.1:{self.http_port}",
            DRIFTLOCK_OTLP_GRPC_ADDR=f"127.0.0.1:{self.grpc_port}",
            DRIFTLOCK_OTLP_HTTP_ADDR=f"127.0.0.1:{self.otlp_http_port}",
            **variables,
        )
        self.output = data_dir.parent / f"{data_dir.name}.out"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def rest(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def start(self) -> float:
        """Start and wait until it is ready; returns the seconds that this took."""
        began = time.monotonic()
        with self.output.open("ab") as output:
            self.process = subprocess.Popen([*COMMAND, "serve"], env=self.environment, stdout=output, stderr=output)
        wait_for("the server to be ready", self.ready)
        if "DATABASE_URL" not in self.environment:  # a moment later it tells the commands of this machine where it is
            wait_for("the endpoints file", (self.data_dir / "endpoints.json").exists)
        return time.monotonic() - began

    def ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.output.read_text()
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.rest}/readyz", timeout=ANSWER_S).status_code == 200
        return False

    def signal(self, number: signal.Signals) -> int:
        """Send a signal, wait for the end, return the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(STOP_S)

    def kill(self) -> None:
        """End it the hard way, and wait until its PostgreSQL has followed."""
        self.signal(signal.SIGKILL)
        wait_for("PostgreSQL to follow its parent", lambda: not self.postgres(), STOP_S)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGTERM)

    def postgres(self) -> list[int]:
        """Processes that run in the embedded cluster's folder."""
        cluster = str(self.data_dir.resolve() / "postgres" / "cluster")
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and str((entry / "cwd").readlink()) == cluster:
                    found.append(int(entry.name))
        return found

    def get(self, path: str, **query: str) -> Any:
        response = httpx.get(f"{self.rest}{path}", params=query, timeout=START_S)
        assert response.status_code == 200, response.text
        return response.json()

    def metric(self, name: str) -> float:
        text = httpx.get(f"{self.rest}/metrics", timeout=ANSWER_S).text
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def streams(self) -> dict[str, Any]:
        """Streams by slug, once there are some and nothing is pending."""

        def settled() -> dict[str, Any] | None:
            found = self.get("/v1/streams")["streams"]
            return None if any(stream["pending"] for stream in found) else {stream["slug"]: stream for stream in found}

        return dict(
            wait_for("everything to be scored", lambda: settled() if self.metric("driftlock_journal_position") else None)
        )

    def run(self, *arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """A command of the command line with this server's settings."""
        return subprocess.run(
            [*COMMAND, *arguments], env=self.environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def replay(self, *arguments: str) -> list[dict[str, Any]]:
        """`replay --json`; its findings."""
        done = self.run("replay", "--json", *arguments)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


def shop_log(lines: int, odd_at: int, seed: int = 7) -> list[str]:
    """A service's log in which, for some lines from `odd_at` on, a kind of line stands that was never there before."""
    source = random.Random(seed)
    moment = datetime(2024, 5, 1, 10, tzinfo=UTC)
    result = []
    for index in range(lines):
        moment += timedelta(milliseconds=source.randrange(50, 400))
        stamp = f"{moment:%Y-%m-%d %H:%M:%S},{moment.microsecond // 1000:03d}"
        kind = source.random()
        if odd_at <= index < odd_at + 60 and kind < 0.7:
            text = f"ERROR gateway refused certificate: signed by unknown authority rogue-{source.randrange(100)}"
        elif kind < 0.6:
            path, user = source.choice(["/api/cart", "/api/items", "/login"]), source.choice(["ann", "bob", "cid"])
            text = f"INFO request GET {path} user={user} status=200 took={source.randrange(3, 90)}ms"
        elif kind < 0.85:
            text = f"INFO cache hit key=item:{source.randrange(10000)} size={source.randrange(100, 9000)}"
        elif kind < 0.97:
            text = f"DEBUG pool connections={source.randrange(1, 20)} idle={source.randrange(10)}"
        else:
            text = f"WARN slow query took={source.randrange(500, 3000)}ms table=orders"
        result.append(f"{stamp} {text}")
    return result


def stormy(lines: list[str], start: int, stop: int | None = None, seed: int = 7) -> list[str]:
    """`lines` with every other one of start..stop made of words that nobody knows, no two alike; timestamps stay."""
    source = random.Random(seed)
    result = list(lines)
    for index in range(start, len(lines) if stop is None else stop, 2):
        words = ["".join(source.choices(ascii_lowercase, k=9)) for _ in range(8)]
        result[index] = " ".join([*lines[index].split()[:2], *words])
    return result


def verdict(finding: dict[str, Any]) -> dict[str, Any]:
    """A finding without what is not part of the verdict: ids of this database, the wall clock, what became of it since."""
    others = {"id", "incident_id", "detected_at", "silenced_by", "signed_evidence"}
    kept = {name: value for name, value in finding.items() if name not in others}
    return {**kept, "stream": finding["stream"]["slug"]}
