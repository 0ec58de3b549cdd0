"""From one machine to many: what `driftlock serve` has learned and found goes on at workers, as if it had stayed."""

import asyncio
import itertools
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.collector.otlp_requests import log, logs
from tests.conftest import Urls
from tests.e2e.harness import COMMAND, START_S, environment, free_port, shop_log, stormy
from tests.kafka.broker import broker
from tests.kafka.workers import (
    FIRST_NS,
    PARTITIONS,
    Outcome,
    Site,
    WorkerProcess,
    site,
    template,
    tenant,
)

__all__ = ["broker", "site", "template"]
pytestmark = pytest.mark.e2e
HALF, ALL, BATCH = 2400, 3600, 200
TENANTS = {1: ("shop", "till"), 3: ("shop",)}
STREAMS = sum(map(len, TENANTS.values()))
KEPT = {
    "findings": """
select t.name, s.slug, a.window_no, a.start_ns, a.end_ns, a.first_event, a.last_event, a.ncd, a.p_value, a.confidence,
       a.explanation, a.question, a.body, a.silenced_by is not null, a.incident_id is not null
  from driftlock.anomalies a join driftlock.streams s on s.id = a.stream_id join driftlock.tenants t on t.id = a.tenant_id
 order by t.name, s.slug, a.window_no, a.question, a.body""",
    "incidents": """
select t.name, i.state, i.start_ns, i.end_ns, i.findings, i.ncd_max, i.p_value_min, i.title, i.surprise_max, i.alerted,
       i.alerted_ns, cardinality(i.stream_ids)
  from driftlock.incidents i join driftlock.tenants t on t.id = i.tenant_id order by t.name, i.start_ns, i.title""",
    "anchors": """
select t.name, s.slug, a.standing, a.source, a.frozen_ns, a.event_no, a.size_bytes, a.ratio_normal, d.hour_ns, d.distance
  from driftlock.anchors a join driftlock.streams s on s.id = a.stream_id join driftlock.tenants t on t.id = a.tenant_id
  left join driftlock.drift d on d.anchor_id = a.id order by t.name, s.slug, a.frozen_ns, d.hour_ns""",
    "status": """
select t.name, s.slug, c.events, c.windows, c.first_event_ns, c.last_event_ns, c.calibration
  from driftlock.stream_status c join driftlock.streams s on s.id = c.stream_id join driftlock.tenants t on t.id = c.tenant_id
 order by t.name, s.slug""",
    "scores": """
select t.name, s.slug, c.minute, c.events, c.windows, c.flagged, c.ncd_max
  from driftlock.stream_scores c join driftlock.streams s on s.id = c.stream_id join driftlock.tenants t on t.id = c.tenant_id
 order by t.name, s.slug, c.minute""",
}


