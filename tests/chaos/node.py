"""One `driftlock serve` process on a cluster, to be killed, frozen and started again on the same ports."""

import contextlib
import http.client
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.chaos.tethered import tethered
from tests.e2e.harness import COMMAND, ROOT, environment, free_port, freeze

START_S, STOP_S, POLL_S = 60.0, 30.0, 0.02


class Node:
    """A server whose database is at `database_url` (that of a `Link`; None = the embedded one). All methods block.

    `variables` are further settings; `program` what is started instead of `driftlock`. Use it on a thread that lives long
    enough: the process dies with the one that started it. A context manager, which ends the process however it stands.
    """

    def __init__(self, folder: Path, database_url: str | None, *, program: list[str] | None = None, **variables: str) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        self.output = folder / "output"
        self.grpc_port, self.otlp_http_port, self.http_port = free_port(), free_port(), free_port()
        self.environment = environment(
            DRIFTLOCK_DATA_DIR=str(folder / "data"),
            DRIFTLOCK_HTTP_ADDR=f"127.0.0.1:{self.http_port}",
            DRIFTLOCK_OTLP_GRPC_ADDR=f"127.0.0.1:{self.grpc_port}",
            DRIFTLOCK_OTLP_HTTP_ADDR=f"127.0.0.1:{self.otlp_http_port}",
            **({} if database_url is None else {"DATABASE_URL": database_url}),
            **variables,
        )
        self._program = program or COMMAND
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def rest(self) -> str:
        """Base URL of REST."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def alive(self) -> bool:
        """Does the process run, frozen or not?"""
        return self.process is not None and self.process.poll() is None

    @property
    def running(self) -> "subprocess.Popen[bytes]":
        """The process, which was started."""
        assert self.process is not None, "the server was not started"
        return self.process

    def start(self, *, wait: bool = True) -> float:
        """Start it, and wait until it is ready; the seconds that this took."""
        assert not self.alive, "it runs already"
        began = time.monotonic()
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                tethered(*self._program, "serve"), env=self.environment, stdout=output, stderr=output, cwd=ROOT
            )
        if wait:
            self.wait_ready()
        return time.monotonic() - began

    def wait_ready(self, timeout_s: float = START_S) -> None:
        """Return when it is ready."""
        end = time.monotonic() + timeout_s
        while not self.ready():
            assert self.alive, f"the server has ended ({self.running.returncode}):\n{self.tail()}"
            assert time.monotonic() < end, f"the server is not ready after {timeout_s} s:\n{self.tail()}"
            time.sleep(POLL_S)

    def ready(self) -> bool:
        """Does it say that it is ready?"""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.request("GET", "/readyz", timeout_s=1)[0] == 200
        return False

    def request(
        self, method: str, path: str, body: object = None, *, key: str = "", timeout_s: float = 10
    ) -> tuple[int, bytes]:
        """Status and body of a REST request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=timeout_s)
        try:
            headers = {"Content-Type": "application/json"} | ({"X-Api-Key": key} if key else {})
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def metric(self, name: str) -> float:
        """A sample of /metrics by its name with its labels; 0 when there is none."""
        text = self.request("GET", "/metrics")[1].decode()
        return next((float(line.rpartition(" ")[2]) for line in text.splitlines() if line.rpartition(" ")[0] == name), 0.0)

    def kill(self) -> None:
        """kill -9, and wait for the end."""
        self.running.kill()
        self.running.wait(STOP_S)

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = STOP_S) -> int:
        """Send a signal, wait for the end; the exit code."""
        self.running.send_signal(number)
        return self.running.wait(timeout_s)

    def wait_end(self, timeout_s: float = STOP_S) -> int:
        """Wait until it ends by itself; the exit code."""
        return self.running.wait(timeout_s)

    def freeze(self) -> None:
        """SIGSTOP: it does not know that time passes."""
        freeze(self.running)

    def thaw(self) -> None:
        """SIGCONT."""
        self.running.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it, however it stands."""
        if self.alive:
            self.running.kill()
            self.running.wait(STOP_S)

    def tail(self, bytes_max: int = 3000) -> str:
        """The end of what it has printed."""
        return self.output.read_text(errors="replace")[-bytes_max:]

    def run(self, *arguments: str, timeout_s: float = 120) -> "subprocess.CompletedProcess[str]":
        """A command of the command line with this server's settings."""
        command = [*COMMAND, *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=timeout_s, check=False)


def ablated(what: str) -> list[str]:
    """The program of a server that breaks one promise on purpose; see `tests.chaos.ablated`."""
    return [sys.executable, "-m", "tests.chaos.ablated", what]
