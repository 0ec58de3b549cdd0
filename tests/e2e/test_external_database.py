"""`DATABASE_URL`: a PostgreSQL that is not ours, two roles, keys for everybody, one owner of the journal at a time."""

import secrets
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from driftlock.storage.embedded import EmbeddedPostgres
from tests.e2e.harness import STOP_S, Server, shop_log, wait_for

pytestmark = pytest.mark.e2e


def streams(server: Server, key: str | None) -> httpx.Response:
    return httpx.get(f"{server.rest}/v1/streams", headers={"X-Api-Key": key} if key else {}, timeout=10)


async def test_serving_from_an_external_database(make_server: Callable[..., Server], tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path / "pg", token_bytes=secrets.token_bytes) as postgres:
        app = {"DATABASE_URL": postgres.app_dsn}
        server = make_server("first", **app)
        refused = server.run("serve", timeout_s=60)
        assert refused.returncode == 1
        assert "run `driftlock migrate`" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
        refused = make_server("owner", DATABASE_URL=postgres.owner_dsn).run("serve", timeout_s=60)
        assert refused.returncode == 1
        assert "DRIFTLOCK_MIGRATE_DATABASE_URL" in refused.stderr

        migrating = make_server("migrating", DRIFTLOCK_MIGRATE_DATABASE_URL=postgres.owner_dsn, **app)
        migrated = migrating.run("migrate")
        assert migrated.returncode == 0, migrated.stderr
        assert "applied 0001" in migrated.stdout
        sharded = migrating.run("migrate", "--shards", "2")
        assert "made 2 shards of the journal" in sharded.stdout, sharded.stderr
        server.start()
        assert not (server.data_dir / "postgres").exists()
        assert not (server.data_dir / "api-key").exists()
        assert server.run("tenant", "create", "acme").returncode == 0
        key = server.run("key", "create", "--tenant", "acme").stdout.strip()
        assert key.startswith("dl_live_")
        assert streams(server, None).status_code == 401
        assert streams(server, key).status_code == 200

        path = tmp_path / "calm.log"
        path.write_text("\n".join(shop_log(500, 10**9)))
        addresses = ["--endpoint", server.rest, "--otlp-endpoint", f"127.0.0.1:{server.grpc_port}"]
        unknown = server.run("replay", *addresses, str(path))
        assert unknown.returncode == 1
        assert "DRIFTLOCK_API_KEY" in unknown.stderr
        known = server.run("replay", *addresses, "--api-key", key, str(path))
        assert known.returncode == 0, known.stderr

        second = make_server("second", **app)
        second.start()
        assert server.process is not None
        assert server.process.wait(STOP_S) == 0
        assert "handed over" in server.output.read_text()
        wait_for("all to be scored", lambda: [each["events"] for each in streams(second, key).json()["streams"]] == [500])
        assert second.signal(signal.SIGTERM) == 0
