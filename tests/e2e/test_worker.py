"""`driftlock worker`: real processes, a real broker, a real database."""

import asyncio
import signal
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from driftlock.storage.pool import Database
from driftlock.storage.shared_journal import SharedJournal
from tests.collector.otlp_requests import log, logs
from tests.conftest import Urls
from tests.e2e.harness import COMMAND, START_S, Server, shop_log, stormy, wait_for
from tests.kafka.broker import broker
from tests.kafka.workers import (
    BATCH,
    FIRST_NS,
    LINES,
    ODD,
    PARTITIONS,
    PATIENT,
    Outcome,
    Sender,
    Site,
    WorkerProcess,
    feed,
    records,
    reference,
    site,
    submissions,
    template,
    tenant,
    tenant_id,
)
from tests.storage.proxy import Proxy

__all__ = ["broker", "reference", "site", "template"]
pytestmark = pytest.mark.e2e
ALL = PARTITIONS * LINES


async def test_two_workers_find_what_one_finds(site: Site, reference: list[Any]) -> None:
    urls, topic = await site.database(), site.topic(PARTITIONS)
    await pair(site, urls, topic)
    await feed(urls, Sender(site.broker, topic, PARTITIONS))
    outcome = Outcome(urls)
    found = await outcome.until("all is scored", scored=ALL, behind=0)
    assert (found["journaled"], found["metered"], found["dead"]) == (ALL, ALL, 0)
    assert await outcome.findings() == reference


async def test_what_a_killed_worker_had_goes_on_elsewhere_and_nothing_is_lost_or_twice(
    site: Site, reference: list[Any]
) -> None:
    urls, topic = await site.database(), site.topic(PARTITIONS)
    killed, left = await pair(site, urls, topic)
    outcome, sender, these = Outcome(urls), Sender(site.broker, topic, PARTITIONS), await records(urls)
    third = len(these) // 3
    sender.all(these[:third])
    await outcome.until("the beginning is scored", behind=0, scored=third * BATCH)
    sender.all(these[third : 2 * third])
    killed.kill()
    sender.all(these[2 * third :])
    found = await outcome.until("all is scored", scored=ALL, behind=0)
    wait_for("all partitions to be with the one that is left", lambda: left.partitions() == PARTITIONS)
    assert (found["journaled"], found["metered"], found["dead"]) == (ALL, ALL, 0)
    assert await outcome.findings() == reference


async def test_a_worker_that_was_frozen_beyond_its_session_changes_nothing_any_more(site: Site, reference: list[Any]) -> None:
    urls, topic = await site.database(), site.topic(PARTITIONS)
    frozen, heir = (site.worker(urls, topic, PARTITIONS) for _ in range(2))
    frozen.start(wait=False)
    wait_for("it to have partitions", lambda: frozen.partitions() == PARTITIONS)
    outcome = Outcome(urls)
    async with outcome.held("select from driftlock.journal_position for update"):
        await feed(urls, Sender(site.broker, topic, PARTITIONS))
        await outcome.until("steps to be under way", journaled=ALL, waiting=PARTITIONS)
        frozen.freeze()
    heir.start(wait=False)
    await outcome.until("the heir has scored all", scored=ALL, behind=0)
    frozen.signal(signal.SIGCONT)
    wait_for("its steps to be refused", lambda: frozen.metrics().get("driftlock_worker_fenced_total", 0) == PARTITIONS)
    wait_for("both to have partitions", lambda: [worker.partitions() for worker in (frozen, heir)] == [2, 2])
    found = await outcome.counts()
    assert (found["scored"], found["journaled"], found["metered"], found["behind"]) == (ALL, ALL, ALL, 0)
    assert await outcome.findings() == reference


async def test_messages_that_come_twice_are_journaled_once(site: Site) -> None:
    urls, topic = await site.database(), site.topic(1)
    sender, these = Sender(site.broker, topic, 1), submissions(await tenant(urls, 0), "twice", 1000)
    worker = site.worker(urls, topic, 1, **PATIENT)
    worker.start(wait=False)
    sender.all([*these, *these])
    found = await Outcome(urls).until("all is read", offsets=2 * len(these), behind=0)
    assert (found["journaled"], found["metered"], found["scored"], found["dead"]) == (1000, 1000, 1000, 0)
    twice = 'driftlock_worker_duplicate_messages_total{partition="0"}'
    wait_for("them to be counted", lambda: worker.metrics().get(twice) == len(these))


