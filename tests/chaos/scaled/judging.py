"""What a site of many processes has to show at its end: nothing lost, nothing twice, and what one worker finds alone."""

import re
import time
from collections import Counter

from driftlock.engine import records
from tests.chaos.cluster import query
from tests.chaos.refold import ledger_differences, stored
from tests.chaos.scaled.faults import stop
from tests.chaos.scaled.site import COPY, ScaledSite, ends, named
from tests.chaos.scenarios.report import Report
from tests.chaos.workload import ENOUGH_RECORDS, IDS
from tests.conftest import Urls
from tests.e2e.harness import wait_for

SETTLE_S, POLL_S, SAMPLES = 180.0, 0.1, 5
ROWS = "select shard, seq, kind, body from driftlock.journal order by shard, seq"
BEHIND = """
select count(*) as shards from driftlock.journal_shard s join driftlock.journal_position p using (shard)
 where s.next_seq - 1 > p.applied_seq
"""
LAST = "select shard, next_seq - 1 as last from driftlock.journal_shard"


def conclude(site: ScaledSite, report: Report) -> None:
    """Let all be scored, end it, and compare."""
    wait_for("enough to be sent", lambda: min(it.acked for it in site.feeders) >= ENOUGH_RECORDS, SETTLE_S)
    for sending in (*site.feeders, site.asker):
        sending.stop()
    _settle(site, site.urls)
    for worker in site.workers:
        stop(worker)
    counts = _ids(site.urls.owner)
    acked = {f"c{it.customer.number}": it.acked for it in site.feeders}
    sent = {f"{name}-{number}" for name, last in acked.items() for number in range(1, last + 1)}
    lost, twice = sent - set(counts), [name for name, times in counts.items() if times > 1]
    gaps = _gaps(site.urls.owner)
    report.figures["end"] = f"LOST={len(lost)} DUP={len(twice)} GAPS={len(gaps)} of {len(sent)} records acknowledged"
    report.require(not (lost or twice or gaps), f"{sorted(lost)[:SAMPLES]} {twice[:SAMPLES]} {gaps[:SAMPLES]}")
    report.require(set(counts) <= sent, f"{len(set(counts) - sent)} records that nobody was told of")
    ledger = ledger_differences(site.urls.owner)
    report.require(not ledger, f"the ledger does not add up: {ledger}")
    _compare(site, report)
    report.require(not site.asker.wrong, f"answers of the api process: {site.asker.wrong[:SAMPLES]}")
    report.figures["answers of the api process"] = _told(site.asker.statuses)
    report.figures["answers of the gateway"] = _told(sum((it.statuses for it in site.feeders), Counter[str]()))


def _compare(site: ScaledSite, report: Report) -> None:
    """With one worker that reads the same topic into the database as it was at first."""
    found = stored(site.urls.owner, site.urls.app)
    alone = Urls(named(site.urls.owner, COPY), named(site.urls.app, COPY))
    worker = site.worker(alone)
    worker.environment["DRIFTLOCK_KAFKA_GROUP"] = COPY
    worker.start(wait=False)
    _settle(site, alone)
    stop(worker)
    different = found.differences(stored(alone.owner, alone.app))
    report.figures["findings"] = f"{len(found.findings)}, incidents {len(found.incidents)}, different {len(different)}"
    report.require(not different, f"{len(different)} differ from what one worker finds: {different[:SAMPLES]}")
    report.require(bool(found.findings) and bool(found.incidents), "nothing was found: nothing was compared")


def _settle(site: ScaledSite, urls: Urls) -> None:
    """Return when all of the topic is journaled and scored."""
    wanted = {partition: offset for partition, offset in ends(site.broker).items() if offset}
    until_s = time.monotonic() + SETTLE_S
    while True:
        rows = query(urls.owner, "select partition, next_offset from driftlock.source_position")
        read = {row["partition"]: row["next_offset"] for row in rows}
        behind = query(urls.owner, BEHIND)[0]["shards"]
        if read == wanted and not behind:
            return
        assert time.monotonic() < until_s, f"not all is scored after {SETTLE_S} s: {read} of {wanted}, {behind} shards behind"
        time.sleep(POLL_S)


def _ids(dsn: str) -> Counter[str]:
    """How often each record is in the journal."""
    found: Counter[str] = Counter()
    for row in query(dsn, ROWS):
        if row["kind"] == 0:
            found.update(it.decode() for it in re.findall(IDS, bytes(records.decode(row["body"]).text)))
    return found


def _gaps(dsn: str) -> list[str]:
    """Positions of a shard that no row has, offsets that were not read, and messages that were set aside."""
    seen: dict[int, int] = {}
    gaps = []
    for row in query(dsn, ROWS):
        if row["seq"] != seen.get(row["shard"], 0) + 1:
            gaps.append(f"shard {row['shard']} has nothing before {row['seq']}")
        seen[row["shard"]] = row["seq"]
    last = {row["shard"]: row["last"] for row in query(dsn, LAST)}
    gaps += [
        f"shard {shard} ends at {seen.get(shard, 0)}, not at {end}" for shard, end in last.items() if seen.get(shard, 0) != end
    ]
    gaps += [f"{row['partition']}: {row['reason']}" for row in query(dsn, "select partition, reason from driftlock.source_gap")]
    return gaps + [
        f"{row['offset']}: {row['reason']}" for row in query(dsn, 'select "offset", reason from driftlock.dead_letters')
    ]


def _told(statuses: Counter[str]) -> str:
    return ", ".join(f"{status} {count}" for status, count in statuses.most_common())
