"""What `driftlock doctor` looks at. Each check gives one line: what it found, and what to do when that is not good."""

import asyncio
import os
import platform
import shutil
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import grpc

from cbad_cy.codec import Codec
from collector.otlp.grpc import check_grpcio
from driftlock.engine.profile import DEFAULT_CODEC
from driftlock.errors import DriftlockError
from driftlock.storage import binaries
from driftlock.storage.archive_line import first_gap
from driftlock.storage.archive_note import NOTE, read_note
from driftlock.storage.checks import check_role
from driftlock.storage.datafolder import DataFolder, running
from driftlock.storage.debt import read_debt
from driftlock.storage.eras import database_changed
from driftlock.storage.ledger import LedgerRow, Ledgers
from driftlock.storage.pool import Database, PoolLimits
from driftlock.storage.shard_standing import ShardOverview, read_overview
from server.addresses import Address
from server.bound_ports import bind_error, driftlock_answers
from server.check import Check, State
from server.checkup_shards import check_shards, lag_of
from server.database import database_urls
from server.settings import Settings

PYTHON_MIN = (3, 11)
FREE_BYTES_WARN = 2 * 1024**3
LAG_ROWS_WARN = 10_000
LEDGER_TIMEOUT_MS = 60_000  # it looks at every row of the journal


async def check_up(settings: Settings) -> AsyncIterator[Check]:
    """All checks, each as soon as it is done; none of them changes anything."""
    for check in _programs():
        yield check
    if settings.embedded:
        yield _data_dir(settings)
        for check in await asyncio.to_thread(_archive, settings):
            yield check
    served = await asyncio.to_thread(_serving, settings)
    for variable, address in (
        ("DRIFTLOCK_OTLP_GRPC_ADDR", settings.otlp_grpc),
        ("DRIFTLOCK_OTLP_HTTP_ADDR", settings.otlp_http),
        ("DRIFTLOCK_HTTP_ADDR", settings.http),
    ):
        if address is not None:
            yield await asyncio.to_thread(_port, variable, address, served, shared=settings.reuse_port)
    async for check in _database(settings):
        yield check


def _programs() -> Iterator[Check]:
    good = sys.version_info >= PYTHON_MIN
    wanted = ".".join(map(str, PYTHON_MIN))
    yield Check(
        State.OK if good else State.FAIL,
        "python",
        platform.python_version() + ("" if good else f": install Python {wanted} or newer"),
    )
    try:
        check_grpcio(grpc.__version__)
        yield Check(State.OK, "grpcio", grpc.__version__)
    except RuntimeError as error:
        yield Check(State.FAIL, "grpcio", str(error))
    codec = Codec(DEFAULT_CODEC)
    yield Check(State.OK, "codec", f"{codec.name} {codec.version}, level {codec.level}")


def _data_dir(settings: Settings) -> Check:
    """Whether the data folder can be made or written, without making it."""
    folder = settings.data_dir.absolute()
    existing = folder
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return Check(State.FAIL, "data folder", f"{existing} can not be written: set DRIFTLOCK_DATA_DIR to a folder that can")
    free = shutil.disk_usage(existing).free
    text = f"{folder}, {free / 1024**3:.1f} GiB free"
    if free < FREE_BYTES_WARN:
        return Check(State.WARN, "data folder", f"{text}: free some space or set DRIFTLOCK_DATA_DIR")
    return Check(State.OK, "data folder", text)


def _archive(settings: Settings) -> list[Check]:
    """Whether the embedded database is archived as it was, and without a gap; nothing where it never was."""
    home = DataFolder(settings.data_dir.absolute()).home
    try:
        note = read_note(home)
        if note is None or note.archive is None:
            return []
        folder = Path(note.archive) / note.folder
        gap = first_gap(folder)
    except (DriftlockError, OSError) as error:
        return [Check(State.FAIL, "archive", f"the archive of the log can not be read: {error}")]
    if gap is not None:
        text = f"{folder} lacks {gap} but has later files: bring it back, or take a backup and remove the files before it"
        return [Check(State.FAIL, "archive", text)]
    if settings.archive_dir is None:
        text = (
            f"{folder}, but a start without DRIFTLOCK_ARCHIVE_DIR only keeps the log: set it, or remove {home / NOTE} to stop"
        )
        return [Check(State.WARN, "archive", text)]
    return [Check(State.OK, "archive", f"{folder}, without a gap")]


def _serving(settings: Settings) -> str:
    """Where a server of these settings runs by now; empty where none was found."""
    if settings.embedded:
        return "" if running(settings.data_dir) is None else "a driftlock runs on this data folder"
    if settings.http is not None and driftlock_answers(settings.http):
        return f"a driftlock answers on {settings.http.text}"
    return ""


