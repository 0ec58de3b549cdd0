"""Dead letters whose cause is gone go to where their stream is, not to where they came from."""

import itertools

import pytest

from collector.kafka.message import encode
from tests.kafka.broker import broker
from tests.kafka.workers import PARTITIONS, Outcome, Sender, Site, site, submissions, template, tenant, tenant_id

__all__ = ["broker", "site", "template"]
pytestmark = pytest.mark.e2e


async def test_what_came_before_its_tenant_or_to_another_partition_is_sent_to_where_it_belongs(site: Site) -> None:
    urls, topic = await site.database(), site.topic(PARTITIONS)
    outcome, sender = Outcome(urls), Sender(site.broker, topic, PARTITIONS)
    worker = site.worker(urls, topic, PARTITIONS)
    await tenant(urls, 1)
    await tenant(urls, 3)
    await outcome.ask("update driftlock.tenants set shard = 0 where id = $1", tenant_id(1))
    await outcome.ask("update driftlock.tenants set shard = 4 where id = $1", tenant_id(3))
    sender.all([*submissions(tenant_id(1), "elsewhere", 100), *submissions(tenant_id(2), "early", 100)])
    for message in itertools.chain.from_iterable(map(encode, submissions(tenant_id(3), "astray", 100))):
        sender.put(message, 1)  # not the partition of its stream
    sender.flush()
    worker.start(wait=False)
    await outcome.until("all are dead", dead=3)
    assert worker.stop() == 0
    listed = worker.run("dead-letters", "list").stdout
    assert "[stays: its tenant belongs to shard 0, not to 2: see `driftlock tenant move`]" in listed
    assert "[it is not kept as it came: retry looks for it in Kafka]" in listed
    assert "stays: there is no tenant" in worker.run("dead-letters", "retry", "--all").stdout
    await tenant(urls, 2)
    await outcome.ask("update driftlock.tenants set shard = null where id = $1", tenant_id(1))
    retried = worker.run("dead-letters", "retry", "--all")
    assert retried.returncode == 0, retried.stdout
    worker.start(wait=False)
    found = await outcome.until("all is scored", scored=300, behind=0)
    assert (found["journaled"], found["dead"]) == (300, 0)
