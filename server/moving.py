"""Tenants go from the shard that they are in to the one to which their records come: from one machine to many, and back.

    nobody owns a shard ──> own both ──> score what is left, save every fold ──> move tenant by tenant

Nothing is judged twice and nothing learned is lost: a tenant moves when all of its rows are applied and all folds are saved.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from uuid import UUID

from structlog.typing import FilteringBoundLogger

import driftlock
from cbad_cy.codec import Codec
from driftlock.engine.ports import Step
from driftlock.engine.profile import DEFAULT_CODEC
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.journal_limits import JournalLimits
from driftlock.storage.moving import Settled, TenantMoves, Unsettled
from driftlock.storage.pool import Database
from driftlock.storage.recovery import recovery_position
from driftlock.storage.shard import Shard
from driftlock.storage.shard_standing import read_owners, read_standings
from driftlock.storage.startup import StartupRefused
from server.evidence import open_evidence
from server.ownership import DRAIN_TIMEOUT_MS, Ownership, Share, fold_limits, whole_journal
from server.settings import Settings
from server.telemetry import Telemetry

SAVE_S = 120.0
TRIES_MAX = 3
"""So often what is left is scored and saved, where more has come meanwhile or something could not be saved in time."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A tenant that has moved, with so many rows of the journal."""

    tenant: Settled
    shard: int
    rows: int


class Moving:
    """Owns the shards that it moves between, one pair at a time."""

    def __init__(self, settings: Settings, database: Database, log: FilteringBoundLogger) -> None:
        """`database` must be entered before use."""
        self._settings, self._database, self._log = settings, database, log
        self._moves = TenantMoves(database)
        self._shards: dict[int, Shard] = {}
        codec = Codec(DEFAULT_CODEC)
        self._telemetry = Telemetry(version=driftlock.__version__, codec=codec.name, codec_version=codec.version)

    async def away_from_home(self, shards: Sequence[int], home: Callable[[UUID], int]) -> list[Settled]:
        """The tenants of these shards whose records come to another one, by shard. Raises `Unavailable`."""
        return [it for it in await self._moves.of_shards(shards) if home(it.tenant_id) != it.shard]

    async def run(self, tenants: Sequence[Settled], home: Callable[[UUID], int], announce: Callable[[Moved], None]) -> None:
        """Move these; `announce` is told of each, when it has moved for good.

        Raises `StartupRefused` while another process owns a shard, or when what is left can not be scored and saved, `Conflict`
        when another process takes one over meanwhile or a tenant has to wait, `Unavailable`. Whatever it raises, those that
        were told have moved, and the others have not.
        """
        if alive := await read_owners(self._database):
            raise StartupRefused(
                f"a driftlock is at work on the journal ({'; '.join(alive)}): stop `driftlock serve` and every "
                "`driftlock worker` of this database, then run this again; gateways may go on, their records wait in Kafka"
            )
        for tenant in tenants:
            target = home(tenant.tenant_id)
            announce(Moved(tenant, target, await self._move(tenant, target)))

    async def _move(self, tenant: Settled, target: int) -> int:
        for _ in range(TRIES_MAX):
            for number in (tenant.shard, target):
                if number not in self._shards:
                    self._shards[number] = await self._settled(number)
            try:
                return await self._moves.move(tenant.tenant_id, self._shards[tenant.shard], self._shards[target])
            except Unsettled:  # an API process has said something: its rows come first
                self._shards.clear()
        raise StartupRefused("rows come faster than they are scored: stop every driftlock that writes to this database")

    async def _settled(self, number: int) -> Shard:
        """Own a shard, score what is left of it, and save every fold."""
        standing = (await read_standings(self._database, [number])).get(number)
        if standing is None:
            raise StartupRefused(f"shard {number} of the journal is not there: run `driftlock migrate --shards {number}`")
        if standing.last_seq == 0 and number:  # nobody has ever judged there: no era begins
            shard = Shard(self._database, number)
            await shard.acquire()
            return shard
        for _ in range(TRIES_MAX):
            shard = await self._drained(number)
            checkpoints = Checkpoints(self._database, shard)
            standing = (await read_standings(self._database, [number]))[number]
            if await recovery_position(self._database, checkpoints, number) == standing.last_seq == standing.applied_seq:
                return shard
        raise StartupRefused(
            f"shard {number} can not be scored to its end and saved: see the log, and start and stop its owner once"
        )

    async def _drained(self, number: int) -> Shard:
        """Own a shard, and let its folds take what they lack, if anything, and be saved."""
        settings, database = self._settings, self._database
        limits = JournalLimits(journal_bytes_max=settings.journal_bytes_max, drain_timeout_ms=DRAIN_TIMEOUT_MS)
        share = Share(number, settings.worker_threads, settings.resident_streams, settings.backlog_bytes_max, limits)
        evidence = open_evidence(settings, database, fold_limits(settings), self._log) is not None
        async with AsyncExitStack() as stack:
            owned = Ownership(
                settings,
                database,
                self._telemetry,
                self._log,
                stack,
                _ignored,
                whole_journal(database),
                evidence=evidence,
                share=share,
                stop_s=SAVE_S,
            )
            await owned.take_over()
            last_seq = owned.progress.last_seq
            applied_seq = owned.detection.applied_seq
            if await recovery_position(database, Checkpoints(database, owned.shard), number) == applied_seq == last_seq:
                return owned.shard
            self._log.info("what is left is scored", shard=number, rows=last_seq - applied_seq)
            running = asyncio.create_task(owned.detection.run())
            scored = asyncio.create_task(owned.detection.scored(last_seq))
            try:
                await asyncio.wait({running, scored}, return_when=asyncio.FIRST_COMPLETED)
                if running.done():
                    await running
            finally:
                for task in (running, scored):
                    task.cancel()
                await asyncio.gather(running, scored, return_exceptions=True)
        return owned.shard


def _ignored(_step: Step) -> None:
    """Nobody watches."""
