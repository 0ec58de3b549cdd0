"""rotel between a sender and a server: a collector of another make, which resends what was not acknowledged to it."""

import importlib.util
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from tests.chaos.clients import Clients
from tests.chaos.tail import Tail
from tests.chaos.tethered import tethered
from tests.e2e.harness import environment, free_port

START_S, STOP_S, POLL_S, REST_S, QUIET_S = 30.0, 15.0, 0.1, 0.1, 3.0


class Rotel:
    """An agent that forwards to the server at `port`, and one sender `r0` that keeps it busy. A context manager.

    What it acknowledges it holds in memory. Requests whose connection breaks before the answer it may drop; nothing that it
    sends again may count twice.
    """

    def __init__(self, folder: Path, port: int, key: str) -> None:
        folder.mkdir(parents=True, mode=0o700)
        self._folder, self._to, self._key = folder, port, key
        self.port = free_port()
        self.clients = Clients((self.port,), key, count=1, services=1, rest_s=REST_S, prefix="r")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        specification = importlib.util.find_spec("rotel")
        assert specification is not None, "rotel is not installed"
        assert specification.origin is not None, "rotel is not installed"
        agent = Path(specification.origin).parent / "rotel-agent"
        command = [
            *(str(agent), "start", "--otlp-grpc-endpoint", f"127.0.0.1:{self.port}"),
            *("--otlp-http-endpoint", f"127.0.0.1:{free_port()}", "--batch-timeout", "100ms"),
            *("--pid-file", str(self._folder / "pid"), "--log-file", str(self._folder / "log")),
            *("--exporter", "otlp", "--otlp-exporter-endpoint", f"http://127.0.0.1:{self._to}"),
            *("--otlp-exporter-custom-headers", f"x-api-key={self._key}"),
            *("--otlp-exporter-retry-initial-backoff", "100ms", "--otlp-exporter-retry-max-backoff", "500ms"),
        ]
        with (self._folder / "output").open("wb") as output:
            self._process = subprocess.Popen(tethered(*command), env=environment(), stdout=output, stderr=output)
        try:
            with grpc.insecure_channel(f"127.0.0.1:{self.port}") as channel:
                grpc.channel_ready_future(channel).result(START_S)
            self.clients.__enter__()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.clients.__exit__(kind, error, trace)
        self._close()

    def deliver(self, tail: Tail) -> None:
        """Return when what it holds is in the journal, or nothing more comes for a while: it drops requests now and then."""
        before, since = -1, time.monotonic()
        while time.monotonic() < since + QUIET_S:
            arrived = self.arrived(tail)
            if arrived != before:
                before, since = arrived, time.monotonic()
            if arrived == self.clients.acked["r0"]:
                return
            time.sleep(POLL_S)

    def arrived(self, tail: Tail) -> int:
        """Records of its sender that are in the journal."""
        return sum(f"r0-{number}" in tail.seen for number in range(1, self.clients.acked["r0"] + 1))

    def _close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
