"""What `driftlock doctor` looks at. Each check gives one line: what it found, and what to do when that is not good."""

import asyncio
import os
import platform
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from enum import StrEnum

import grpc

from cbad_cy.codec import Codec
from collector.otlp.grpc import check_grpcio
from driftlock.engine.profile import DEFAULT_CODEC
from driftlock.errors import DriftlockError
from driftlock.storage import binaries
from driftlock.storage.checks import check_role
from driftlock.storage.datafolder import running
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.pool import Database
from server.settings import Address, Settings

PYTHON_MIN = (3, 11)
FREE_BYTES_WARN = 2 * 1024**3
LAG_ROWS_WARN = 10_000


class State(StrEnum):
    """How a check went."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report."""

    state: State
    name: str
    detail: str


async def check_up(settings: Settings) -> AsyncIterator[Check]:
    """All checks, each as soon as it is done; none of them changes anything."""
    for check in _programs():
        yield check
    if settings.embedded:
        yield _data_dir(settings)
    served = _serving(settings)
    for variable, address in (
        ("DRIFTLOCK_OTLP_GRPC_ADDR", settings.otlp_grpc),
        ("DRIFTLOCK_OTLP_HTTP_ADDR", settings.otlp_http),
        ("DRIFTLOCK_HTTP_ADDR", settings.http),
    ):
        if address is not None:
            yield await asyncio.to_thread(_port, variable, address, served)
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


def _serving(settings: Settings) -> bool:
    """Whether a server runs on the data folder."""
    return settings.embedded and running(settings.data_dir) is not None


def _port(variable: str, address: Address, served: bool) -> Check:
    name = f"port {address.port}"
    if address.port == 0:
        return Check(State.OK, name, f"{address.text}: a free one is taken")
    try:
        family, _, _, _, place = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        socket.create_server(place[:2], family=family).close()
    except OSError as error:
        if served:
            return Check(State.OK, name, f"{address.text} is taken, and a driftlock runs on this data folder")
        what = error.strerror or str(error)
        return Check(State.FAIL, name, f"{address.text}: {what}; stop the program that listens there or set {variable}")
    return Check(State.OK, name, f"{address.text} is free")


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
        await check_role(dsn)
        yield Check(State.OK, "database", "reachable, schema up to date, role bound by row-level security")
        async with Database(dsn) as database:
            rows = JournalRows(database)
            lag = await rows.last_seq() - await rows.applied_seq()
        if lag > LAG_ROWS_WARN:
            yield Check(State.WARN, "lag", f"{lag} journal rows are not scored yet: wait, or raise DRIFTLOCK_WORKER_THREADS")
        else:
            yield Check(State.OK, "lag", f"{lag} journal rows are not scored yet")
    except DriftlockError as error:
        yield Check(State.FAIL, "database", error.message)


def _programs_of_postgres() -> Check:
    try:
        found = binaries.find(binaries.candidates())
        binaries.identity(found)
    except DriftlockError as error:
        return Check(State.FAIL, "database", error.message)
    return Check(State.OK, "database", f"embedded PostgreSQL {found.major} in {found.folder}, not running now")
