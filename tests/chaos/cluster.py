"""A PostgreSQL that belongs to no server: faults can hit it and a server apart from each other.

It is made by the product's own means (`EmbeddedPostgres`), so that durability settings are the product's, and then runs on a
port that stays the same over restarts. It dies with the thread that started it, so start it on one that lives long enough.
"""

import asyncio
import contextlib
import os
import random
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import asyncpg

from driftlock.storage import binaries as programs
from driftlock.storage.datafolder import APP_ROLE, OWNER_ROLE, DataFolder
from driftlock.storage.embedded import SERVER_SETTINGS, SINCE_18, EmbeddedPostgres
from driftlock.storage.migrate import migrate
from tests.e2e.harness import free_port

START_S, STOP_S, POLL_S = 60.0, 30.0, 0.01
SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT, "kill": signal.SIGKILL}
Mode = Literal["fast", "immediate", "kill"]
Result = TypeVar("Result")


def blocking(work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run a coroutine on a loop and a thread of its own and wait for it, whether or not this thread has a loop."""
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(asyncio.run(work()))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="blocking")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def query(dsn: str, sql: str, *values: object) -> list[asyncpg.Record]:
    """Rows of a statement."""

    async def work() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(dsn, timeout=START_S)
        try:
            return list(await connection.fetch(sql, *values))
        finally:
            await connection.close()

    return blocking(work)


class Cluster:
    """One PostgreSQL under `folder` (made and, unless told otherwise, migrated when it is entered). All methods block.

    `settings` are further server settings. A context manager, also an asynchronous one.
    """

    def __init__(self, folder: Path, *, settings: Mapping[str, str] | None = None, migrated: bool = True) -> None:
        self.port = free_port()
        self.settings = dict(settings or {})
        self._folder = DataFolder(folder.absolute())
        self._migrated = migrated
        self._process: subprocess.Popen[bytes] | None = None
        self._binaries: programs.Binaries | None = None
        self._identity: programs.Identity | None = None

    def __enter__(self) -> Self:
        self._binaries = programs.find(programs.candidates())
        self._identity = programs.identity(self._binaries)
        if not self._folder.home.exists():
            blocking(self._create)
        try:
            self.start()
            if self._migrated:
                blocking(lambda: migrate(self.owner_dsn, APP_ROLE))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def owner_dsn(self) -> str:
        """Connection string of the role that migrates, a superuser; straight to the server."""
        return self._folder.dsn(OWNER_ROLE, self.port)

    @property
    def app_dsn(self) -> str:
        """Connection string of the role that serves; straight to the server. `Link.dsn` is the one for servers."""
        return self._folder.dsn(APP_ROLE, self.port)

    @property
    def data(self) -> Path:
        """PostgreSQL's data directory."""
        return self._folder.cluster

    @property
    def log(self) -> Path:
        """PostgreSQL's messages."""
        return self._folder.log

    @property
    def pid(self) -> int:
        """Of the postmaster."""
        assert self._process is not None, "the cluster is not started"
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Does the postmaster run?"""
        return self._process is not None and self._process.poll() is None

    def start(self) -> float:
        """Start it and wait until it takes connections; the seconds that this took."""
        assert self._binaries is not None, "enter the cluster first"
        assert self._identity is not None, "enter the cluster first"
        assert not self.alive, "it runs already"
        began = time.monotonic()
        self._folder.running_postgres()  # which removes a stale pid file
        settings = {
            **SERVER_SETTINGS,
            **(SINCE_18 if self._binaries.major >= 18 else {}),
            **self.settings,
            "port": str(self.port),
        }
        flags = [flag for name, value in settings.items() for flag in ("-c", f"{name}={value}")]
        program = [str(self._binaries.folder / "postgres"), "-D", str(self._folder.cluster), *flags]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                programs.command(self._identity.mode, *program),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=programs.clean_environment(),
                start_new_session=True,
            )
        while not self._ready():
            assert self.alive, f"PostgreSQL did not start: {self.log.read_text()[-2000:]}"
            assert time.monotonic() < began + START_S, f"PostgreSQL is not ready: {self.log.read_text()[-2000:]}"
            time.sleep(POLL_S)
        return time.monotonic() - began

    def stop(self, mode: Mode = "fast") -> None:
        """Stop it: `fast` finishes with a checkpoint, `immediate` leaves crash recovery to the next start, so does `kill`."""
        assert self._process is not None, "the cluster is not started"
        self._process.send_signal(SIGNALS[mode])
        self._process.wait(STOP_S)
        end = time.monotonic() + STOP_S
        while mode == "kill" and self.backends(""):  # they notice that the postmaster is gone, and the next start waits for it
            assert time.monotonic() < end, "backends outlive the postmaster"
            time.sleep(POLL_S)

    def close(self) -> None:
        """End it, however it stands."""
        if self.alive:
            self.stop("immediate")

    def backends(self, role: str = APP_ROLE) -> list[int]:
        """Processes of the cluster that serve connections of a role; "" = all but the postmaster."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and (entry / "cwd").readlink() == self._folder.cluster.resolve():
                    title = (entry / "cmdline").read_bytes().decode("utf-8", "replace")
                    if int(entry.name) != (self._process.pid if self._process else 0) and f"postgres: {role}" in title:
                        found.append(int(entry.name))
        return sorted(found)

    def kill_backend(self, rng: random.Random) -> int:
        """kill -9 a backend that serves a server; the postmaster then starts all of them anew. Its pid, 0 if there is none."""
        found = self.backends()
        pid = rng.choice(found) if found else 0
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return pid

    def query(self, sql: str, *values: object) -> list[asyncpg.Record]:
        """Rows of a statement, as the owner."""
        return query(self.owner_dsn, sql, *values)

    def _ready(self) -> bool:
        with contextlib.suppress(OSError):
            lines = (self._folder.cluster / "postmaster.pid").read_text("ascii", "replace").splitlines()
            return len(lines) >= 8 and lines[0].strip() == str(self.pid) and lines[7].strip() == "ready"
        return False

    async def _create(self) -> None:
        async with EmbeddedPostgres(
            self._folder.root, token_bytes=secrets.token_bytes, binaries=self._binaries, identity=self._identity
        ):
            pass
