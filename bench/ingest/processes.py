"""Processes under test: started in folders and on ports of their own, watched through /proc, stopped."""

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import grpc

from tests.e2e.harness import ROOT, Server, environment, free_port

TICKS = os.sysconf("SC_CLK_TCK")
START_S, STOP_S, LAG_S = 30.0, 20.0, 120.0
IDLE_S, IDLE_SHARE = 0.5, 0.06


@dataclass(frozen=True)
class Used:
    """CPU seconds so far, of the process that receives and of its database."""

    server_s: float
    database_s: float

    def since(self, before: "Used") -> "Used":
        """The difference."""
        return Used(self.server_s - before.server_s, self.database_s - before.database_s)


class Target(Protocol):
    """A server that takes OTLP/gRPC."""

    @property
    def name(self) -> str:
        """For tables."""
        ...

    @property
    def port(self) -> int:
        """Of OTLP/gRPC."""
        ...

    def used(self) -> Used:
        """CPU so far."""
        ...

    def peak_mib(self) -> float:
        """Most memory that was resident since the last time this was asked."""
        ...

    def settle(self) -> float:
        """Return when all that was acknowledged is done with: the seconds that it was still busy."""
        ...


def cpu_s(pid: int, *, children: bool = False) -> float:
    """User and system seconds of a process, with those of its ended children on demand; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11 : 15 if children else 13])) / TICKS


def peak_mib(pid: int) -> float:
    """High-water mark of resident memory in MiB, which begins anew."""
    status = Path(f"/proc/{pid}/status").read_text()
    mark = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return mark / 1024


class Ours:
    """A server of ours: `driftlock serve`, or a composition that leaves stages out."""

    def __init__(self, name: str, folder: Path, stage: str | None = None, variables: Mapping[str, str] | None = None) -> None:
        """Start it and wait until it is ready."""
        self._name = name
        self.server = _Staged(folder / "data", stage, **(variables or {}))
        self.server.start()
        self._scores = stage is None

    @property
    def name(self) -> str:
        """See `Target`."""
        return self._name

    @property
    def port(self) -> int:
        """See `Target`."""
        return self.server.grpc_port

    @property
    def pid(self) -> int:
        """Of the process that receives."""
        return self.server.running.pid

    def used(self) -> Used:
        """See `Target`."""
        return Used(cpu_s(self.pid), sum(cpu_s(pid, children=True) for pid in self.server.postgres()))

    def peak_mib(self) -> float:
        """See `Target`."""
        return peak_mib(self.pid)

    def settle(self) -> float:
        """Wait until everything that is journaled is scored, if this composition scores at all."""
        began = time.monotonic()
        end = began + LAG_S
        while self._scores and self.server.metric("driftlock_journal_lag_rows") > 0:
            if time.monotonic() > end:
                sys.exit(f"{self.name}: scoring is not done {LAG_S:.0f} s after the load")
            time.sleep(0.02)
        return time.monotonic() - began

    def close(self) -> None:
        """Stop it."""
        self.server.close()
        self.server.running.wait(STOP_S)


class _Staged(Server):
    """The tests' server, which may be one of the benchmark's compositions."""

    def __init__(self, data_dir: Path, stage: str | None, **variables: str) -> None:
        super().__init__(data_dir, **variables)
        self._stage = stage

    @property
    def running(self) -> "subprocess.Popen[bytes]":
        """The process, which was started."""
        if self.process is None:
            raise RuntimeError("the server was not started")
        return self.process

    def command(self) -> list[str]:
        """What is started."""
        if self._stage is None:
            return [str(Path(sys.executable).parent / "driftlock"), "serve"]
        return [sys.executable, "-m", "bench.ingest.composition", self._stage]

    def start(self) -> float:
        """Start and wait until it is ready; returns the seconds that this took."""
        began = time.monotonic()
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(self.command(), env=self.environment, stdout=output, stderr=output, cwd=ROOT)
        while not self.ready():
            if time.monotonic() > began + START_S:
                sys.exit(self.output.read_text())
            time.sleep(0.02)
        return time.monotonic() - began


class Foreign:
    """Another collector, by its command."""

    def __init__(self, name: str, command: list[str], port: int, log: Path) -> None:
        """Start it and wait until its port answers."""
        self._name, self._port = name, port
        with log.open("wb") as output:
            self.process = subprocess.Popen(command, env=environment(), stdout=output, stderr=output)
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            try:
                grpc.channel_ready_future(channel).result(START_S)
            except grpc.FutureTimeoutError:
                self.process.kill()
                sys.exit(f"{name} does not start:\n{log.read_text()}")

    @property
    def name(self) -> str:
        """See `Target`."""
        return self._name

    @property
    def port(self) -> int:
        """See `Target`."""
        return self._port

    def used(self) -> Used:
        """See `Target`."""
        return Used(cpu_s(self.process.pid), 0.0)

    def peak_mib(self) -> float:
        """See `Target`."""
        return peak_mib(self.process.pid)

    def settle(self) -> float:
        """Wait until it idles: what it does after its acknowledgement belongs to the record's cost."""
        began, busy = time.monotonic(), True
        while busy and (waited := time.monotonic() - began) < LAG_S:
            before = cpu_s(self.process.pid)
            time.sleep(IDLE_S)
            busy = cpu_s(self.process.pid) - before > IDLE_SHARE * IDLE_S
        return waited

    def close(self) -> None:
        """Stop it."""
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_S)
            return
        self.process.kill()
        self.process.wait()


@contextmanager
def ours(name: str, stage: str | None = None, **variables: str) -> Iterator[Ours]:
    """A server of ours, stopped and forgotten afterwards."""
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Ours(name, Path(folder), stage, variables)) as running:
        yield running


@contextmanager
def rotel() -> Iterator[Foreign]:
    """rotel, OTLP in, nothing out."""
    found = importlib.util.find_spec("rotel")
    if found is None or found.origin is None:
        sys.exit("rotel is not installed: run `make bench-ingest`, which installs it")
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        command = [
            *(str(Path(found.origin).parent / "rotel-agent"), "start"),
            *("--otlp-grpc-endpoint", f"127.0.0.1:{port}", "--otlp-http-endpoint", f"127.0.0.1:{free_port()}"),
            *("--pid-file", f"{folder}/pid", "--log-file", f"{folder}/log", "--exporter", "blackhole"),
            *("--otlp-grpc-max-recv-msg-size-mib", "16"),
        ]
        with contextlib.closing(Foreign("rotel, blackhole", command, port, Path(folder) / "out")) as running:
            yield running
