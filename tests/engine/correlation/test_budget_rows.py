"""A tenant's budget among the records: it holds from its row on, on every replay, and whatever is lost."""

import dataclasses
from collections.abc import Callable
from uuid import UUID

import pytest

from driftlock.engine.folding import Folder
from driftlock.engine.limits import DispatchLimits, Limits
from driftlock.engine.ports import Checkpoint, JournalRow, RowKind, Step, StreamEventRow
from driftlock.engine.profile import PROFILES, custom
from driftlock.engine.records import encode, encode_config
from driftlock.engine.testing import MemoryJournal
from driftlock.engine.verdict import StreamEvent, StreamEventKind
from tests.engine.dispatching import TENANT, applier
from tests.engine.streams import BASE_NS, FAR_NS, KEY, batch
from tests.engine.test_detector import with_burst


async def fold(journal: MemoryJournal, on_fault: Callable[[str], None] = pytest.fail) -> int:
    """Apply all rows; the alerts in 24 hours that the tenant's fold allows by then."""
    running = applier(journal, DispatchLimits(threads=1, retry_delay_s=0.001), on_fault=on_fault)
    async with running:
        await running.scored(len(journal.rows))
        assert running.alert_budget_spent_share() == 0.0
        return running._tenants._tenants[TENANT].fold._stories.budget.alerts_per_day_max


async def test_a_budget_holds_after_its_row_and_after_a_restart() -> None:
    journal = MemoryJournal()
    assert await fold(journal) == Limits().tenant_alerts_per_day_max
    assert await journal.set_budget(TENANT, 3)
    assert not await journal.set_budget(TENANT, 3)
    assert [row.kind for row in journal.rows] == [RowKind.BUDGET]
    assert await fold(journal) == 3
    assert journal.tenant_checkpoints[TENANT].seq == 1
    assert await fold(journal) == 3
    await journal.set_budget(TENANT, 5)
    assert await fold(journal) == 5


async def test_a_damaged_budget_row_is_what_the_tenant_is_known_to_have_set() -> None:
    journal, faults = MemoryJournal(), list[str]()
    await journal.set_budget(TENANT, 3)
    journal.rows[0] = dataclasses.replace(journal.rows[0], body=b"")
    assert await fold(journal, faults.append) == 3
    assert len(faults) == 1
    assert "budget row 1" in faults[0]


async def test_a_fold_that_lost_its_state_gets_its_budget_with_its_next_row() -> None:
    journal, faults = MemoryJournal(), list[str]()
    await journal.set_budget(TENANT, 3)
    await fold(journal)
    journal.tenant_checkpoints[TENANT] = Checkpoint(1, b"")
    journal.rows.append(JournalRow(2, RowKind.BUDGET, BASE_NS, b"", TENANT))
    assert await fold(journal, faults.append) == 3
    assert "the counting of alerts start anew" in faults[0]


async def test_a_stream_event_is_stored_once() -> None:
    journal = MemoryJournal()
    event = StreamEventRow(TENANT, UUID(int=1), StreamEvent(StreamEventKind.CALIBRATED, 5000, 450, BASE_NS, "x"))
    for _ in range(2):
        await journal.commit(Step(0, 0, events=(event,)))
    assert list(journal.events.values()) == [event]
    later = dataclasses.replace(event, event=dataclasses.replace(event.event, kind=StreamEventKind.DEGRADED))
    elsewhere = dataclasses.replace(event, stream_id=UUID(int=2))
    assert len({event.event_id, later.event_id, elsewhere.event_id}) == 3


def test_flags_carry_the_streams_budget_of_their_time_and_how_strong_they_are() -> None:
    folder = Folder(7, Limits(), pytest.fail)
    few = custom(PROFILES["balanced"], {"alerts_per_day_max": 2})
    body = encode(batch(with_burst(3000)))
    records = JournalRow(1, RowKind.RECORDS, FAR_NS, body, TENANT, UUID(int=2), KEY)
    config = JournalRow(2, RowKind.CONFIG, FAR_NS, encode_config(few), TENANT, UUID(int=2), KEY)
    rows = [records, config, dataclasses.replace(records, seq=3)]
    emitted = folder.fold(folder.load(records, None, 0), rows)
    for seq, budget in ((1, PROFILES["balanced"].alerts_per_day_max), (3, 2)):
        assert {flag.alerts_per_day_max for flag in emitted[seq].flags} <= {budget}
        assert [flag.surprise for flag in emitted[seq].flags] == [row.finding.surprise for row in emitted[seq].findings]
    assert emitted[1].flags
