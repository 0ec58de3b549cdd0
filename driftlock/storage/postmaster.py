"""One `postgres` process on the cluster of a data folder: started, awaited, stopped."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Mapping

from driftlock.storage import binaries as programs
from driftlock.storage.binaries import Binaries, Identity
from driftlock.storage.datafolder import HOST, DataFolder, tail
from driftlock.storage.startup import StartupRefused

STARTS_MAX = 3  # a free port can be taken between finding it and listening on it
READY_POLL_S = 0.01


class Postmaster:
    """The server process. Times in seconds; `start_timeout_s` covers what it recovers before it is ready.

    Its parameters go on the command line, so that they win over every file of the cluster. Start it on a thread that lives
    as long as the server should: the kernel's parent-death signal follows the thread.
    """

    def __init__(
        self, folder: DataFolder, binaries: Binaries, identity: Identity, *, start_timeout_s: float, stop_timeout_s: float
    ) -> None:
        """Nothing is started yet."""
        self._folder = folder
        self._binaries = binaries
        self._identity = identity
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self.process: asyncio.subprocess.Process | None = None
        self.port = 0

    async def wait_for_orphan(self) -> None:
        """The server of a parent that was just killed may still be stopping: wait for it. Raises `StartupRefused`."""
        for _ in range(int(self._stop_timeout_s / READY_POLL_S)):
            pid = self._folder.running_postgres()
            if pid is None:
                return
            await asyncio.sleep(READY_POLL_S)
        raise StartupRefused(
            f"a PostgreSQL (process {pid}) that driftlock did not start is running in {self._folder.cluster}: stop it first"
        )

    async def start_on_free_port(self, settings: Mapping[str, str]) -> None:
        """Find a port and start on it; `self.port` is the port then. Raises `StartupRefused`."""
        for start in range(1, STARTS_MAX + 1):
            with socket.socket() as probe:
                probe.bind((HOST, 0))
                self.port = int(probe.getsockname()[1])
            try:
                await self.start(settings)
                return
            except StartupRefused as error:
                if start == STARTS_MAX or "could not bind" not in str(error):
                    raise

    async def start(self, settings: Mapping[str, str]) -> None:
        """Start on `self.port` with these parameters and wait until it takes connections. Raises `StartupRefused`."""
        self._folder.running_postgres()
        flags = [flag for name, value in {**settings, "port": str(self.port)}.items() for flag in ("-c", f"{name}={value}")]
        output = os.open(self._folder.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self.process = await asyncio.create_subprocess_exec(
                *programs.command(
                    self._identity.mode, str(self._binaries.folder / "postgres"), "-D", str(self._folder.cluster), *flags
                ),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=programs.clean_environment(),
                # Its own session: Ctrl-C in a terminal must reach us first, so that we drain before it stops.
                start_new_session=True,
            )
        finally:
            os.close(output)
        try:
            await asyncio.wait_for(self._ready(self.process), self._start_timeout_s)
        except TimeoutError as error:
            raise StartupRefused(
                f"PostgreSQL was not ready after {self._start_timeout_s:.0f} s: see {self._folder.log}"
            ) from error

    async def _ready(self, process: asyncio.subprocess.Process) -> None:
        """Until line 8 of postmaster.pid, where the postmaster writes its state, says ready."""
        pid_file = self._folder.cluster / "postmaster.pid"
        while True:
            if process.returncode is not None:
                raise StartupRefused(f"PostgreSQL did not start: {tail(self._folder.log)}; see {self._folder.log}")
            with contextlib.suppress(OSError):
                lines = pid_file.read_text("ascii", "replace").splitlines()
                if len(lines) >= 8 and lines[0].strip() == str(process.pid) and lines[7].strip() == "ready":
                    return
            await asyncio.sleep(READY_POLL_S)

    async def stop(self) -> None:
        """Fast shutdown, then immediate, then kill; each is followed by crash recovery at worst, never by loss."""
        process = self.process
        if process is None:
            return
        for step in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            if process.returncode is not None:
                break
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(step)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), self._stop_timeout_s)
