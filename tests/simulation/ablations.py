"""The product with one of its promises taken out. Each has to be caught, or the simulation proves nothing about it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from driftlock.engine.ports import Step
from driftlock.storage.appending import Pending
from driftlock.storage.journal import Journal
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


ABLATIONS = {
    "acknowledge before commit": Ablation(Parts(journal=HastyJournal)),
    "no deduplication": Ablation(Parts(deduplicates=False)),
    "no fence": Ablation(rewrite=unfenced),
    "position without compare-and-set": Ablation(rewrite=unconditional),
    "checkpoint before its findings": Ablation(Parts(checkpoints=HastyCheckpoints)),
}
