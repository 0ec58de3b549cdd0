"""Each role alone, with the environment that deploy/ gives it: real processes, a real PostgreSQL and a real broker.

Only what a machine of tests does not have is replaced: hosts, ports, SASL, and a group's session, which is shorter here. The
working folder can not be written to, and there is no home.
"""

import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.conftest import Cluster, Urls
from tests.deploy.manifests import Container, containers, image, metrics
from tests.e2e.harness import ANSWER_S, COMMAND, ROOT, STOP_S, free_port, wait_for
from tests.kafka.broker import Broker

pytestmark = pytest.mark.e2e
UNWRITABLE = "/proc"  # to root too
PARTITIONS = 16
SYSTEM = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
SINGLE = {"driftlock_journal_lag_seconds", "driftlock_archive_failing", "driftlock_archive_waiting_bytes"}
"""What only a server has: its journal's own lag, and the archive of the embedded database."""
LISTENERS = ("DRIFTLOCK_OTLP_GRPC_ADDR", "DRIFTLOCK_OTLP_HTTP_ADDR", "DRIFTLOCK_HTTP_ADDR", "PORT")


@dataclass
class Site:
    """A migrated database, and a broker with the topic."""

    urls: Urls
    broker: Broker
    home: Path


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def site(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    home = tmp_path_factory.mktemp("deploy")
    urls = await cluster.create()
    with Broker(home) as broker:
        broker.create_topic("driftlock.records", PARTITIONS)
        yield Site(urls, broker, home)
    await cluster.drop(urls)


def local(it: Container, site: Site) -> tuple[dict[str, str], dict[int, int]]:
    """The environment of the image and the manifest on this machine, and the ports here by those there."""
    given = {**image(), **it.environment}
    for name in list(given):
        if name.startswith(("DRIFTLOCK_KAFKA_SASL", "DRIFTLOCK_KAFKA_SECURITY")):
            del given[name]
    given["DATABASE_URL"] = site.urls.app
    if "DRIFTLOCK_MIGRATE_DATABASE_URL" in given:
        given["DRIFTLOCK_MIGRATE_DATABASE_URL"] = site.urls.owner
    if "DRIFTLOCK_KAFKA_BOOTSTRAP_SERVERS" in given:
        given |= {"DRIFTLOCK_KAFKA_BOOTSTRAP_SERVERS": site.broker.address, "DRIFTLOCK_KAFKA_SESSION_SECONDS": "10"}
    given["DRIFTLOCK_DATA_DIR"] = f"{UNWRITABLE}/data"
    ports = {port: free_port() for port in (4317, 4318, 8080)}
    for name in LISTENERS:
        if name in given:
            given[name] = re.sub(r"\d{4}$", lambda found: str(ports[int(found[0])]), given[name])
    return {**given, **SYSTEM}, ports


@contextmanager
def running(it: Container, site: Site) -> Iterator[tuple["subprocess.Popen[bytes]", dict[int, int]]]:
    """The role, ready, and its ports."""
    environment, ports = local(it, site)
    output = site.home / f"{it.name}.out"
    with output.open("wb") as written:
        process = subprocess.Popen([*COMMAND, *it.args], env=environment, cwd=UNWRITABLE, stdout=written, stderr=written)

    def ready() -> bool:
        assert process.poll() is None, output.read_text()
        return answer(ports, 8080, "/readyz") == 200

    try:
        wait_for(f"{it.name} to be ready", ready)
        yield process, ports
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def answer(ports: dict[int, int], port: int, path: str) -> int:
    """Its status; 0 while there is none."""
    try:
        return httpx.get(f"http://127.0.0.1:{ports[port]}{path}", timeout=ANSWER_S).status_code
    except httpx.HTTPError:
        return 0


def served(ports: dict[int, int]) -> set[str]:
    """The names of its metrics."""
    text = httpx.get(f"http://127.0.0.1:{ports[8080]}/metrics", timeout=ANSWER_S).text
    found = re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE)
    parts = {f"{name}_{part}" for name, kind in found if kind == "histogram" for part in ("bucket", "count", "sum")}
    return parts | {name for name, _ in found}


@pytest.mark.parametrize("way", [pytest.param("compose", marks=pytest.mark.chaos), "kubernetes", "cloud-run"])
def test_each_role_alone_becomes_ready_answers_its_probes_and_stops(way: str, site: Site) -> None:
    """The job of the migration first. What alerts, panels and the autoscaler ask for is served by one of them."""
    roles = {it.role: it for it in containers() if it.name.startswith(way)}
    migration = roles.pop("migrate")
    environment, _ = local(migration, site)
    command = [*COMMAND, *migration.args]
    ran = subprocess.run(command, env=environment, cwd=UNWRITABLE, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    found = set(SINGLE)
    for it in roles.values():
        with running(it, site) as (process, ports):
            for probe in (*it.probes, (8080, "/livez")):
                wait_for(f"{it.name} to answer {probe}", lambda probe=probe: answer(ports, *probe) == 200)  # type: ignore[misc]
            found |= served(ports)
            process.send_signal(signal.SIGTERM)
            assert process.wait(STOP_S) == 0
    assert {who: names - found for who, names in metrics().items() if names - found} == {}