async def test_what_can_not_be_journaled_is_a_dead_letter_and_may_be_sent_again(site: Site) -> None:
    urls, topic = await site.database(), site.topic(1)
    sender, outcome = Sender(site.broker, topic, 1), Outcome(urls)
    known = submissions(await tenant(urls, 0), "known", 500)
    elsewhere = submissions(await tenant(urls, 1), "elsewhere", BATCH)
    await outcome.ask("update driftlock.tenants set shard = 0 where id = $1", tenant_id(1))
    sender.raw(0, b"not one of ours", [("dl-schema", b"1")])
    sender.all([*known[:2], *elsewhere, *known[2:]])
    worker = site.worker(urls, topic, 1)
    worker.start(wait=False)
    found = await outcome.until("all is read", offsets=len(known) + 2, behind=0)
    assert (found["journaled"], found["scored"], found["dead"]) == (500, 500, 2)
    newest, oldest = worker.run("dead-letters", "list").stdout.splitlines()
    assert f"{topic}/0@3 " in newest
    assert str(tenant_id(1)) in newest
    assert newest.endswith("[stays: its tenant belongs to shard 0, not to 1: see `driftlock tenant move`]")
    assert oldest.endswith("dl-tenant is missing [stays: it can not be read: dl-tenant is missing]")
    assert "stays: its tenant belongs to shard 0" in worker.run("dead-letters", "retry", "--all").stdout
    await outcome.ask("update driftlock.tenants set shard = null where id = $1", tenant_id(1))
    retried = worker.run("dead-letters", "retry", "--all")
    assert retried.returncode == 1
    assert [line.split(" ", 1)[1] for line in retried.stdout.splitlines()] == [
        "stays: it can not be read: dl-tenant is missing",
        "sent again",
    ]
    found = await outcome.until("what was sent again is scored", scored=500 + BATCH, behind=0)
    assert found["dead"] == 1


async def test_a_partition_of_which_too_much_can_not_be_read_is_paused_and_says_so(site: Site) -> None:
    urls, topic = await site.database(), site.topic(1)
    sender = Sender(site.broker, topic, 1)
    for _ in range(20):
        sender.raw(0, b"noise")
    sender.flush()
    worker = site.worker(urls, topic, 1, **PATIENT)  # who takes it over reads on
    worker.start(wait=False)
    wait_for("the alarm", lambda: worker.metrics().get("driftlock_worker_bad_partitions") == 1)
    sender.all(submissions(await tenant(urls, 0), "later", BATCH))
    assert "too many of its messages can not be read" in worker.output.read_text()
    paused = 'driftlock_worker_paused_partitions{limit="bad_messages"}'
    wait_for("the pause to be seen", lambda: worker.metrics().get(paused) == 1)
    found = await Outcome(urls).counts()
    assert (found["journaled"], found["dead"], found["offsets"]) == (0, 20, 20)


async def test_a_database_that_is_away_is_waited_for(site: Site) -> None:
    urls, topic = await site.database(), site.topic(1)
    sender, these = Sender(site.broker, topic, 1), submissions(await tenant(urls, 0), "waits", 1000)
    outcome = Outcome(urls)
    worker = site.worker(urls, topic, 1)
    worker.start(wait=False)
    sender.all(these[:5])
    await outcome.until("the beginning is scored", scored=500, behind=0)
    async with site.away(urls):
        sender.all(these[5:])
        wait_for("it to notice", lambda: "messages wait for the database" in worker.output.read_text())
    found = await outcome.until("all is scored", scored=1000, behind=0)
    assert (found["journaled"], found["metered"], found["dead"]) == (1000, 1000, 0)


async def test_commits_whose_answers_are_lost_happen_once(site: Site) -> None:
    urls, topic = await site.database(), site.topic(1)
    sender, these = Sender(site.broker, topic, 1), submissions(await tenant(urls, 0), "unsure", 600)
    outcome = Outcome(urls)
    async with Proxy(urls.app) as proxy:
        worker = site.worker(Urls(urls.owner, proxy.dsn), topic, 1)
        await asyncio.to_thread(worker.start)
        for number, it in enumerate(these, 1):
            proxy.lose_answer_to(b"COMMIT")
            sender.all([it])
            await outcome.until("it is scored", scored=number * BATCH, behind=0)
        found = await outcome.counts()
        worker.close()
    assert (found["journaled"], found["metered"], found["dead"], found["offsets"]) == (600, 600, 0, len(these))


async def test_control_records_of_other_processes_are_noticed(site: Site) -> None:
    urls, topic = await site.database(), site.topic(1)
    tenant_of = await tenant(urls, 0)
    worker = site.worker(urls, topic, 1, **PATIENT)
    worker.start()
    Sender(site.broker, topic, 1).all(submissions(tenant_of, "told", BATCH))
    outcome = Outcome(urls)
    before = await outcome.until("all is scored", scored=BATCH, behind=0)
    async with Database(urls.app) as database:
        assert await SharedJournal(database, journal_bytes_max=2**30).set_budget(tenant_of, 3)
    found = await outcome.until("the budget is in force", behind=0)
    assert found["position"] == before["position"] + 1


