"""A tenant whose streams lie in several partitions: its incidents are those of one that lies in one."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from driftlock.engine.ports import StreamBatch, Submission
from tests.conftest import Urls
from tests.e2e.harness import wait_for
from tests.kafka.broker import broker
from tests.kafka.workers import BATCH, PARTITIONS, Outcome, Sender, Site, site, submissions, template, tenant

__all__ = ["broker", "site", "template"]
pytestmark = pytest.mark.e2e
SERVICES = [f"shop-{number}" for number in range(6)]
LINES, ODD = 2600, 2000
INCIDENTS = """
select i.title, i.start_ns, i.end_ns, i.findings, i.state, i.alerted_ns,
       (select array_agg(s.slug || a.window_no || a.question order by s.slug, a.window_no, a.question)
          from driftlock.anomalies a join driftlock.streams s on s.id = a.stream_id where a.incident_id = i.id)
  from driftlock.incidents i order by i.start_ns, i.title
"""
LEFT = "select count(*) from driftlock.derived"
SHARDS = "select count(distinct shard) from driftlock.streams"


def traced(of: Submission) -> Submission:
    """Its records as parts of traces that all services share: what is found in them belongs together."""
    (part,) = of.batches
    traces = b"".join((time_ns // 10**12).to_bytes(16, "big") for time_ns in part.batch.times_ns)
    spans = bytes(8 * len(part.batch))
    return replace(of, batches=(StreamBatch(part.key, replace(part.batch, trace_ids=traces, span_ids=spans)),))


async def feed(urls: Urls) -> Sequence[Submission]:
    of = await tenant(urls, 1)
    made = [submissions(of, service, LINES, ODD, seed) for seed, service in enumerate(SERVICES)]
    return [traced(it) for together in zip(*made, strict=True) for it in together]


async def outcome_of(urls: Urls) -> tuple[list[Any], list[Any]]:
    outcome = Outcome(urls)
    await outcome.until("all is scored", scored=len(SERVICES) * LINES, behind=0)
    while await outcome.ask(LEFT) != [(0,)]:
        await outcome.until("what was told is folded", behind=0)
    await outcome.until("all is folded", behind=0)
    return await outcome.findings(), await outcome.ask(INCIDENTS)


async def test_incidents_over_partitions_are_those_of_one(site: Site) -> None:
    urls, topic = await site.database(), site.topic(PARTITIONS)
    these = await feed(urls)
    site.worker(urls, topic, PARTITIONS).start(wait=False)
    Sender(site.broker, topic, PARTITIONS).all(these)
    findings, incidents = await outcome_of(urls)
    assert any(len(row[-1]) > 1 for row in incidents), "nothing belongs together"

    urls, topic = await site.database(), site.topic(PARTITIONS)
    these = await feed(urls)
    killed, heir = (site.worker(urls, topic, PARTITIONS, DRIFTLOCK_KAFKA_TENANT_SPREAD="4") for _ in range(2))
    killed.start(wait=False)
    wait_for("it to have partitions", lambda: killed.partitions() == PARTITIONS)
    heir.start(wait=False)
    wait_for("both to have partitions", lambda: (killed.partitions(), heir.partitions()) == (2, 2))
    sender, half = Sender(site.broker, topic, PARTITIONS, spread=4), len(these) * 4 // 5
    sender.all(these[:half])
    await Outcome(urls).until("most is scored", scored=half * BATCH, behind=0)
    killed.kill()
    sender.all(these[half:])
    spread = await outcome_of(urls)
    assert (await Outcome(urls).ask(SHARDS))[0][0] > 1
    assert spread == (findings, incidents)


async def test_another_spread_is_refused(site: Site) -> None:
    urls, topic = await site.database(), site.topic(PARTITIONS)
    first = site.worker(urls, topic, PARTITIONS, DRIFTLOCK_KAFKA_TENANT_SPREAD="2")
    first.start()
    other = site.worker(urls, topic, PARTITIONS).run("worker")
    assert other.returncode == 1
    assert "DRIFTLOCK_KAFKA_TENANT_SPREAD=2" in other.stderr
