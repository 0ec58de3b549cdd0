"""The embedded server: starts in any folder that we may write, dies with us, and survives everything else."""

import asyncio
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from driftlock.storage import binaries as programs
from driftlock.storage.binaries import Binaries, Identity
from driftlock.storage.datafolder import DataFolder, running
from driftlock.storage.embedded import EmbeddedLimits, EmbeddedPostgres
from driftlock.storage.startup import StartupRefused

ROOT = os.geteuid() == 0


def embedded(folder: Path, **options: object) -> EmbeddedPostgres:
    return EmbeddedPostgres(folder, token_bytes=secrets.token_bytes, **options)  # type: ignore[arg-type]


async def query(dsn: str, sql: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # nobody announces what is waited for here
            await asyncio.sleep(0.01)


def owner_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def owner_of_file(path: Path) -> int:
    return path.stat().st_uid


def start_parent(folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-m", "tests.storage.parent", str(folder)], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("folder", programs.candidates(), ids=str)
async def test_every_postgresql_of_this_machine_starts_and_keeps_its_data(tmp_path: Path, folder: Path) -> None:
    found = programs.find([folder])
    async with embedded(tmp_path, binaries=found) as postgres:
        assert str(await query(postgres.app_dsn, "show server_version")).startswith(str(found.major))
        await query(postgres.owner_dsn, "create table kept as select 7 as x")
        pid = postgres.pid
    assert not alive(pid)
    async with asyncio.timeout(30), embedded(tmp_path, binaries=found) as postgres:
        assert await query(postgres.owner_dsn, "select x from kept") == 7


async def test_what_is_promised_about_the_server(tmp_path: Path) -> None:
    async with embedded(tmp_path) as postgres:
        for setting, value in (
            ("fsync", "on"),
            ("full_page_writes", "on"),
            ("synchronous_commit", "on"),
            ("listen_addresses", "127.0.0.1"),
            ("password_encryption", "scram-sha-256"),
            ("server_encoding", "UTF8"),
        ):
            assert await query(postgres.app_dsn, f"select current_setting('{setting}')") == value
        assert (
            await query(postgres.app_dsn, "select rolsuper or rolinherit from pg_roles where rolname = session_user") is False
        )
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(postgres.app_dsn.replace(DataFolder(tmp_path).password("driftlock_app"), "wrong"))
        for path in (tmp_path / "postgres", tmp_path / "postgres" / "cluster"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
        for name in ("owner.password", "app.password", "connection.json", "server.log"):
            assert stat.S_IMODE((tmp_path / "postgres" / name).stat().st_mode) == 0o600
        assert os.getsid(postgres.pid) != os.getsid(0)  # Ctrl-C is ours to handle


@pytest.mark.skipif(not ROOT, reason="only root has to drop its identity")
async def test_root_may_use_a_folder_that_only_root_can_enter(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    async with embedded(private / "data") as postgres:
        assert await query(postgres.app_dsn, "select 1") == 1
    assert {path.stat().st_uid for path in private.rglob("*")} == {0}
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


def open_to_others(folder: str) -> bool:
    """A virtual environment under a private folder is closed to other users: then a refusal is all there is to see."""
    return all(above.stat().st_mode & stat.S_IXOTH for above in Path(folder).resolve().parents)


@pytest.mark.skipif(not ROOT, reason="only root can become another user")
async def test_without_namespaces_a_system_user_runs_it(tmp_path: Path) -> None:
    account = pwd.getpwnam("nobody")
    identity = Identity(f"user:{account.pw_uid}:{account.pw_gid}", (account.pw_uid, account.pw_gid))
    readable = Path("/var/tmp") / f"driftlock-test-{os.getpid()}"  # noqa: S108  # pytest's own folders are closed to others
    readable.mkdir(mode=0o700)
    try:
        if open_to_others(sys.prefix):
            async with embedded(readable, identity=identity) as postgres:
                assert await query(postgres.app_dsn, "select 1") == 1
                assert owner_of(postgres.pid) == account.pw_uid
            assert owner_of_file(readable / "postgres") == account.pw_uid
        with pytest.raises(StartupRefused, match=r"initdb failed.*chmod o\+x"):
            async with embedded(tmp_path / "closed", identity=identity):
                pass
    finally:
        shutil.rmtree(readable)


async def test_a_second_process_is_refused_and_told_why(tmp_path: Path) -> None:
    assert running(tmp_path) is None
    async with embedded(tmp_path) as postgres:
        with pytest.raises(StartupRefused, match=rf"in use by another driftlock \(process {os.getpid()}\)"):
            async with embedded(tmp_path):
                pass
        found = running(tmp_path)
        assert found is not None
        assert (found.app_dsn, found.owner_dsn) == (postgres.app_dsn, postgres.owner_dsn)
        assert await query(found.app_dsn, "select 1") == 1
    assert running(tmp_path) is None


async def test_when_the_parent_is_killed_the_server_stops_and_the_folder_works_at_once(tmp_path: Path) -> None:
    parent = start_parent(tmp_path)
    assert parent.stdout is not None
    pid = int(await asyncio.to_thread(parent.stdout.readline))
    found = running(tmp_path)
    assert found is not None
    await query(found.owner_dsn, "create table kept as select 7 as x")
    parent.kill()
    parent.wait()
    parent.stdout.close()
    async with asyncio.timeout(30), embedded(tmp_path) as postgres:
        assert await query(postgres.owner_dsn, "select x from kept") == 7
        assert postgres.pid != pid
    await until(lambda: not alive(pid))


async def test_a_server_that_dies_is_started_again_at_the_same_address(tmp_path: Path) -> None:
    async with embedded(tmp_path) as postgres:
        killed = postgres.pid
        await query(postgres.owner_dsn, "create table kept as select 7 as x")
        os.kill(killed, signal.SIGKILL)
        async with asyncio.timeout(30):
            while True:
                try:
                    if await query(postgres.owner_dsn, "select x from kept") == 7 and postgres.pid != killed:
                        break
                except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    pass
                await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "content", [str(os.getpid()), "1", "999999999", "garbage", ""], ids=["a live process", "init", "nobody", "garbage", "empty"]
)
async def test_a_stale_pid_file_is_no_obstacle(tmp_path: Path, content: str) -> None:
    async with embedded(tmp_path):
        pass
    lines = f"{content}\n{tmp_path}/postgres/cluster\n1\n1\n\n127.0.0.1\n0 0\nready\n"
    (tmp_path / "postgres" / "cluster" / "postmaster.pid").write_text(lines)
    async with embedded(tmp_path) as postgres:
        assert await query(postgres.app_dsn, "select 1") == 1


async def test_a_server_that_is_not_ours_is_respected(tmp_path: Path) -> None:
    async with embedded(tmp_path) as postgres:
        folder = DataFolder(tmp_path)
        assert folder.running_postgres() == postgres.pid
        assert (tmp_path / "postgres" / "cluster" / "postmaster.pid").exists()
        other = DataFolder(tmp_path / "other")
        other.cluster.mkdir(parents=True)
        (other.cluster / "postmaster.pid").write_text(f"{postgres.pid}\n")  # a postgres, but of another folder
        assert other.running_postgres() is None
        assert not (other.cluster / "postmaster.pid").exists()


async def test_half_a_cluster_is_thrown_away(tmp_path: Path) -> None:
    half = tmp_path / "postgres.new" / "cluster"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    async with embedded(tmp_path) as postgres:
        assert await query(postgres.app_dsn, "select 1") == 1
    assert not (tmp_path / "postgres.new").exists()


async def test_an_interrupted_first_start_can_be_repeated(tmp_path: Path) -> None:
    for delay_s in (0.05, 0.2, 0.4):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(delay_s), embedded(tmp_path):
                await asyncio.sleep(60)
        assert running(tmp_path) is None
    async with embedded(tmp_path) as postgres:
        assert await query(postgres.app_dsn, "select 1") == 1


async def test_an_unusable_folder_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for folder in (file, file / "below", Path("/proc/driftlock")):
        with pytest.raises(StartupRefused, match="set DRIFTLOCK_DATA_DIR") as refused:
            async with embedded(folder):
                pass
        assert str(folder) in str(refused.value)
        assert "\n" not in str(refused.value)


async def test_a_cluster_of_another_version_is_refused(tmp_path: Path) -> None:
    async with embedded(tmp_path):
        pass
    version = tmp_path / "postgres" / "cluster" / "PG_VERSION"
    version.write_text("14\n")
    with pytest.raises(StartupRefused, match="made by PostgreSQL 14 but the programs are"):
        async with embedded(tmp_path):
            pass
    version.unlink()
    with pytest.raises(StartupRefused, match="not a PostgreSQL cluster"):
        async with embedded(tmp_path):
            pass


async def test_a_damaged_cluster_says_what_postgresql_says(tmp_path: Path) -> None:
    async with embedded(tmp_path):
        pass
    (tmp_path / "postgres" / "cluster" / "global" / "pg_control").unlink()
    with pytest.raises(StartupRefused, match=r"pg_control.*server\.log") as refused:
        async with embedded(tmp_path):
            pass
    assert "\n" not in str(refused.value)


async def test_the_log_is_bounded(tmp_path: Path) -> None:
    async with embedded(tmp_path, limits=EmbeddedLimits(log_bytes_max=4000, log_check_s=0.05)) as postgres:
        connection = await asyncpg.connect(postgres.owner_dsn)
        for number in range(100):
            await connection.execute(f"do $$ begin raise warning 'noise {number} {'x' * 100}'; end $$")
        await connection.close()
        log = tmp_path / "postgres" / "server.log"
        await until(lambda: log.stat().st_size <= 4000)
        assert (tmp_path / "postgres" / "server.log.1").stat().st_size > 4000


async def test_values_of_failed_statements_stay_out_of_the_log(tmp_path: Path) -> None:
    async with embedded(tmp_path) as postgres:
        connection = await asyncpg.connect(postgres.owner_dsn)
        await connection.execute("create table keys (x text primary key); insert into keys values ('s3cret')")
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute("insert into keys values ($1)", "s3cret")
        await connection.close()
    text = (tmp_path / "postgres" / "server.log").read_text()
    assert "duplicate key" in text
    assert "s3cret" not in text


async def test_leaving_twice_is_harmless_and_outside_there_is_no_address(tmp_path: Path) -> None:
    postgres = embedded(tmp_path)
    with pytest.raises(StartupRefused, match="not running"):
        _ = postgres.app_dsn
    with pytest.raises(StartupRefused, match="not running"):
        _ = postgres.pid
    async with postgres:
        pass
    await postgres.__aexit__(None, None, None)
    with pytest.raises(StartupRefused, match="not running"):
        _ = postgres.owner_dsn


def test_binaries_are_searched_in_order(tmp_path: Path) -> None:
    with pytest.raises(StartupRefused, match="no PostgreSQL 15 or newer"):
        programs.find([tmp_path])
    old, new = tmp_path / "old", tmp_path / "new"
    for folder, version in ((old, "14.9"), (new, "16.2")):
        folder.mkdir()
        (folder / "initdb").touch()
        (folder / "postgres").write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")
        (folder / "postgres").chmod(0o755)
    assert programs.find([tmp_path, old, new]) == Binaries(new, 16)


def test_a_program_that_can_not_be_executed_says_so(tmp_path: Path) -> None:
    done = subprocess.run(programs.command("plain", str(tmp_path / "none")), capture_output=True, text=True)
    assert done.returncode == 98
    assert "No such file" in done.stderr


def test_nothing_is_started_for_a_parent_that_is_gone() -> None:
    command = programs.command("plain", "/bin/echo", "started")
    command[5] = "1"
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