async def test_a_start_that_can_not_go_on_is_one_line_that_says_what_to_do(site: Site) -> None:
    urls, topic, other = await site.database(), site.topic(1), site.topic(1)
    await begin_in(site, urls, topic)
    for changed, told in (
        ({"DRIFTLOCK_KAFKA_BOOTSTRAP_SERVERS": ""}, "DRIFTLOCK_KAFKA_BOOTSTRAP_SERVERS is not set"),
        ({"DATABASE_URL": ""}, "DATABASE_URL is not set"),
        ({"DRIFTLOCK_KAFKA_TOPIC": "new", "DRIFTLOCK_KAFKA_PARTITIONS": "5"}, "run `driftlock migrate --shards 5`"),
        ({"DRIFTLOCK_KAFKA_PARTITIONS": "2"}, "has 1 partitions, not 2"),
        ({"DRIFTLOCK_KAFKA_TOPIC": other, "DRIFTLOCK_LOG_LEVEL": "error"}, f"set DRIFTLOCK_KAFKA_TOPIC={topic}"),
    ):
        refused = site.worker(urls, topic, 1, **changed).run("worker")
        assert refused.returncode == 1
        assert told in refused.stderr.splitlines()[-1]


async def begin_in(site: Site, urls: Urls, topic: str) -> None:
    """The database goes on in this topic."""
    Sender(site.broker, topic, 1).all(submissions(await tenant(urls, 0), "first", BATCH))
    worker = site.worker(urls, topic, 1)
    worker.start(wait=False)
    await Outcome(urls).until("it is scored", scored=BATCH, behind=0)
    assert worker.stop() == 0


async def test_sigterm_gives_partitions_back_at_once(site: Site) -> None:
    urls, topic = await site.database(), site.topic(PARTITIONS)
    patient = {"DRIFTLOCK_KAFKA_SESSION_SECONDS": "4"}
    leaving, staying = await pair(site, urls, topic, **patient)
    assert leaving.stop() == 0
    assert "stopped" in leaving.output.read_text().splitlines()[-1]
    wait_for("all partitions to be the other's", lambda: staying.partitions() == PARTITIONS)


async def pair(site: Site, urls: Urls, topic: str, **variables: str) -> tuple[WorkerProcess, WorkerProcess]:
    """Two workers with half of the partitions each."""
    first, second = (site.worker(urls, topic, PARTITIONS, **variables) for _ in range(2))
    for worker in (first, second):
        worker.start(wait=False)
    wait_for("both to have partitions", lambda: [worker.partitions() for worker in (first, second)] == [2, 2])
    return first, second


async def test_a_gateway_and_a_worker_find_what_a_server_finds(site: Site, tmp_path: Path) -> None:
    served, split, topic = await site.database(), await site.database(), site.topic(1)
    requests = [otlp(number) for number in range(LINES // BATCH)]
    found = []
    kafka = {
        "DRIFTLOCK_KAFKA_BOOTSTRAP_SERVERS": site.broker.address,
        "DRIFTLOCK_KAFKA_TOPIC": topic,
        "DRIFTLOCK_KAFKA_PARTITIONS": "1",
    }
    for urls, entrance, command in ((served, "serve", None), (split, "gateway", site.worker(split, topic, 1))):
        await tenant(urls, 0)
        server = Entrance(tmp_path / entrance, entrance, DATABASE_URL=urls.app, **kafka)
        try:
            server.start()
            if command is not None:
                command.start(wait=False)
            server.post(requests)
            counts = await Outcome(urls).until("all is scored", scored=LINES, behind=0)
        finally:
            server.close()
        assert (counts["journaled"], counts["metered"]) == (LINES, LINES)
        found.append(await Outcome(urls).findings())
    assert found[0]
    assert found[0] == found[1]


def otlp(number: int) -> bytes:
    """A request of OTLP: lines of a log in which something happens."""
    texts = stormy(shop_log(LINES, 10**9), ODD, ODD + 40)[number * BATCH : (number + 1) * BATCH]
    records = [log(text, FIRST_NS + 10**9 * (number * BATCH + at)) for at, text in enumerate(texts)]
    return logs(*records, resource={"service.name": "checkout", "driftlock.historical": True}).SerializeToString()


class Entrance(Server):
    """A server, or a gateway in its place; the tenant is `tenant-0`."""

    def __init__(self, data_dir: Path, command: str, **variables: str) -> None:
        super().__init__(data_dir, **variables)
        self._command = command

    def start(self) -> float:
        with self.output.open("ab") as output:
            self.process = subprocess.Popen([*COMMAND, self._command], env=self.environment, stdout=output, stderr=output)
        wait_for("it to be ready", self.ready)
        return 0.0

    def post(self, requests: Sequence[bytes], signal: str = "logs") -> None:
        """One after another, each acknowledged before the next; what is refused retryably is sent again."""
        key = self.run("key", "create", "--tenant", "tenant-0").stdout.strip()
        headers = {"X-Api-Key": key, "Content-Type": "application/x-protobuf"}
        with httpx.Client(headers=headers, timeout=START_S) as client:

            def acknowledged(body: bytes) -> bool:
                answer = client.post(f"http://127.0.0.1:{self.otlp_http_port}/v1/{signal}", content=body)
                assert answer.status_code in (200, 503), answer.text
                return answer.status_code == 200

            for body in requests:
                wait_for("it to be acknowledged", partial(acknowledged, body))