def _port(variable: str, address: Address, served: str, *, shared: bool) -> Check:
    name = f"port {address.port}"
    if address.port == 0:
        return Check(State.OK, name, f"{address.text}: a free one is taken")
    error = bind_error(address, shared=shared)
    if error is None:
        return Check(State.OK, name, f"{address.text} is free{', or shared by DRIFTLOCK_REUSE_PORT' if shared else ''}")
    if served:
        return Check(State.OK, name, f"{address.text} is taken, and {served}")
    return Check(State.FAIL, name, f"{address.text}: {error}; stop the program that listens there or set {variable}")


async def _database(settings: Settings) -> AsyncIterator[Check]:
    """The database, if one runs: whether it may be served with, and how far scoring is behind."""
    dsn = settings.database_url
    if dsn is None:
        found = running(settings.data_dir)
        if found is None:
            yield await asyncio.to_thread(_programs_of_postgres)
            return
        dsn = found.app_dsn
    try:
        dangers = await check_role(dsn, unsafe=settings.unsafe_database)
        for danger in dangers:
            yield Check(State.WARN, "database", f"DRIFTLOCK_UNSAFE_DATABASE={settings.unsafe_database} lets pass: {danger}")
        if not dangers:
            yield Check(State.OK, "database", "reachable, schema up to date, role bound by row-level security")
        async with Database(dsn) as database:
            for check in await _debt(database):
                yield check
            shards = await read_overview(database)
            yield _quarantine(sum(it.quarantined_rows for it in shards), sum(it.quarantined_records for it in shards))
            yield _same_database(await _changed(database, shards))
            yield lag_of(shards, LAG_ROWS_WARN)
            for check in await check_shards(settings, database, shards):
                yield check
        yield _ledger(await _read_ledger(dsn))
    except DriftlockError as error:
        yield Check(State.FAIL, "database", error.message)


async def read_ledger(settings: Settings) -> list[LedgerRow]:
    """The ledger of the settings' database; an embedded one is started where none runs, but never made.

    Raises `StartupRefused` for a database that can not be used, `Unavailable` for one that is away.
    """
    if settings.embedded and not DataFolder(settings.data_dir.absolute()).cluster.exists():
        return []
    async with database_urls(settings, share=True) as urls:
        await check_role(urls.app, unsafe=settings.unsafe_database)
        return await _read_ledger(urls.app)


async def _read_ledger(dsn: str) -> list[LedgerRow]:
    async with Database(dsn, limits=PoolLimits(node_statement_timeout_ms=LEDGER_TIMEOUT_MS)) as database:
        return await Ledgers(database).read()


def _ledger(rows: Sequence[LedgerRow]) -> Check:
    """Whether every record that was received is accounted for."""
    broken = [row for row in rows if row.differences]
    if broken:
        text = f"{len(broken)} of {len(rows)} rows do not add up: records were lost or counted twice"
        return Check(State.FAIL, "ledger", f"{text}; see `driftlock doctor --ledger`")
    return Check(State.OK, "ledger", f"{sum(row.received for row in rows)} records received, all accounted for")


async def _changed(database: Database, shards: Sequence[ShardOverview]) -> str:
    """Why this is not the database that was last served; "" = it is, as far as any shard knows."""
    for it in shards:
        if it.judged and (changed := await database_changed(database, it.shard)):
            return changed
    return ""


async def _debt(database: Database) -> list[Check]:
    """What VACUUM and the archive of the log are behind with."""
    debt = await read_debt(database)
    warnings = [Check(State.WARN, "upkeep", warning) for warning in debt.warnings().values()]
    archive = "no archive of the log" if debt.archive is None else f"{debt.archive.waiting_bytes} bytes wait for the archive"
    dead = sum(table.dead_rows for table in debt.tables)
    age = max((table.transaction_age for table in debt.tables), default=0)
    return warnings or [Check(State.OK, "upkeep", f"{dead} dead rows, oldest transaction {age} ago, {archive}")]


def _quarantine(rows: int, records: int) -> Check:
    """Whether anything that was acknowledged could not be read."""
    if rows:
        text = f"{rows} journal rows with {records} records could not be read: see `driftlock quarantine list`, check the disk"
        return Check(State.WARN, "quarantine", text)
    return Check(State.OK, "quarantine", "every journal row could be read")


def _same_database(changed: str) -> Check:
    """Whether this is the database that was last served."""
    if changed:
        text = f"not the one that was last served: {changed}; the next start notes it. See docs/reliability.md, Recovery"
        return Check(State.WARN, "identity", text)
    return Check(State.OK, "identity", "the database is the one that was last served")


def _programs_of_postgres() -> Check:
    try:
        found = binaries.find(binaries.candidates())
        binaries.identity(found)
    except DriftlockError as error:
        return Check(State.FAIL, "database", error.message)
    return Check(State.OK, "database", f"embedded PostgreSQL {found.major} in {found.folder}, not running now")
