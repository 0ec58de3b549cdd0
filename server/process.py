"""Signals of a serving process, and its exits that wait for nothing."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

IMMEDIATE_EXIT_CODE = 130


class Stopped(Exception):
    """A part that must run as long as the process has ended; the text says which and why."""


class StopSignals:
    """SIGINT and SIGTERM while entered: the first one asks to stop, the second one ends the process at once.

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
        self._announce("stopping; press Ctrl-C again to stop at once")


def exit_now(message: str) -> None:
    """End the process without unwinding."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()
    os._exit(IMMEDIATE_EXIT_CODE)


async def until(stop: asyncio.Event, watched: dict[str, Callable[[], Awaitable[None]]]) -> None:
    """Return when `stop` is set; raise `Stopped` when one of `watched` ends before that: none of them may end by itself."""
    stopping: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
    tasks: dict[asyncio.Future[Any], str] = {asyncio.ensure_future(wait()): name for name, wait in watched.items()}
    try:
        done, _ = await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        if stopping in done:
            return
        for task in done:
            error = task.exception()
            raise Stopped(f"{tasks[task]} stopped: {error or 'without a reason'}") from error
    finally:
        for task in (stopping, *tasks):
            task.cancel()
        await asyncio.gather(stopping, *tasks, return_exceptions=True)
