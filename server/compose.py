"""The composition root: every part of a serving process is made, joined, watched and stopped from here.

    database -> pipeline (journal, detection) -> doors (OTLP/gRPC, OTLP/HTTP, REST)

Made from left to right and left from right to left: first nothing new comes in, then what came in is journaled and
folded, and the database stops last.

Everything that takes time or can fail comes first; then the journal is taken over, which fences a process that served
before, and the doors open at once: between its last acknowledgement and our first lie a few round trips to the database.
What was journaled and not scored yet is recovered after that.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

import grpc
from structlog.typing import FilteringBoundLogger

import driftlock
from collector.otlp.grpc import check_grpcio
from driftlock.errors import Conflict, Unavailable
from driftlock.storage.datafolder import write_private
from driftlock.storage.startup import StartupRefused
from server.addresses import Address
from server.banner import Running
from server.database import database_urls
from server.doors import Doors, open_doors
from server.pipeline import Pipeline, open_pipeline
from server.process import Ending, Stopped, StopSignals, until
from server.settings import Settings

NOTICE_S = 1.0  # between "not ready" and closing the doors, for load balancers to notice


async def serve(settings: Settings, log: FilteringBoundLogger, announce: Callable[[str], None]) -> None:
    """Run a server until SIGINT or SIGTERM. `announce` prints for people. Raises the reason of a failed start or run."""
    began_s = time.monotonic()
    try:
        check_grpcio(grpc.__version__)
    except RuntimeError as error:
        raise StartupRefused(str(error)) from None
    ready = asyncio.Event()
    with StopSignals(announce) as signals:
        server = asyncio.create_task(_serve(settings, log, announce, signals.requested, ready, began_s))
        interrupted = asyncio.create_task(signals.requested.wait())
        await asyncio.wait({server, interrupted}, return_when=asyncio.FIRST_COMPLETED)
        interrupted.cancel()
        if signals.requested.is_set() and not ready.is_set():
            server.cancel()  # stopped while starting: what is half made is undone
            await asyncio.wait({server})
            if server.cancelled():
                return
        await server


async def _serve(
    settings: Settings,
    log: FilteringBoundLogger,
    announce: Callable[[str], None],
    stop: asyncio.Event,
    ready: asyncio.Event,
    began_s: float,
) -> None:
    if settings.firebase_emulator:
        log.warning("tokens of the Firebase emulator are believed, which prove nothing: for development only")
    async with AsyncExitStack() as stack:
        urls = await stack.enter_async_context(database_urls(settings, share=False))
        pipeline = await stack.enter_async_context(open_pipeline(settings, urls, log))
        doors = await stack.enter_async_context(open_doors(settings, pipeline, log))
        await pipeline.take_over()
        await doors.serve()
        running = _running(settings, pipeline, doors, round((time.monotonic() - began_s) * 1000))
        if settings.embedded:
            stack.callback(settings.endpoints_file.unlink, missing_ok=True)
            write_private(settings.endpoints_file, json.dumps(running.endpoints()))
        ready.set()
        announce(running.banner())
        log.info("ready", startup_ms=running.startup_ms, **running.endpoints())
        try:
            ending = await until(stop, {**doors.watched, **pipeline.watched}, pipeline.fenced)
        finally:
            log.info("draining")
            await doors.drain()
        if ending is Ending.HANDED_OVER:
            await _confirm(pipeline)
        elif _has_remote_peers(settings):
            await asyncio.sleep(NOTICE_S)
    if ending is Ending.HANDED_OVER:
        announce("handed over: another process serves this database now")
    log.info(ending.value)


async def _confirm(pipeline: Pipeline) -> None:
    """Raise `Stopped` where no process has taken over: an older state of the database was put in its place."""
    with contextlib.suppress(Unavailable):
        try:
            await pipeline.not_replaced()
        except Conflict as error:
            raise Stopped(error.message) from error


def _running(settings: Settings, pipeline: Pipeline, doors: Doors, startup_ms: int) -> Running:
    return Running(
        version=driftlock.__version__,
        rest=f"http://{_reachable(doors.rest)}" if doors.rest else None,
        otlp_grpc=_reachable(doors.otlp_grpc) if doors.otlp_grpc else None,
        otlp_http=_reachable(doors.otlp_http) if doors.otlp_http else None,
        api_key=pipeline.local.api_key if pipeline.local else None,
        anonymous=pipeline.local is not None and pipeline.local.anonymous,
        api_key_file=str(settings.api_key_file),
        data_dir=str(settings.data_dir.absolute()) if settings.embedded else None,
        startup_ms=startup_ms,
        tls=settings.otlp_tls_cert is not None,
        client_certificates=settings.otlp_tls_client_ca is not None,
    )


def _reachable(address: Address) -> str:
    """An address to connect to: all interfaces are reached over the loopback one."""
    wildcards = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
    return Address(wildcards.get(address.host, address.host), address.port).text


def _has_remote_peers(settings: Settings) -> bool:
    listening = (settings.otlp_grpc, settings.otlp_http, settings.http)
    return any(address is not None and not address.loopback for address in listening)
