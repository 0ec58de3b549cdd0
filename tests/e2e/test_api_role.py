"""`driftlock api`: any of several processes answers any request, beside a worker that scores."""

import itertools
import secrets
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from driftlock.accounts.keys import ALL_SCOPES, RANDOMNESS_BYTES, KeyKind, mint
from driftlock.storage.keys import Keys
from driftlock.storage.pool import Database
from tests.e2e.harness import COMMAND, environment, shop_log, stormy
from tests.kafka.broker import broker
from tests.kafka.workers import PARTITIONS, Site, WorkerProcess, site, template, tenant

__all__ = ["broker", "site", "template"]
pytestmark = pytest.mark.e2e


class ApiProcess(WorkerProcess):
    """`driftlock api`."""

    command = "api"


@dataclass
class Apis:
    """Two of them, each with a client, beside a worker."""

    clients: tuple[httpx.Client, httpx.Client]
    processes: tuple[ApiProcess, ApiProcess]


@contextmanager
def client(process: ApiProcess, key: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{process.port}", headers={"x-api-key": key}, timeout=30) as made:
        yield made


@pytest.fixture
async def apis(site: Site, tmp_path: Path) -> AsyncIterator[Apis]:
    urls, topic = await site.database(), site.topic(PARTITIONS)
    tenant_id = await tenant(urls, 2)
    minted = mint(KeyKind.TEST, secrets.token_bytes(RANDOMNESS_BYTES))
    async with Database(urls.app) as database:
        await Keys(database).insert(tenant_id, minted, kind=KeyKind.TEST, name="", scopes=ALL_SCOPES)
    site.worker(urls, topic, PARTITIONS).start()
    processes = tuple(ApiProcess(tmp_path / f"api-{n}.out", urls, site.broker, topic, PARTITIONS) for n in range(2))
    site.made.extend(processes)
    for process in processes:
        process.start()
    with ExitStack() as stack:
        first, second = (stack.enter_context(client(process, minted.text)) for process in processes)
        yield Apis((first, second), (processes[0], processes[1]))


def detected(client: httpx.Client, lines: list[str]) -> dict[str, Any]:
    answer = client.post("/v1/detect", json={"stream_id": "shop", "events": lines})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_any_process_answers_for_any_other(apis: Apis) -> None:
    first, second = apis.clients
    lines = stormy(shop_log(2800, 2800), 2600)
    found: list[dict[str, Any]] = []
    with first.stream("GET", "/v1/events/live") as feed:
        assert feed.status_code == 200
        for at in range(0, 2600, 200):  # turn by turn
            found += detected(apis.clients[at // 200 % 2], lines[at : at + 200])["anomalies"]
        found += detected(second, lines[2600:])["anomalies"]
        assert found, "a storm is new"
        told = "".join(itertools.takewhile(lambda line: found[-1]["id"] not in line, feed.iter_lines()))
        assert "event:" in told, "the feed of one has what another was asked"
    listed = first.get("/v1/anomalies", params={"limit": 200}).json()["anomalies"]
    assert {it["id"] for it in found} <= {it["id"] for it in listed}
    page = first.get("/v1/anomalies", params={"limit": 1}).json()
    assert (
        len(listed) == 1 or second.get("/v1/anomalies", params={"limit": 1, "cursor": page["next_cursor"]}).status_code == 200
    )
    # What is said at one holds at the other, and reaches the worker's fold.
    changed = first.patch("/v1/streams/shop/profile", json={"profile": "strict"})
    assert changed.status_code == 200, changed.text
    assert second.get("/v1/streams/shop/profile").json()["profile"] == changed.json()["profile"]
    assert detected(second, lines[:200])["metrics"]["profile"] == "strict"
    assert apis.processes[0].stop() == 0
    assert second.get("/v1/streams").status_code == 200


def test_the_embedded_database_can_not_be_shared(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "api"], env=environment(), capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )
    assert done.returncode == 1
    assert "DATABASE_URL is not set" in done.stderr
