"""How a serving process ends: by a signal, by handing over, or because a part of it has failed."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

IMMEDIATE_EXIT_CODE = 130
STOP_MAX_S = 9.5


class Ending(StrEnum):
    """Why a process ends that is well."""

    STOPPED = "stopped"
    HANDED_OVER = "handed over"


class Stopped(Exception):
    """A part that must run as long as the process has ended; the text says which and why."""


class StopSignals:
    """SIGINT and SIGTERM while entered: the first one asks to stop, the second one ends the process at once.

    So does the stop itself when it takes longer than `STOP_MAX_S`: whoever sent the signal would else kill the process soon.
    Ending at once loses nothing that was acknowledged: it is in the journal. The embedded PostgreSQL stops with its parent.
    """

    def __init__(self, announce: Callable[[str], None]) -> None:
        self._announce = announce
        self.requested = asyncio.Event()

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    def _handle(self) -> None:
        if self.requested.is_set():
            exit_now("stopping at once; nothing acknowledged is lost")
        self.requested.set()
        message = f"not stopped after {STOP_MAX_S:g} s; ending at once, nothing acknowledged is lost"
        asyncio.get_running_loop().call_later(STOP_MAX_S, exit_now, message)
        self._announce("stopping; press Ctrl-C again to stop at once")


def exit_now(message: str) -> None:
    """End the process without unwinding."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()
    os._exit(IMMEDIATE_EXIT_CODE)


async def until(
    stop: asyncio.Event,
    watched: dict[str, Callable[[], Awaitable[None]]],
    fenced: asyncio.Event | None = None,
) -> Ending:
    """Return when `stop` is set, or `fenced`: another process owns the journal, and has taken over.

    Raises `Stopped` when one of `watched` ends before that: none of them may end by itself. What fails because the process is
    fenced belongs to the hand-over.
    """
    fenced = fenced or asyncio.Event()
    stopping: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
    fencing: asyncio.Future[Any] = asyncio.ensure_future(fenced.wait())
    tasks: dict[asyncio.Future[Any], str] = {asyncio.ensure_future(wait()): name for name, wait in watched.items()}
    try:
        done, _ = await asyncio.wait([stopping, fencing, *tasks], return_when=asyncio.FIRST_COMPLETED)
        if fenced.is_set():
            return Ending.HANDED_OVER
        if stopping in done:
            return Ending.STOPPED
        task = next(task for task in tasks if task in done)
        error = task.exception()
        raise Stopped(f"{tasks[task]} stopped: {error or 'without a reason'}") from error
    finally:
        for task in (stopping, fencing, *tasks):
            task.cancel()
        await asyncio.gather(stopping, fencing, *tasks, return_exceptions=True)
