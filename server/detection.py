"""Detection in a serving process: it begins after records are taken already, because recovery must not keep senders waiting."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from structlog.typing import FilteringBoundLogger

from driftlock.engine.dispatch import Dispatcher
from driftlock.errors import Conflict, Unavailable

RECOVERY_PAUSE_S = 1.0


class Detection:
    """The dispatcher from outside, whether it runs yet or not.

    `start` recovers what the folds were, lets the dispatcher run and returns it; it may raise `Unavailable`, then it is called
    again. What the process before has left to score comes first; until then records are journaled and wait.
    """

    def __init__(self, start: Callable[[], Awaitable[Dispatcher]], log: FilteringBoundLogger) -> None:
        self._start = start
        self._log = log
        self._dispatcher: Dispatcher | None = None
        self._started = asyncio.Event()
        self._applied_before = 0

    def found(self, applied_seq: int) -> None:
        """So far has been scored when the journal became ours."""
        self._applied_before = applied_seq

    async def run(self) -> None:
        """Recover and start, then wait; returns never while all is well, and raises what stopped detection."""
        while self._dispatcher is None:
            try:
                self._dispatcher = await self._start()
            except Unavailable as error:
                self._log.warning("detection waits for the database", why=error.message)
                await asyncio.sleep(RECOVERY_PAUSE_S)
        self._started.set()
        await self._dispatcher.failed()

    async def scored(self, seq: int) -> None:
        """Return when the journal position `seq` is scored; raises `Unavailable` when that will not happen in this process."""
        await self._started.wait()
        assert self._dispatcher is not None  # noqa: S101  # set before the event
        await self._dispatcher.scored(seq)

    @property
    def applied_seq(self) -> int:
        """Everything up to this position is scored."""
        return self._applied_before if self._dispatcher is None else self._dispatcher.applied_seq

    @property
    def resident_streams(self) -> int:
        """Stream folds in memory."""
        return 0 if self._dispatcher is None else self._dispatcher.resident_streams

    def alert_budget_spent_share(self) -> float:
        """As the dispatcher's."""
        return 0.0 if self._dispatcher is None else self._dispatcher.alert_budget_spent_share()


@asynccontextmanager
async def running_dispatcher(dispatcher: Dispatcher, stop_s: float, log: FilteringBoundLogger) -> AsyncIterator[None]:
    """The dispatcher, running; its stop is cut off after `stop_s`, which loses nothing: the journal has it all.

    A dispatcher that failed raises its error once more when it is left. The error that ended the process names the part
    that failed, so that one goes on and the dispatcher's is only logged.
    """
    await dispatcher.__aenter__()
    try:
        yield
    except BaseException:
        try:
            await _stop(dispatcher, stop_s, log)
        except Conflict as error:
            log.warning("the last step was refused, and changed nothing", why=error.message)
        except Exception as error:
            log.error("detection has failed", exc_info=error)
        raise
    else:
        await _stop(dispatcher, stop_s, log)


@asynccontextmanager
async def quiet_when(fenced: asyncio.Event) -> AsyncIterator[None]:
    """Whatever is refused inside because another process owns the journal is expected once that is known."""
    try:
        yield
    except Conflict:
        if not fenced.is_set():
            raise


async def _stop(dispatcher: Dispatcher, stop_s: float, log: FilteringBoundLogger) -> None:
    try:
        async with asyncio.timeout(stop_s):
            await dispatcher.__aexit__(None, None, None)
    except TimeoutError:
        log.warning("stopped before everything was scored; the rest follows at the next start")
