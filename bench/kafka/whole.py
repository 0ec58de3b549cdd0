"""Workers end to end: a topic that is full, and how long until every record of it is journaled and scored."""

import asyncio
import os
import signal
import time
from collections.abc import Collection, Sequence

from bench.kafka.load import PARTITIONS, Lines, fill, messages
from bench.kafka.site import Rows, Site, looking
from collector.kafka.message import KafkaMessage
from tests.e2e.harness import wait_for

SESSION_S = 10
SHARED_S = 60.0


async def rows(site: Site, records: int, size: int) -> Rows:
    """One worker and two, on processors of their own and on all of them; what they found must be the same."""
    cores = sorted(os.sched_getaffinity(0))
    first, last = cores[:1], cores[-1:]
    made = messages(records, Lines(size))
    plans: list[tuple[str, list[Collection[int]], Collection[int]]] = [
        ("1 worker on a core, the rest on another", [first], last),
        ("1 worker, all on 2 cores", [cores[:2]], cores[:2]),
        ("2 workers on a core each, the rest on both", [first, last], cores[:2]),
    ]
    found: Rows = []
    known: list[tuple[object, ...]] | None = None
    for name, workers, rest in plans:
        row, findings = await _run(site, name, workers, rest, made, size)
        if known is not None and findings != known:
            raise RuntimeError(f"{name}: {len(findings)} findings are not the {len(known)} of the plan before")
        if not findings:
            raise RuntimeError(f"{name}: nothing was found, so nothing was compared")
        known = findings
        found.append(row)
    site.pin(cores)
    return found


async def _run(
    site: Site,
    name: str,
    workers: Sequence[Collection[int]],
    rest: Collection[int],
    made: Sequence[tuple[int, KafkaMessage]],
    size: int,
) -> tuple[dict[str, object], list[tuple[object, ...]]]:
    urls, topic = await site.database(), site.topic()
    async with looking(urls) as looker:
        for cores in workers:
            site.worker(urls, topic, cores, DRIFTLOCK_KAFKA_SESSION_SECONDS=str(SESSION_S))
        share = PARTITIONS // len(workers)
        await asyncio.to_thread(wait_for, "partitions", lambda: all(it.partitions() == share for it in site.workers), SHARED_S)
        # They are stopped while the topic is filled, for less than a session: then all of them begin at once.
        for worker in site.workers:
            worker.freeze()
        site.pin(sorted(os.sched_getaffinity(0)))
        await asyncio.to_thread(fill, site.broker.address, topic, made)
        site.pin(rest)
        began_s, used = time.monotonic(), site.used()
        for worker in site.workers:
            worker.signal(signal.SIGCONT)
        await looker.done(site.workers, len(made))
        took_s, used = time.monotonic() - began_s, site.used().since(used)
        records = len(made) * size
        findings = await looker.findings()
        if (scored := await looker.scored()) != len(made) * size:
            raise RuntimeError(f"{name}: {scored} records were scored")
    metrics = [worker.metrics() for worker in site.workers]
    site.stop_workers()
    await site.cluster.drop(urls)
    each = [sum(value for key, value in it.items() if key.startswith("driftlock_worker_records_total")) for it in metrics]
    row: dict[str, object] = {
        "plan": name,
        "records": records,
        "records/s": round(records / took_s),
        "worker us": 1e6 * used.workers_s / records,
        "database us": 1e6 * used.database_s / records,
        "broker us": 1e6 * used.broker_s / records,
        "all us": 1e6 * used.all_s / records,
        "by CPU, 2 cores": round(2 * records / used.all_s),
        "worker share": used.workers_s / used.all_s,
        "busiest worker": max(each) / sum(each),
        "cores used": used.all_s / took_s,
        "findings": len(findings),
        "Kafka bytes": sum(it.size_bytes for _, it in made) / records,
    }
    return row, findings
