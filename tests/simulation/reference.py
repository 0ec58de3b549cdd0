"""The same journal, folded once by the real dispatcher without interruption: what every run has to come to."""

import random
from dataclasses import dataclass, replace
from uuid import UUID

from driftlock.engine.dispatch import Dispatcher
from driftlock.engine.ports import Checkpoint, JournalRow, RowKind
from driftlock.engine.testing import MemoryJournal
from driftlock.storage import journal_reader
from tests.simulation import folds_model
from tests.simulation.facts import Base
from tests.simulation.loop import SimLoop
from tests.simulation.node import SEED
from tests.simulation.plan import Plan
from tests.simulation.tables import JRow, Tables

_BEFORE = JournalRow(0, RowKind.CLOCK, 0, b"")  # stands for rows that are applied already, which nobody reads


@dataclass
class Reference:
    """What came out: findings and incidents as they would be stored, whose alert was told, and the state of every fold."""

    journal: MemoryJournal
    told: dict[UUID, int]


def refold(plan: Plan, base: Base, tables: Tables, history: list[JRow], now_ns: int) -> Reference:
    """Fold the rows of `history` after those that `base` has applied, from the checkpoints of `base` on."""
    memory = MemoryJournal()
    applied = base.tables.applied_seq
    memory.rows = [_BEFORE] * applied + _rows(tables, history[applied:])
    for known, saved in base.tables.stream_checkpoints.items():
        memory.stream_checkpoints[known] = Checkpoint(max(saved), saved[max(saved)][1])
    for known, saved in base.tables.tenant_checkpoints.items():
        memory.tenant_checkpoints[known] = Checkpoint(max(saved), saved[max(saved)][1])
    memory._keys = {(stream.tenant_id, known): stream.key for known, stream in tables.streams.items()}
    memory.applied_seq = base.tables.applied_seq
    told: dict[UUID, int] = {}
    loop = SimLoop(random.Random(0))  # type: ignore[abstract]  # it has what is used
    dispatcher = Dispatcher(
        reader=memory,
        states=memory,
        committer=memory,
        clock_journal=memory,
        recovery_seq=base.tables.applied_seq,
        applied_seq=base.tables.applied_seq,
        tenant_ids=list(base.tables.tenant_checkpoints),
        now_ns=lambda: now_ns,
        seed=SEED,
        limits=plan.limits,
        dispatch_limits=replace(
            plan.dispatch,
            read_bytes_max=1 << 30,
            clock_period_ns=1 << 60,
            step_pause_s=0.0,
            inline_bytes=1 << 30,
            resident_streams_max=1000,
        ),
        on_step=lambda step: told.update((row.incident.incident_id, 1) for row in step.incidents if row.told),
        on_fault=_never,
    )

    async def fold() -> None:
        async with dispatcher:
            await dispatcher.scored(len(memory.rows))

    tasks = []

    def start() -> None:
        tasks.append(loop.create_task(fold()))

    loop.call_soon(start)
    loop.run_until(lambda: bool(tasks) and tasks[0].done(), 1e9, "the reference fold")
    tasks[0].result()
    return Reference(memory, told)


def _rows(tables: Tables, history: list[JRow]) -> list[JournalRow]:
    """As `JournalRows` would have read them."""
    whole = replace(tables, journal={row.seq: row for row in history})
    records = folds_model.read(whole, 0, history[0].seq - 1 if history else 0, 1 << 60, 1 << 60, ())
    return [journal_reader._row(record, None) for record in records]


def _never(what: str) -> None:
    raise AssertionError(f"the reference fold gave up: {what}")
