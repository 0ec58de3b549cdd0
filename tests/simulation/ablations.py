"""The product with one of its promises taken out. Each has to be caught, or the simulation proves nothing about it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar
from uuid import UUID

from driftlock.engine.ports import JournalRow, RowKind, Step
from driftlock.storage.appending import Pending
from driftlock.storage.beside import Beside, write_beside
from driftlock.storage.controls import Controls
from driftlock.storage.journal import Journal
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.pool import Connection
from tests.simulation.database import SimConnection
from tests.simulation.node import Parts, WatchedCheckpoints
from tests.simulation.statements import OWNERS, Statement
from tests.simulation.tables import Tables

Rewrite = Callable[[Tables, Statement, tuple[Any, ...]], tuple[Any, ...]]


class HastyJournal(Journal):
    """Acknowledges before the commit."""

    async def _commit(self, group: list[Pending]) -> None:
        for pending in group:
            self._answer(pending, duplicate=False, seq=0)
            self._queued_bytes += pending.size
        await super()._commit(group)


class HastyCheckpoints(WatchedCheckpoints):
    """Commits the states of folds before their findings."""

    async def _commit(self, connection: SimConnection, step: Step) -> bool:  # type: ignore[override]
        states = replace(step, from_seq=step.from_seq, to_seq=step.from_seq, findings=(), incidents=(), events=(), streams=())
        nothing: dict[Any, Any] = {}
        saved = {"stream_checkpoints": nothing, "series_checkpoints": nothing, "tenant_checkpoints": nothing}
        rest = replace(step, **saved)  # type: ignore[arg-type]
        session = connection._session
        session.step = None  # only what is committed with its findings counts as a step
        first = await super()._commit(connection, states)  # type: ignore[arg-type]
        session.step = step
        return first and await super()._commit(connection, rest)  # type: ignore[arg-type]


class ForgetfulRows(JournalRows):
    """Leaves out lessons where rows are read again after a start."""

    forgotten: ClassVar = RowKind.LESSON
    _again_until = 0

    async def applied_seq(self) -> int:
        self._again_until = await super().applied_seq()
        return self._again_until

    async def read(self, after_seq: int, bytes_max: int) -> Sequence[JournalRow]:
        rows = await super().read(after_seq, bytes_max)
        return [
            replace(row, kind=RowKind.REDACTION) if row.seq <= self._again_until and row.kind is self.forgotten else row
            for row in rows
        ]


class AdriftRows(ForgetfulRows):
    """So are anchors."""

    forgotten = RowKind.ANCHOR


class HastyControls(Controls):
    """Shows what people say in a transaction after the one that journals it."""

    async def append(
        self, tenant_id: UUID, stream_id: UUID | None, kind: RowKind, body: bytes, beside: Beside | None = None
    ) -> int:
        seq = await super().append(tenant_id, stream_id, kind, body)

        async def work(connection: Connection) -> int:
            async with connection.transaction():
                await write_beside(beside, connection, seq)
            return seq

        await self._journal.owning(work)
        return seq


def unsilenced(tables: Tables, statement: Statement, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Findings are stored as if nobody had taught their stream."""
    return (*arguments[:-1], [None] * len(arguments[-1])) if statement.name == "anomalies" else arguments


def unfenced(tables: Tables, statement: Statement, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The database believes everybody to be the owner."""
    if statement.name not in OWNERS:
        return arguments
    epoch = tables.position_epoch if statement.name == "advance" else tables.shard.epoch
    return (arguments[0], epoch, *arguments[2:])


def unconditional(tables: Tables, statement: Statement, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The position is set, whatever it was."""
    if statement.name != "advance":
        return arguments
    return (*arguments[:2], tables.applied_seq, *arguments[3:])


@dataclass(frozen=True)
class Ablation:
    parts: Parts = field(default_factory=Parts)
    rewrite: Rewrite | None = None
    people: bool = False  # only people notice


ABLATIONS = {
    "acknowledge before commit": Ablation(Parts(journal=HastyJournal)),
    "no deduplication": Ablation(Parts(deduplicates=False)),
    "no fence": Ablation(rewrite=unfenced),
    "position without compare-and-set": Ablation(rewrite=unconditional),
    "checkpoint before its findings": Ablation(Parts(checkpoints=HastyCheckpoints)),
    "no lessons on recovery": Ablation(Parts(rows=ForgetfulRows), people=True),
    "no anchors on recovery": Ablation(Parts(rows=AdriftRows), people=True),
    "what people say without its row": Ablation(Parts(controls=HastyControls), people=True),
    "findings that are not silenced": Ablation(rewrite=unsilenced, people=True),
}
