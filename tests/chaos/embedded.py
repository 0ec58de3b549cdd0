"""kill -9 of a server that brings its own PostgreSQL, which has to go with it and to come back with it."""

import contextlib
import os
import signal
import time
from pathlib import Path

from driftlock.storage.datafolder import running
from tests.chaos.clients import Clients
from tests.chaos.cluster import query
from tests.chaos.faults import BETWEEN_ACKS
from tests.chaos.node import Node
from tests.chaos.parts import Order, Part, note_recovery
from tests.chaos.scenarios.report import Report
from tests.chaos.scene import SETTLE_S, configure, judge
from tests.chaos.tail import Tail

FOLLOW_S, POLL_S = 15.0, 0.01
LAG = """
select s.next_seq - 1 as last, s.next_seq - 1 - p.applied_seq as lag
  from driftlock.journal_shard s join driftlock.journal_position p on p.shard = s.shard
"""


def postgres_of(cluster: Path) -> list[int]:
    """Processes that work in a cluster's folder."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "cwd").readlink() == cluster:
                found.append(int(entry.name))
    return found


def embedded_kills(order: Order) -> Report:
    """kill -9 of `driftlock serve` on a data folder of its own, so many times."""
    report = Report("kill -9 with the embedded database", {"times": order.count})
    with Node(order.folder / "node", None, program=order.program) as node:
        cluster = (node.folder / "data" / "postgres" / "cluster").resolve()
        node.start()
        try:
            _run(report, node, cluster, order)
        finally:
            node.close()
            _followed(cluster)
            for pid in postgres_of(cluster):  # so that nothing stays behind if the promise is broken
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    return report


def _run(report: Report, node: Node, cluster: Path, order: Order) -> None:
    key = (node.folder / "data" / "api-key").read_text().strip()
    clients = Clients((node.grpc_port,), key, seed=order.seed)
    configure(node, clients, key)
    took = []
    with clients:
        for number in range(order.count):
            clients.wait_for_acks(BETWEEN_ACKS)
            began = time.monotonic()
            node.kill()
            report.require(_followed(cluster), "PostgreSQL outlived its server")
            node.start()
            clients.wait_for_acks()
            took.append(time.monotonic() - began)
            order.told(number + 1)
        clients.wait_for_findings()
        clients.stop()
    note_recovery(report, took)
    found = running(node.folder / "data")
    assert found is not None, "the server does not say where its database is"
    end = time.monotonic() + SETTLE_S
    while (row := query(found.owner_dsn, LAG)[0])["lag"]:
        assert time.monotonic() < end, f"the journal is not scored after {SETTLE_S} s:\n{node.tail()}"
        time.sleep(POLL_S)
    with Tail(found.app_dsn) as tail:
        tail.finish(row["last"])
        judgement = judge(tail, clients, found.owner_dsn, found.app_dsn)
    report.figures["end"] = judgement.line
    report.require(judgement.findings > 0, "nothing was found: nothing was compared")
    report.require(judgement.clean, f"{judgement.line} {' '.join((*judgement.verdict.samples, *judgement.different))}")


def _followed(cluster: Path) -> bool:
    """Has PostgreSQL gone, within a while?"""
    end = time.monotonic() + FOLLOW_S
    while postgres_of(cluster) and time.monotonic() < end:
        time.sleep(POLL_S)
    return not postgres_of(cluster)


EMBEDDED = Part("kill -9 with the embedded database", 100, 5, 4.0, embedded_kills)
