"""`driftlock api`."""

import asyncio
import sys
from typing import Never

import click
import uvloop

from driftlock.errors import DriftlockError
from server.allocator import keep_freed_memory
from server.api_role import run_api
from server.cli.options import load_settings
from server.logs import configure_logs
from server.process import Stopped
from server.terminal import visible


@click.command("api")
def api_command() -> None:
    """Serve REST alone, until Ctrl-C, beside workers or a server that own the journal.

    Needs DATABASE_URL, and with workers DRIFTLOCK_KAFKA_BOOTSTRAP_SERVERS, as they have it. PORT names its port.
    """
    settings = load_settings()
    log = configure_logs(settings.log_format, settings.log_level)
    keep_freed_memory()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run_api(settings, log, click.echo))
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
