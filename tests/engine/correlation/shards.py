"""The streams of one tenant over several shards, each with its journal and its tenant folds; the folds of streams are played.

The first shard is the tenant's home. A shard folds its rows step by step; what is not saved when it is killed is folded again.
"""

import random
from collections.abc import Iterable, Mapping
from typing import cast
from uuid import UUID

import pytest

from driftlock.engine.correlation.flag import Flag, Progress
from driftlock.engine.correlation.tenants import Correlated, Tenants
from driftlock.engine.fold import Summary
from driftlock.engine.folding import Emitted
from driftlock.engine.limits import DispatchLimits, Limits
from driftlock.engine.ports import FindingRow, IncidentRow, JournalRow, RowKind, Step
from driftlock.engine.records import encode_clock
from driftlock.engine.testing import MemoryJournal
from driftlock.engine.verdict import Finding
from tests.engine.correlation.shop import START_NS, TENANT, TEXTS, WINDOW_NS, flag
from tests.engine.streams import SECOND_NS


def finding_rows(flags: Iterable[Flag]) -> tuple[FindingRow, ...]:
    """Rows of which only the ids count."""
    return tuple(FindingRow(TENANT, it.stream_id, it.finding_id, cast(Finding, None), it.seq) for it in flags)


class Shard:
    """A journal, what the folds of its streams emit for each of its rows, and a tenant fold or a relay."""

    def __init__(self, home: MemoryJournal | None) -> None:
        self.journal = MemoryJournal()
        if home is not None:
            self.journal.homes[TENANT] = home
        self._emitted: dict[tuple[int, UUID], Emitted] = {}
        self._due_ns: dict[UUID, int] = {}
        self.tenants = self._started()

    def _started(self) -> Tenants:
        return Tenants(self.journal, limits=Limits(), bounds=DispatchLimits(), on_fault=pytest.fail)

    def says(self, stream_id: UUID, progress: Progress, flags: tuple[Flag, ...], summaries: tuple[Summary, ...]) -> None:
        """The next row is of this stream, whose fold emits this."""
        seq = len(self.journal.rows) + 1
        self.journal.rows.append(JournalRow(seq, RowKind.RECORDS, progress.received_ns, b"", TENANT, stream_id))
        self._emitted[seq, stream_id] = Emitted(stream_id, progress, finding_rows(flags), flags, summaries=summaries)
        self._due_ns[stream_id] = progress.due_ns

    def clock(self, seconds: int) -> None:
        """The next row is a clock record. Streams that are due answer that they are silent, once until they have a row."""
        seq, now_ns = len(self.journal.rows) + 1, START_NS + seconds * SECOND_NS
        self.journal.rows.append(JournalRow(seq, RowKind.CLOCK, now_ns, encode_clock(now_ns)))
        for stream_id, due_ns in sorted(self._due_ns.items()):
            if 0 < due_ns <= now_ns:
                silence = (flag(stream_id, seconds),)
                self._emitted[seq, stream_id] = Emitted(stream_id, Progress(0, 0, now_ns), finding_rows(silence), silence)
                self._due_ns[stream_id] = 0

    @property
    def behind(self) -> int:
        """Rows that are not folded yet."""
        return len(self.journal.rows) - self.journal.applied_seq

    async def step(self, rows: int, *, save: bool) -> Step:
        """Fold so many rows, and commit what came of them."""
        before, after = self.journal.applied_seq, min(self.journal.applied_seq + rows, len(self.journal.rows))
        correlated = await self._fold(before, after)
        saved = self.tenants.save([TENANT] if save else [], after, START_NS)
        told = correlated.derived
        step = Step(before, after, correlated.findings, correlated.incidents, tenant_checkpoints=saved, derived=told)
        await self.journal.commit(step)
        return step

    async def _fold(self, after_seq: int, until_seq: int) -> Correlated:
        rows = self.journal.rows[after_seq:until_seq]
        await self.tenants.load([TENANT], START_NS)
        emitted = {place: entry for place, entry in sorted(self._emitted.items()) if after_seq < place[0] <= until_seq}
        return self.tenants.correlate(rows, self.tenants.clocks(rows), emitted)

    async def kill(self) -> None:
        """Lose what is in memory, and come back to where everything is committed."""
        self.tenants = self._started()
        saved = self.journal.tenant_checkpoints.get(TENANT)
        await self._fold(0 if saved is None else saved.seq, self.journal.applied_seq)


class Shards:
    """All of them, and what they have told so far: incidents by id, findings with the incident they joined."""

    def __init__(self, homes: Mapping[UUID, int], chance: random.Random | None = None, *, kills: bool = False) -> None:
        """`homes` says in which shard a stream is; without `chance` every row is folded at once."""
        home = Shard(None)
        self.shards = [home, *(Shard(home.journal) for _ in range(max(homes.values())))]
        self.rows: dict[UUID, IncidentRow] = {}
        self.joined: dict[UUID, UUID] = {}
        self.findings: list[UUID] = []
        self.alerts: list[UUID] = []
        self._homes = homes
        self._chance = chance
        self._kills = kills

    async def moves(
        self, stream: UUID, seconds: int, *flags: Flag, due_s: int = 0, summaries: tuple[Summary, ...] = ()
    ) -> None:
        """The stream has come to `seconds` after the start, and sent then."""
        time_ns = START_NS + seconds * SECOND_NS
        due_ns = START_NS + due_s * SECOND_NS if due_s else 0
        progress = Progress(time_ns, seconds * SECOND_NS // WINDOW_NS[stream] + 1, time_ns, False, due_ns, TEXTS[stream])
        self.shards[self._homes[stream]].says(stream, progress, flags, summaries)
        await self._fold_some()

    async def _fold_some(self) -> None:
        if self._chance is None:
            await self.settle()
        else:
            for shard in self._chance.choices(self.shards, k=self._chance.randrange(3)):
                await self._step(shard)

    async def _step(self, shard: Shard) -> None:
        if self._kills and self._chance is not None and self._chance.random() < 0.2:
            await shard.kill()
        if shard.behind:
            rows, save = (1, False) if self._chance is None else (self._chance.randrange(1, 6), self._chance.random() < 0.3)
            step = await shard.step(rows, save=save)
            self.findings.extend(row.finding_id for row in step.findings)
            for row in step.incidents:
                self.rows[row.incident.incident_id] = row
                assert not self.joined.keys() & set(row.joined)
                self.joined.update(dict.fromkeys(row.joined, row.incident.incident_id))
                self.alerts.extend([row.incident.incident_id] * row.told)

    async def settle(self) -> None:
        """Fold all rows of all shards."""
        for shard in (*self.shards[1:], self.shards[0]):
            while shard.behind:
                await self._step(shard)

    async def clock(self, seconds: int) -> None:
        """Everybody is told the time, and has heard what others told before."""
        await self.settle()
        for shard in (*self.shards[1:], self.shards[0]):
            shard.clock(seconds)
            await self.settle()

    @property
    def results(self) -> object:
        """What came of it, whoever told it when."""
        incidents = {known: (row.incident, row.alerted_ns) for known, row in self.rows.items()}
        return incidents, self.joined, sorted(self.findings), sorted(self.alerts)
