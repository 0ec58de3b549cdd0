"""Where a run begins, and what it has seen when it ends."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from driftlock.engine.ports import Receipt, Step
from driftlock.storage.journal import Journal
from tests.simulation.tables import JRow, Tables


@dataclass
class Base:
    """Where a run begins: tables with a past, the rows of that past, and how far numbers and time have come."""

    tables: Tables
    history: list[JRow]
    tenant_id: UUID
    numbers: int
    elapsed_ns: int


@dataclass
class Facts:
    """What a run has seen, for those who judge it."""

    history: list[JRow] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    acknowledged: dict[str, Receipt] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    forgot: list[tuple[int, int]] = field(default_factory=list)  # the last position and the time when requests were forgotten
    reused: int = 0  # keys that were used again for something else and refused


def idle(journal: Journal) -> bool:
    """Is nothing counted as queued or as on its way there?"""
    room = journal._arriving
    return not (journal.queued_bytes or journal.queued_requests or room.bytes or room.requests)


def different(what: str, mine: Mapping[Any, object], theirs: Mapping[Any, object]) -> list[str]:
    """What is missing, what is too much, and what is not alike; `what` names the things."""
    found = [f"{what} {known} is missing" for known in theirs.keys() - mine.keys()]
    found += [f"{what} {known} should not be" for known in mine.keys() - theirs.keys()]
    found += [f"{what} {known} differs" for known in mine.keys() & theirs.keys() if mine[known] != theirs[known]]
    return found
