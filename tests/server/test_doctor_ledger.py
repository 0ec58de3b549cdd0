"""`driftlock doctor --ledger` on a real database."""

import asyncio
from uuid import UUID

import asyncpg
import pytest
from click.testing import CliRunner, Result

from driftlock.storage.ledger import Ledgers, Unjournaled
from driftlock.storage.pool import Database
from driftlock.storage.tenants import Tenants
from server.cli import main
from tests.conftest import Urls


@pytest.fixture
def served(database_urls: Urls, monkeypatch: pytest.MonkeyPatch) -> Urls:
    for address in ("DRIFTLOCK_OTLP_GRPC_ADDR", "DRIFTLOCK_OTLP_HTTP_ADDR", "DRIFTLOCK_HTTP_ADDR"):
        monkeypatch.setenv(address, "127.0.0.1:0")
    monkeypatch.setenv("DATABASE_URL", database_urls.app)
    return database_urls


async def doctor(*arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, main, ["doctor", *arguments])


async def refused(database: Database, name: str, records: int) -> UUID:
    tenant = (await Tenants(database).create(name)).tenant_id
    await Ledgers(database).add("node", [Unjournaled(tenant, "logs", records + 1, 1, records)])
    return tenant


async def test_an_empty_ledger(served: Urls) -> None:
    done = await doctor("--ledger")
    assert (done.exit_code, done.output) == (0, "nothing was ever received\n")


async def test_a_ledger_that_adds_up(served: Urls, database: Database) -> None:
    await refused(database, "acme [red]", 12_345)
    done = await doctor("--ledger")
    assert done.exit_code == 0, done.output
    row = next(line.split() for line in done.output.splitlines() if line.startswith("acme"))
    assert row == ["acme", "[red]", "logs", "12,346", "0", "1", "12,345", "0", "0", "0", "0", "0"]
    assert "every record is accounted for" in done.output
    assert "ok    ledger: 12346 records received, all accounted for" in (await doctor()).output


BREAKS = {
    "received": "update driftlock.ledger set received = received + 7 where tenant_id = $1",
    "metered": "insert into driftlock.meter (tenant_id, node, hour, signal, records, bytes) "
    "values ($1, 'n', date_trunc('hour', now()), 'logs', 7, 7)",
    "held": "insert into driftlock.journal_removed (tenant_id, signal, records) values ($1, 'logs', 7)",
}


@pytest.mark.parametrize("law", BREAKS)
async def test_a_broken_law_is_named_and_fails(
    served: Urls, database: Database, owner: "asyncpg.Connection[asyncpg.Record]", law: str
) -> None:
    tenant = await refused(database, "acme", 5)
    await refused(database, "good", 5)
    await owner.execute(BREAKS[law], tenant)
    done = await doctor("--ledger")
    assert done.exit_code == 1
    assert f"fail  acme logs: off in {law} by +7 records" in done.output
    assert "good logs" not in done.output
    plain = await doctor()
    assert plain.exit_code == 1
    assert "fail  ledger: 1 of 2 rows do not add up" in plain.output


async def test_a_database_that_is_not_there(served: Urls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    done = await doctor("--ledger")
    assert done.exit_code == 1
    assert done.output.startswith("Error: ")
    assert len(done.output.splitlines()) == 1


async def test_no_database_is_made_to_look_into_it(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("DRIFTLOCK_DATA_DIR", f"{tmp_path}/data")
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert (await doctor("--ledger")).output == "nothing was ever received\n"
    assert not list(tmp_path.iterdir())  # type: ignore[attr-defined]
