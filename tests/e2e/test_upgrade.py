"""A rolling upgrade: the next version migrates while this one serves, takes over, and nobody goes back by mistake."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from driftlock.storage.migrate import shipped
from tests.chaos.node import Node
from tests.chaos.scene import Site, open_site
from tests.e2e.harness import COMMAND, ROOT
from tests.e2e.test_handover import REUSE, successor

pytestmark = pytest.mark.e2e

PROGRAM = [sys.executable, "-P", *COMMAND[1:]]
"""The command of another version: modules come from PYTHONPATH, not from where it is started."""
NEXT = """
alter table driftlock.journal add column synthetic text;
alter table driftlock.tenants add column synthetic integer not null default 7;
alter table driftlock.api_keys add column synthetic integer;
create table driftlock.synthetic (tenant_id uuid primary key references driftlock.tenants on delete cascade);
create or replace function driftlock.journal_row_bytes(p_body bytea) returns bigint
language sql immutable parallel safe
as $$ select octet_length(p_body)::bigint + 201 $$;
"""


def next_version(folder: Path) -> Path:
    """This code with one migration more; all else is the same files."""
    storage = folder / "driftlock" / "storage"
    migrations = storage / "migrations"
    migrations.mkdir(parents=True)
    for made, source in (
        (folder, ROOT),
        (folder / "driftlock", ROOT / "driftlock"),
        (storage, ROOT / "driftlock" / "storage"),
        (migrations, ROOT / "driftlock" / "storage" / "migrations"),
    ):
        for entry in source.iterdir():
            if not (made / entry.name).exists() and not entry.name.startswith(".") and entry.name != "__pycache__":
                (made / entry.name).symlink_to(entry)
    (migrations / f"{len(shipped()) + 1:04}_synthetic.sql").write_text(NEXT)
    return folder


def upgraded(site: Site, code: Path) -> Node:
    """A node of the next version, on the ports of the one that serves."""
    site.program = PROGRAM
    node = successor(site, DRIFTLOCK_MIGRATE_DATABASE_URL=site.link.dsn("owner"), PYTHONPATH=str(code))
    site.program = None
    return node


@contextmanager
def readers(site: Site) -> Iterator[set[int]]:
    """Somebody reads through REST all the time; the statuses that he gets."""
    stop, statuses = threading.Event(), set[int]()

    def read() -> None:
        while not stop.wait(0.01):
            for path in ("/v1/streams", "/v1/anomalies", "/v1/incidents", "/v1/budget"):
                statuses.add(site.node.request("GET", path, key=site.key, timeout_s=60)[0])

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        thread.join()


def test_a_rolling_upgrade(tmp_path: Path) -> None:
    code = next_version(tmp_path / "next")
    with open_site(tmp_path / "site", **REUSE) as site:
        with readers(site) as statuses:
            new = upgraded(site, code)
            command = [*PROGRAM, "migrate"]
            done = subprocess.run(command, env=new.environment, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, done.stderr
            assert "synthetic" in done.stdout
            site.clients.wait_for_acks(100)
        assert statuses <= {200, 503}
        assert site.node.alive

        old = site.node
        new.start(wait=False)
        site.node = new
        assert old.wait_end() == 0, old.tail()
        new.wait_ready()
        site.clients.wait_for_acks(50)

        back = successor(site)
        back.start(wait=False)
        assert back.wait_end() == 1
        assert "which this version of driftlock does not know: upgrade driftlock" in back.tail()
        site.clients.wait_for_acks(50)
        judgement = site.judge()
    assert judgement.clean, judgement.line
    assert judgement.acknowledged > 1000
