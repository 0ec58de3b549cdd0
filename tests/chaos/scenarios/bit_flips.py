"""A bit flips on disk, in a row of the journal or in a checkpoint: that alone is lost and told, everything else goes on."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import asyncpg

from tests.chaos.cluster import blocking
from tests.chaos.scenarios.ending import RECORDS, conclude, conclude_without_findings
from tests.chaos.scenarios.large import Large
from tests.chaos.scenarios.report import Report
from tests.chaos.scene import Site, open_site

BACKLOG_S = 1.5
"""How long rows are journaled and not applied. Less than the statement timeout of the applier."""
WAIT_S = 60.0
SERVICES = 3
HOLD = "lock table driftlock.journal_position in exclusive mode"
BACKLOG = """
select j.seq, j.stream_id, j.records from driftlock.journal j join driftlock.journal_position p using (shard)
 where j.seq > p.applied_seq and j.kind = 0 order by j.seq
"""
FLIP_ROW = """
update driftlock.journal
   set body = set_byte(body, octet_length(body) / 2, get_byte(body, octet_length(body) / 2) # 16) where seq = $1
"""
APPLIED = "select applied_seq from driftlock.journal_position"
QUARANTINE = "select seq, stream_id, records, reason from driftlock.journal_quarantine"
EVENTS = "select stream_id, kind, reason from driftlock.stream_events where kind = $1"
SCORED = """
select s.service, coalesce(t.events, 0) as scored, j.journaled from driftlock.streams s
  join (select stream_id, sum(records)::bigint as journaled from driftlock.journal where kind = 0 group by 1) j
    on j.stream_id = s.id
  left join driftlock.stream_status t on t.stream_id = s.id
"""
CHECKPOINTS = """
select c.stream_id, max(c.seq) as newest, count(*) as kept from driftlock.stream_checkpoints c
  join driftlock.streams s on s.id = c.stream_id where s.service like 'chaos-%' group by 1 order by 1
"""
FLIP_STATE = """
update driftlock.stream_checkpoints
   set state = set_byte(state, octet_length(state) / 2, get_byte(state, octet_length(state) / 2) # 16)
 where stream_id = $1 and seq >= $2
"""


def damaged_row(folder: Path) -> Report:
    """A byte of a row that waits to be applied."""
    report = Report("bit flip in the journal")
    with open_site(folder, records=RECORDS) as site:
        site.clients.wait_for_acks(100)
        rows = _stopped_behind(site)
        report.require(len(rows) > 2, f"only {len(rows)} rows wait to be applied: this has tested nothing")
        if report.violations:
            return report
        seq, stream_id, records = rows[len(rows) // 2]
        _until("the tail to have read every row while it is whole", lambda: site.tail.last_seq >= rows[-1][0])
        site.cluster.query(FLIP_ROW, seq)
        site.node.start()
        _until("the damaged row to be passed", lambda: site.cluster.query(APPLIED)[0][0] >= seq)
        counted = site.node.metric("driftlock_quarantined_rows_total")
        report.figures["quarantined rows in /metrics"] = counted
        report.require(counted == 1, f"/metrics counts {counted} quarantined rows, not 1")
        site.node.kill()  # once more from the last checkpoint: it is told once all the same
        site.node.start()
        site.clients.wait_for_acks(100)
        conclude_without_findings(site, report)
        kept = [(row["seq"], row["stream_id"], row["records"]) for row in site.cluster.query(QUARANTINE)]
        told = [row["stream_id"] for row in site.cluster.query(EVENTS, "records_lost")]
        report.figures |= {"rows behind": len(rows), "quarantine": str([row[::2] for row in kept]), "events": len(told)}
        report.require(kept == [(seq, stream_id, records)], f"in quarantine is {kept}, not only {(seq, stream_id, records)}")
        report.require(told == [stream_id], f"{len(told)} stream events tell of it, of streams {told}")
        missing = sum(row["journaled"] - row["scored"] for row in site.cluster.query(SCORED))
        report.require(missing == records, f"{missing} records are not scored: the damaged row held {records}")
        return report


def damaged_checkpoint(folder: Path, *, both: bool) -> Report:
    """A byte of a stream's newest checkpoint, or (`both`) of all that it has."""
    report = Report(f"bit flip in {'both checkpoints' if both else 'the newest checkpoint'}")
    with open_site(folder, clients=SERVICES, services=SERVICES, records=RECORDS) as site:
        victim, newest = _with_checkpoints(site)
        site.node.kill()
        site.cluster.query(FLIP_STATE, victim, 0 if both else newest)
        site.node.start()
        site.clients.wait_for_acks(100)
        if both:
            conclude_without_findings(site, report)
        else:
            conclude(site, report)
        lost = [row["stream_id"] for row in site.cluster.query(EVENTS, "state_lost")]
        report.figures |= {"streams": SERVICES, "events that tell of lost state": len(lost)}
        wanted = [victim] if both else []
        report.require(lost == wanted, f"lost state is told of {lost}, not of {wanted}: {site.node.tail(800)}")
        return report


def damaged_both_checkpoints(folder: Path) -> Report:
    """A byte of each checkpoint that a stream has."""
    return damaged_checkpoint(folder, both=True)


def damaged_newest_checkpoint(folder: Path) -> Report:
    """A byte of the newest checkpoint of a stream."""
    return damaged_checkpoint(folder, both=False)


def _stopped_behind(site: Site) -> list[tuple[int, UUID, int]]:
    """Kill the server while rows are journaled and not applied; those rows: position, stream, records."""

    async def work() -> None:
        connection = await asyncpg.connect(site.cluster.owner_dsn)
        try:
            async with connection.transaction():
                await connection.execute(HOLD)
                await asyncio.sleep(BACKLOG_S)
                site.node.kill()
        finally:
            await connection.close()

    blocking(work)
    return [(row["seq"], row["stream_id"], row["records"]) for row in site.cluster.query(BACKLOG)]


def _with_checkpoints(site: Site) -> tuple[UUID, int]:
    """A stream, once all have two checkpoints, and the position of its newest. A megabyte brings one, so they get some."""
    senders = [
        Large(f"pad{number}", site, message_bytes=120_000, record_bytes=60_000, service=f"chaos-{number}")
        for number in range(SERVICES)
    ]
    for sender in senders:
        sender.start()

    def ready() -> bool:
        rows = site.cluster.query(CHECKPOINTS)
        return len(rows) == SERVICES and all(row["kept"] >= 2 for row in rows)

    _until("two checkpoints of each stream", ready)
    for sender in senders:
        sender.stop()
    for sender in senders:
        assert sender.join(), f"{sender.name} was not acknowledged: {dict(sender.statuses)}"
    site.clients.acked |= {sender.name: sender.acked for sender in senders}
    row = site.cluster.query(CHECKPOINTS)[0]
    return row["stream_id"], row["newest"]


def _until(what: str, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, f"waited {WAIT_S} s for {what}"
        time.sleep(0.05)
