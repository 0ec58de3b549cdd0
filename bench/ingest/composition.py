"""Servers of which stages are left out: the real receivers over the real pipeline, but for one part each.

route     requests are received, decoded and routed; whoever waits for the journal is answered at once
journal   they are journaled in PostgreSQL as always; nobody reads the journal
segment   they are journaled in a segment file; nobody reads it
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import click
import uvloop

import server.pipeline
from bench.ingest.segments import SegmentJournal
from driftlock.engine.dispatch import Dispatcher
from driftlock.engine.ports import Intake, Receipt, Submission
from server.allocator import keep_freed_memory
from server.database import database_urls
from server.doors import open_doors
from server.logs import configure_logs
from server.process import StopSignals, until
from server.settings import Settings, read_settings


class Acknowledged:
    """An intake that keeps nothing."""

    async def submit(self, submission: Submission) -> Receipt:
        """Done."""
        return Receipt(1, submission.records)


class Asleep(Dispatcher):
    """A dispatcher that never reads a row."""

    async def _apply_for_ever(self) -> None:
        await asyncio.Event().wait()

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        self._residents.close()


@asynccontextmanager
async def intake_of(stage: str, settings: Settings) -> AsyncIterator[Intake | None]:
    """What takes the journal's place; None = the journal itself."""
    if stage == "segment":
        async with SegmentJournal(settings.data_dir / "segments") as journal:
            yield journal
    else:
        yield Acknowledged() if stage == "route" else None


async def serve(stage: str, settings: Settings) -> None:
    """As `driftlock serve`, but for the stage."""
    setattr(server.pipeline, "Dispatcher", Asleep)  # noqa: B010  # the one part that the pipeline makes and we leave out
    log = configure_logs(settings.log_format, settings.log_level)
    async with AsyncExitStack() as stack:
        signals = stack.enter_context(StopSignals(click.echo))
        urls = await stack.enter_async_context(database_urls(settings, share=False))
        pipeline = await stack.enter_async_context(server.pipeline.open_pipeline(settings, urls, log))
        other = await stack.enter_async_context(intake_of(stage, settings))
        if other is not None:
            pipeline = replace(pipeline, intake=other)  # type: ignore[arg-type]
        doors = await stack.enter_async_context(open_doors(settings, pipeline, log))
        watched: dict[str, Callable[[], Awaitable[None]]] = {**doors.watched, **pipeline.watched}
        await until(signals.requested, watched)
        await doors.drain()


if __name__ == "__main__":
    keep_freed_memory()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(sys.argv[1], read_settings()))