class Receiver(WorkerProcess):
    """A process that takes OTLP over HTTP; `keys` are those of the tenants, by their numbers."""

    def __init__(self, command: str, urls: Urls, of: Site, topic: str, keys: dict[int, str], key_file: Path) -> None:
        self.command, self.keys, self.otlp_port = command, keys, free_port()
        home = of.home / f"{command}-{self.otlp_port}"
        super().__init__(
            of.home / f"{home.name}.out",
            urls,
            of.broker,
            topic,
            PARTITIONS,
            DRIFTLOCK_OTLP_HTTP_ADDR=f"127.0.0.1:{self.otlp_port}",
            DRIFTLOCK_OTLP_GRPC_ADDR="off",
            DRIFTLOCK_DATA_DIR=str(home),
            DRIFTLOCK_EVIDENCE_KEY_FILE=str(key_file),
        )
        of.made.append(self)

    def send(self, lines: range) -> None:
        """These lines of every stream, in turns."""
        for start in range(lines.start, lines.stop, BATCH):
            for number, services in TENANTS.items():
                for service in services:
                    self.post(number, service, range(start, start + BATCH))

    def post(self, number: int, service: str, lines: range) -> None:
        stamped = [log(text, FIRST_NS + 10**9 * at) for at, text in zip(lines, texts(number)[lines.start :], strict=False)]
        request = logs(*stamped[: len(lines)], resource={"service.name": service, "driftlock.historical": True})
        headers = {"X-Api-Key": self.keys[number], "Content-Type": "application/x-protobuf"}
        url = f"http://127.0.0.1:{self.otlp_port}/v1/logs"
        answer = httpx.post(url, content=request.SerializeToString(), headers=headers, timeout=30)
        assert answer.status_code == 200, answer.text

    def ask(self, method: str, number: int, path: str, **body: Any) -> Any:
        url = f"http://127.0.0.1:{self.port}/v1/{path}"
        answer = httpx.request(method, url, json=body or None, headers={"X-Api-Key": self.keys[number]}, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()


def texts(seed: int) -> list[str]:
    """Lines of a kind that was never there begin in the first half and go on in the second; later there is nonsense."""
    return stormy(shop_log(ALL, HALF - 30, seed), ALL - 500, ALL - 460, seed)


async def begun(of: Site, urls: Urls, topic: str, key_file: Path) -> Receiver:
    """A server that has taken the first half, and was told what people think of it."""
    keys = {}
    for number in TENANTS:
        await tenant(urls, number)
        made = of.worker(urls, topic, PARTITIONS).run("key", "create", "--tenant", f"tenant-{number}", "--scope", "admin",
            "--scope", "ingest", "--scope", "read")  # fmt: skip
        keys[number] = made.stdout.strip()
    server = Receiver("serve", urls, of, topic, keys, key_file)
    server.start()
    server.send(range(HALF))
    await Outcome(urls).until("the first half is scored", scored=STREAMS * HALF, behind=0)
    [*_, first] = server.ask("GET", 1, "anomalies?stream=shop")["anomalies"]
    server.ask("POST", 1, f"anomalies/{first['id']}/feedback", verdict="false_positive", note="a drill")
    server.ask("PUT", 3, "streams/shop/anchor", drift_ncd_threshold=0.4)
    server.ask("PATCH", 3, "budget", alerts_per_day_max=1)
    return server


async def ended(urls: Urls) -> dict[str, list[Any]]:
    outcome = Outcome(urls)
    found = await outcome.until("all is scored", scored=STREAMS * ALL, behind=0)
    assert (found["metered"], found["dead"]) == (STREAMS * ALL, 0)
    return {name: await outcome.ask(sql) for name, sql in KEPT.items()}


def evidence_key(folder: Path) -> Path:
    key = Ed25519PrivateKey.generate()
    path = folder / "evidence.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    return path


async def all_made(outcome: Outcome) -> None:
    """Wait until no finding waits for its evidence."""
    end = time.monotonic() + START_S
    while await outcome.ask("select from driftlock.evidence where state = 'waiting' limit 1"):
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


async def nobody_at_work(outcome: Outcome) -> None:
    """Wait until the database has seen that the connections of an owner are gone."""
    end = time.monotonic() + START_S
    sql = "select from pg_stat_activity where application_name = 'driftlock-apply' and datname = current_database()"
    while await outcome.ask(sql):
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


def evidence(folder: Path, bundles: Sequence[bytes]) -> list[int]:
    """What `driftlock verify` says of each, elsewhere."""
    codes = []
    for number, bundle in zip(itertools.count(), bundles):
        (folder / f"{number}.evidence").write_bytes(bundle)
        command = [*COMMAND, "verify", f"{number}.evidence"]
        codes.append(subprocess.run(command, cwd=folder, env=environment(), capture_output=True, check=False).returncode)
    return codes


async def test_a_server_that_is_outgrown_goes_on_as_workers(site: Site, tmp_path: Path) -> None:
    key_file, topic = evidence_key(tmp_path), site.topic(PARTITIONS)
    stays, goes = await site.database(), await site.database()
    alone = await begun(site, stays, topic, key_file)
    alone.send(range(HALF, ALL))
    wanted = await ended(stays)
    assert alone.stop() == 0

    before = await begun(site, goes, topic, key_file)
    outcome, worker = Outcome(goes), site.worker(goes, topic, PARTITIONS, DRIFTLOCK_EVIDENCE_KEY_FILE=str(key_file))
    refused = before.run("tenant", "move", "--all")
    assert refused.returncode == 1
    assert "stop `driftlock serve`" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    before.send(range(HALF, HALF + BATCH))
    before.kill()  # what is not scored yet, or not saved, is the move's to do
    await nobody_at_work(outcome)
    moved = before.run("tenant", "move", "--all")
    assert moved.returncode == 0, moved.stderr
    assert [line.split(",")[0] for line in moved.stdout.splitlines()] == [
        "[1/2] tenant-1: shard 0 -> 2",
        "[2/2] tenant-3: shard 0 -> 4",
    ]
    assert before.run("tenant", "move", "--all").stdout == "every tenant is where it belongs\n"
    old = {row[0] for row in await outcome.ask("select id from driftlock.anomalies")}

    worker.start(wait=False)
    gateway = Receiver("gateway", goes, site, topic, before.keys, key_file)
    gateway.start()
    gateway.send(range(HALF + BATCH, ALL))
    found = await ended(goes)
    for name, rows in wanted.items():
        assert found[name] == rows, name
    assert any(row[-2] for row in found["findings"])  # what people taught holds
    ledger = gateway.run("doctor", "--ledger")
    assert ledger.returncode == 0, ledger.stdout
    await all_made(outcome)
    bundles = await outcome.ask("select bundle from driftlock.evidence where anomaly_id = any ($1)", list(old))
    assert bundles
    assert set(evidence(tmp_path, [row[0] for row in bundles])) == {0}
