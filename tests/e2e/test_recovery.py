"""A server and a database that is not as it was left: other versions, a damaged row, an older state in its place."""

import secrets
import signal
from collections.abc import Callable
from pathlib import Path

import asyncpg
import httpx
import pytest

from driftlock.storage.embedded import EmbeddedPostgres
from tests.e2e.harness import STOP_S, Server, shop_log, wait_for

pytestmark = pytest.mark.e2e


def metrics(server: Server) -> str:
    return httpx.get(f"{server.rest}/metrics", timeout=10).text


async def test_other_versions_another_database_a_damaged_row_and_an_older_state(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    async with EmbeddedPostgres(tmp_path / "pg", token_bytes=secrets.token_bytes) as postgres:
        server = make_server("data", DATABASE_URL=postgres.app_dsn, DRIFTLOCK_MIGRATE_DATABASE_URL=postgres.owner_dsn)
        assert server.run("migrate").returncode == 0
        server.start()
        assert server.run("tenant", "create", "acme").returncode == 0
        key = server.run("key", "create", "--tenant", "acme").stdout.strip()
        assert server.signal(signal.SIGTERM) == 0
        owner = await asyncpg.connect(postgres.owner_dsn)
        try:
            await _go_on(server, owner, key, tmp_path)
        finally:
            await owner.close()


async def _go_on(server: Server, owner: asyncpg.Connection, key: str, folder: Path) -> None:
    await owner.execute(
        'update driftlock.journal_identity set versions = versions || \'{"algorithm": "0"}\', '
        'database = database || \'{"timeline": "00000009"}\''
    )
    doctor = server.run("doctor")
    assert "not the one that was last served: its timeline changed from 00000009 to 00000001" in doctor.stdout
    server.start()
    said = server.output.read_text()
    assert "algorithm 0 -> 1" in said
    assert "this is not the database that was served before" in said
    assert 'driftlock_eras_total{what="versions"} 1.0' in metrics(server)
    assert 'driftlock_eras_total{what="database"} 1.0' in metrics(server)
    assert await owner.fetchval("select count(*) from driftlock.journal_era") == 1

    # A row that is damaged before it is scored: the server is stopped in between.
    path = folder / "calm.log"
    path.write_text("\n".join(shop_log(300, 10**9)))
    addresses = ["--endpoint", server.rest, "--otlp-endpoint", f"127.0.0.1:{server.grpc_port}", "--api-key", key]
    assert server.run("replay", *addresses, str(path)).returncode == 0
    assert server.signal(signal.SIGTERM) == 0
    applied = await owner.fetchval("select applied_seq from driftlock.journal_position")
    row = await owner.fetchval("select max(seq) from driftlock.journal where kind = 0 and seq <= $1", applied)
    await owner.execute("delete from driftlock.stream_checkpoints")
    await owner.execute("update driftlock.journal set body = 'x' where seq = $1", row)
    server.start()
    listed = wait_for("the quarantine", lambda: server.run("quarantine", "list").stdout)
    assert listed.startswith(f"{row} records ")
    assert "it does not match its checksum" in listed
    assert server.run("quarantine", "body", str(row)).stdout == "x"
    assert "1 journal rows with" in server.run("doctor").stdout
    wait_for("it to be counted", lambda: "driftlock_quarantined_rows_total 1.0" in metrics(server))

    # An older state under a running server.
    await owner.execute("update driftlock.journal_shard set epoch = epoch - 1")
    await owner.execute("update driftlock.journal_position set epoch = epoch - 1")
    assert server.process is not None
    assert server.process.wait(STOP_S) == 1
    assert "an older state of the database was put in the place" in server.output.read_text()
