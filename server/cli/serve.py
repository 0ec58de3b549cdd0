"""`driftlock serve`."""

import asyncio
import sys
from typing import Never

import click
import uvloop

from driftlock.errors import DriftlockError
from server.allocator import keep_freed_memory
from server.cli.options import load_settings
from server.compose import serve as serve_until_stopped
from server.logs import configure_logs
from server.process import Stopped
from server.terminal import visible


@click.command()
def serve() -> None:
    """Run the server: OTLP/gRPC on 4317, OTLP/HTTP on 4318, REST on 8080, until Ctrl-C.

    Without DATABASE_URL it brings its own PostgreSQL in the data folder, with a tenant `local` whose API key it prints.
    """
    settings = load_settings()
    log = configure_logs(settings.log_format, settings.log_level)
    keep_freed_memory()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve_until_stopped(settings, log, click.echo))
    except DriftlockError as error:
        _refuse(error.message)
    except OSError as error:
        _refuse(error.strerror or str(error))
    except Stopped as error:
        log.error("stopped by itself", exc_info=error)
        _refuse(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _refuse(reason: str) -> Never:
    raise click.ClickException(visible(reason))
