"""What each stage of a worker costs, one after the other in this process, so that CPU can be told apart.

message -> decode -> journal transaction -> read back -> fold -> commit of a step
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.kafka.load import Lines, Tenant, submissions
from bench.kafka.site import Rows, Site
from collector.kafka.message import KafkaMessage, decode, encode
from driftlock.engine.dispatch import Dispatcher
from driftlock.engine.limits import DispatchLimits, Limits
from driftlock.engine.ports import JournalRow, Step
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.journal_limits import JournalLimits
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.pool import Database, Lane
from driftlock.storage.shard import Shard
from driftlock.storage.sourced import SourceBatch, SourcedJournal, SourceMessage
from server.ownership import STEP_PAUSE_S
from server.shard_owner import GROUP_BYTES_MAX, GROUP_MESSAGES_MAX

SHARD = 1
SEED = 7


@dataclass
class Meter:
    """CPU seconds by stage: of this process, and of PostgreSQL."""

    postgres: Callable[[], list[int]]
    ours_s: dict[str, float] = field(default_factory=dict)
    database_s: dict[str, float] = field(default_factory=dict)

    def now(self) -> tuple[float, float]:
        """Both so far."""
        return time.process_time(), sum(map(ran_s, self.postgres()))

    def add(self, stage: str, since: tuple[float, float]) -> None:
        """What was used since then was for this stage."""
        ours_s, database_s = self.now()
        self.ours_s[stage] = self.ours_s.get(stage, 0.0) + ours_s - since[0]
        self.database_s[stage] = self.database_s.get(stage, 0.0) + database_s - since[1]


def ran_s(pid: int) -> float:
    """CPU seconds of a process with one thread, to the nanosecond; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except OSError:
        return 0.0


@dataclass
class _Reader:
    """Rows of a journal, metered."""

    rows: JournalRows
    meter: Meter

    async def read(self, after_seq: int, bytes_max: int) -> Sequence[JournalRow]:
        """See `JournalReader`."""
        since = self.meter.now()
        found = await self.rows.read(after_seq, bytes_max)
        self.meter.add("read back", since)
        return found


@dataclass
class _Committer:
    """Steps, metered."""

    checkpoints: Checkpoints
    meter: Meter
    steps: int = 0

    async def commit(self, step: Step) -> None:
        """See `StepCommitter`."""
        since = self.meter.now()
        await self.checkpoints.commit(step)
        self.steps += 1
        self.meter.add("commit of a step", since)


async def rows(site: Site, records: int, sizes: Sequence[int]) -> Rows:
    """By the size of requests."""
    found: Rows = []
    for size in sizes:
        for at_hand in (True, False):
            found += await _of_size(site, records // (1 if size >= 100 else 10), size, at_hand=at_hand)
    return found


async def _of_size(site: Site, records: int, size: int, *, at_hand: bool) -> Rows:
    """One shard. `at_hand`: batches are kept in memory from the journal to the fold; else all are read back."""
    urls, meter = await site.database(), Meter(site.postgres)
    made = list(_of_first_partition(records, size))
    limits = JournalLimits(journal_bytes_max=8 * 1024**3, recent_bytes_max=4 * 1024**3 if at_hand else 0)
    async with Database(urls.app) as database:
        shard = Shard(database, SHARD)
        await shard.acquire()
        journal = SourcedJournal(database, shard, node="bench", on_commit=lambda _: None, limits=limits)
        since = meter.now()
        read = [
            SourceMessage(offset, decode(it.value, it.headers), it.value, it.key, it.headers) for offset, it in enumerate(made)
        ]
        meter.add("decode", since)
        groups = list(_groups(read))
        await journal.append_from(groups[0])  # the streams are made
        last_seq = 0
        since = meter.now()
        for group in groups[1:]:
            receipts = await journal.append_from(group)
            last_seq = max(receipt.seq for receipt in receipts if receipt is not None)
        meter.add("journal", since)
        steps = await _fold(database, shard, journal, last_seq, meter)
    await site.cluster.drop(urls)
    total = len(read) * size
    return [
        {
            "records a request": size,
            "rows": "at hand" if at_hand else "read back",
            "stage": stage,
            "ours us a record": 1e6 * meter.ours_s[stage] / total,
            "ours us a message": 1e6 * meter.ours_s[stage] / len(read),
            "database us a record": 1e6 * meter.database_s[stage] / total,
            "database us a message": 1e6 * meter.database_s[stage] / len(read),
            "times": {"decode": len(read), "journal": len(groups) - 1}.get(stage, steps),
        }
        for stage in ("decode", "journal", "read back", "fold", "commit of a step")
    ]


async def _fold(database: Database, shard: Shard, journal: SourcedJournal, last_seq: int, meter: Meter) -> int:
    """Let the shard be scored up to a position; how many steps that took."""
    applying = database.reserved(Lane.APPLY)
    checkpoints = Checkpoints(applying, shard)
    committer = _Committer(checkpoints, meter)
    dispatcher = Dispatcher(
        reader=_Reader(JournalRows(applying, SHARD, recent=journal.recent, owner=shard), meter),
        states=checkpoints,
        committer=committer,
        clock_journal=journal,
        recovery_seq=0,
        applied_seq=0,
        tenant_ids=(),
        now_ns=time.time_ns,
        seed=SEED,
        limits=Limits(),
        dispatch_limits=DispatchLimits(threads=1, step_pause_s=STEP_PAUSE_S),
        on_step=lambda _: None,
        on_fault=print,
    )
    since = meter.now()
    async with dispatcher:
        await dispatcher.scored(last_seq)
        meter.add("fold", since)
        for stage in ("read back", "commit of a step"):
            meter.ours_s["fold"] -= meter.ours_s[stage]
            meter.database_s["fold"] -= meter.database_s[stage]
        return committer.steps


def _of_first_partition(records: int, size: int) -> Iterator[KafkaMessage]:
    def lies_there(of: Tenant) -> bool:
        return of.partition + 1 == SHARD

    for tenant, it in submissions(records, Lines(size), only=lies_there):
        del tenant
        yield from encode(it)


def _groups(read: Sequence[SourceMessage]) -> Iterator[SourceBatch]:
    """As a worker makes them when a lot waits; the first has a message of each stream."""
    start, first = 0, True
    while start < len(read):
        stop, size = start, 0
        while stop < len(read) and stop - start < (50 if first else GROUP_MESSAGES_MAX) and size < GROUP_BYTES_MAX:
            size += len(read[stop].value)
            stop += 1
        yield SourceBatch("bench", 0, start, stop, read[start:stop])
        start, first = stop, False
