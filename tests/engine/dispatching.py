"""The applier over a journal in memory, for the tests of it."""

from collections.abc import Callable
from uuid import UUID

import pytest

from driftlock.engine.dispatch import Dispatcher
from driftlock.engine.limits import DispatchLimits, Limits
from driftlock.engine.testing import MemoryJournal
from tests.engine.streams import BASE_NS

TENANT = UUID(int=9)


def applier(
    journal: MemoryJournal,
    bounds: DispatchLimits,
    *,
    limits: Limits | None = None,
    now_ns: int = BASE_NS,
    clock: Callable[[], int] | None = None,
    on_fault: Callable[[str], None] = pytest.fail,
    on_wait: Callable[[str], None] = pytest.fail,
) -> Dispatcher:
    """Where the journal was left: a new one on the same journal is a restart."""
    return Dispatcher(
        reader=journal,
        states=journal,
        committer=journal,
        clock_journal=journal,
        recovery_seq=journal.recovery_seq(),
        applied_seq=journal.applied_seq,
        tenant_ids=[TENANT],
        now_ns=clock or (lambda: now_ns),
        seed=7,
        limits=limits or Limits(),
        dispatch_limits=bounds,
        on_step=lambda _: None,
        on_fault=on_fault,
        on_wait=on_wait,
        eras=journal.eras,
    )
