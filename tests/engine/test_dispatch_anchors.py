"""Anchors through the dispatcher: told with their step, nothing of them for the tenant's fold, drift findings like others."""

from dataclasses import replace
from uuid import UUID

import pytest

from driftlock.engine.anchor import AnchorStanding, anchor_id_of
from driftlock.engine.dispatch import Dispatcher
from driftlock.engine.limits import DispatchLimits, Limits
from driftlock.engine.ports import JournalRow, RowKind
from driftlock.engine.testing import MemoryJournal
from driftlock.engine.verdict import Question
from tests.engine.anchors import STREAM, TENANT, story
from tests.engine.streams import BASE_NS


def journal_of(rows: list[JournalRow]) -> MemoryJournal:
    journal = MemoryJournal()
    journal.rows = rows
    return journal


async def applied(journal: MemoryJournal, until: int | None = None) -> None:
    """Apply the rows of a journal, or those up to one position: what follows comes after a restart."""
    rows, journal.rows = journal.rows, journal.rows[:until]
    running = Dispatcher(
        reader=journal,
        states=journal,
        committer=journal,
        clock_journal=journal,
        recovery_seq=journal.recovery_seq(),
        applied_seq=journal.applied_seq,
        tenant_ids=[TENANT],
        now_ns=lambda: BASE_NS,
        seed=7,
        limits=Limits(),
        dispatch_limits=DispatchLimits(read_bytes_max=1),
        on_step=lambda _: None,
        on_fault=pytest.fail,
    )
    async with running:
        await running.scored(len(journal.rows))
    journal.rows = rows


async def test_anchors_hours_and_the_finding_are_stored_and_the_finding_opens_an_incident() -> None:
    journal = journal_of(story())
    await applied(journal)
    anchor_id = anchor_id_of(STREAM, 3)
    assert journal.anchors[anchor_id].note.standing is AnchorStanding.IN_FORCE
    assert len(journal.drift) == 29
    assert {row.stream_id for row in journal.drift.values()} == {STREAM}
    [found] = [row for row in journal.findings.values() if row.finding.question is Question.DRIFT]
    told = [row.incident for row in journal.incidents.values() if row.incident.title == found.finding.explanation]
    assert [(it.stream_ids, it.findings, it.end_ns) for it in told] == [((STREAM,), 1, found.finding.end_ns)]


async def test_a_freeze_is_told_at_once_and_the_tenants_fold_does_not_hear_of_it() -> None:
    rows = story()[:3]
    rows[2] = replace(rows[2], received_ns=rows[2].received_ns + 1)  # a tenant's fold would remember when it came
    journal, without = journal_of(rows), journal_of(rows[:2])
    await applied(journal)
    await applied(without)
    assert list(journal.anchors) == [anchor_id_of(STREAM, 3)]
    assert journal.tenant_checkpoints[TENANT].state == without.tenant_checkpoints[TENANT].state


@pytest.mark.parametrize("until", [2, 3, 12, 16])
async def test_a_restart_anywhere_stores_the_same(until: int) -> None:
    whole, cut = journal_of(story()), journal_of(story())
    await applied(whole)
    await applied(cut, until)
    await applied(cut)
    assert (cut.anchors, cut.drift, cut.events) == (whole.anchors, whole.drift, whole.events)
    assert cut.findings.keys() == whole.findings.keys()


async def test_other_streams_of_the_tenant_are_told_apart() -> None:
    other = UUID(int=9)
    rows = [replace(row, stream_id=other if row.seq % 2 == 0 else STREAM) for row in story()]
    freezes = [row for row in rows if row.kind is RowKind.ANCHOR]
    journal = journal_of(rows)
    await applied(journal)
    assert {row.stream_id for row in journal.anchors.values()} == {row.stream_id for row in freezes}
