"""What happens to a process whose detection fails, and to one that stops with work left."""

import asyncio
import io
import logging
from array import array
from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
import structlog
from structlog.typing import FilteringBoundLogger

from driftlock.engine.dispatch import Dispatcher
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.limits import SECOND_NS, DispatchLimits, Limits
from driftlock.engine.ports import Step, StreamBatch, Submission
from driftlock.engine.testing import MemoryJournal
from driftlock.errors import Internal, Unavailable
from driftlock.storage.pool import Database, Lane, PoolLimits
from server import ownership
from server.detection import running_dispatcher
from server.logs import configure_logs
from server.ownership import fold_limits
from server.pipeline import connect
from server.process import Stopped, until
from server.settings import parse_settings
from tests.conftest import Urls

BATCH = RecordBatch(text=b"line", lengths=array("I", [4]), times_ns=array("Q", [1]))
SUBMISSION = Submission(UUID(int=1), Signal.LOGS, 1, (StreamBatch(StreamKey(Signal.LOGS, "x"), BATCH),))


def test_settings_become_limits() -> None:
    assert fold_limits(parse_settings({})) == Limits()
    settings = parse_settings({"DRIFTLOCK_TRACE_LINGER_SECONDS": "7", "DRIFTLOCK_TRACE_IDLE_SECONDS": "8"})
    assert fold_limits(settings) == Limits(trace_linger_ns=7 * SECOND_NS, trace_idle_ns=8 * SECOND_NS)


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def log(logged: io.StringIO) -> FilteringBoundLogger:
    return configure_logs("json", "info", logged)


def dispatcher(journal: MemoryJournal, on_step: Callable[[Step], None] = lambda _: None) -> Dispatcher:
    running = Dispatcher(
        reader=journal,
        states=journal,
        committer=journal,
        clock_journal=journal,
        recovery_seq=0,
        applied_seq=0,
        tenant_ids=[],
        now_ns=lambda: 1,
        seed=0,
        limits=Limits(),
        dispatch_limits=DispatchLimits(threads=1),
        on_step=on_step,
        on_fault=pytest.fail,
    )
    journal.on_commit = running.wake
    return running


async def test_failed_detection_is_named_and_its_reason_kept(log: FilteringBoundLogger, logged: io.StringIO) -> None:
    journal = MemoryJournal()
    running = dispatcher(journal)
    with pytest.raises(Stopped, match="detection stopped: the database refused a statement") as caught:  # noqa: PT012
        async with running_dispatcher(running, 5.0, log):
            await asyncio.sleep(0)
            journal.fail_next(Internal("the database refused a statement"))
            running.wake()
            await asyncio.wait_for(until(asyncio.Event(), {"detection": running.failed}), 5)
    assert isinstance(caught.value.__cause__, Internal)
    assert "detection has failed" in logged.getvalue()


async def test_what_was_journaled_is_scored_before_a_clean_stop(log: FilteringBoundLogger, logged: io.StringIO) -> None:
    journal = MemoryJournal()
    async with running_dispatcher(dispatcher(journal), 5.0, log):
        await journal.submit(SUBMISSION)
    assert journal.applied_seq == len(journal.rows) == 1
    assert logged.getvalue() == ""


async def test_a_failure_while_stopping_is_not_swallowed(log: FilteringBoundLogger) -> None:
    journal = MemoryJournal()
    running = dispatcher(journal)
    with pytest.raises(Internal, match="torn"):  # noqa: PT012
        async with running_dispatcher(running, 5.0, log):
            await asyncio.sleep(0.05)
            journal.on_commit = lambda: None
            await journal.submit(SUBMISSION)
            journal.fail_next(Internal("torn"))


async def test_a_stop_that_takes_too_long_is_cut_off_and_told(log: FilteringBoundLogger, logged: io.StringIO) -> None:
    class StuckJournal(MemoryJournal):
        """A journal whose commits never come back."""

        async def commit(self, step: Step) -> None:  # noqa: ARG002
            await asyncio.Event().wait()

    journal = StuckJournal()
    async with running_dispatcher(dispatcher(journal), 0.1, log):
        await journal.submit(SUBMISSION)
    assert "the rest follows at the next start" in logged.getvalue()
    assert journal.applied_seq == 0


class HeldShard:
    """A shard whose row somebody holds for a while."""

    def __init__(self, times: int) -> None:
        self.left, self.put_outs = times, 0

    async def put_out(self) -> int:
        self.put_outs += 1
        return 1

    async def acquire(self) -> int:
        if self.left:
            self.left -= 1
            raise Unavailable("the database took longer than allowed; retry")
        return 1


async def test_an_owner_that_is_frozen_in_a_step_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "TAKE_OVER_PAUSE_S", 0.0)
    log = structlog.wrap_logger(structlog.PrintLogger(io.StringIO()))
    held = HeldShard(3)
    await ownership._acquire(held, log)  # type: ignore[arg-type]
    assert (held.left, held.put_outs) == (0, 3)
    monkeypatch.setattr(ownership, "TAKE_OVER_PATIENCE_S", 0.0)
    with pytest.raises(Unavailable):
        await ownership._acquire(HeldShard(1), log)  # type: ignore[arg-type]


async def test_a_start_waits_for_logins_that_take_longer_than_a_call_may(database_urls: Urls) -> None:
    hasty = PoolLimits(acquire_timeout_ms=2)  # less than a login takes
    async with Database(database_urls.app, limits=hasty) as database:
        with pytest.raises(Unavailable):
            await database.reserved(Lane.KEYS).ping()
    async with Database(database_urls.app, limits=hasty) as database:
        await connect(database)
