"""Upgrades that begin an era, under load and without: the server before leaves in peace, and nothing is lost or said twice."""

import sys
import time
from pathlib import Path

import pytest

from tests.chaos.refold import ledger_differences
from tests.chaos.scene import open_site

pytestmark = pytest.mark.e2e
IDLE = (3, 4)  # versions whose servers come while nobody sends


def test_servers_whose_versions_judge_otherwise_follow_each_other(tmp_path: Path) -> None:
    with open_site(tmp_path) as site:
        for version in (2, 3, 4):
            if version in IDLE:  # only reading can tell the server before, and it reads that era
                site.clients.pause()
            old, site.program = site.node, [sys.executable, "-m", "tests.e2e.newer", str(version)]
            site.node = site.spare()
            site.node.start(wait=False)
            while old.alive:
                assert site.node.alive, site.node.tail()
                time.sleep(0.01)
            assert old.wait_end() == 0, old.tail()
            assert "handed over" in old.tail()
            assert "restore the whole database" not in old.tail()
            site.node.wait_ready()
            site.clients.resume()
            site.clients.ports = (site.node.grpc_port,)
            site.clients.wait_for_acks(50)
            assert f"algorithm {version - 1} -> {version}" in site.node.tail(30_000)
        assert site.cluster.query("select count(*) as eras from driftlock.journal_era")[0]["eras"] == 3
        # An undisturbed run would not know of the eras, so findings are not compared.
        site.tail.finish(site.settle())
        verdict = site.tail.check(site.clients.acked)
        assert verdict.clean, verdict.line
        assert verdict.records == sum(site.clients.acked.values())
        assert ledger_differences(site.cluster.owner_dsn) == []
