"""`driftlock bridge`."""

import asyncio
import importlib.util
import sys
from typing import Never

import click
import uvloop

from driftlock.errors import DriftlockError
from server.allocator import keep_freed_memory
from server.cli.options import load_settings
from server.logs import configure_logs
from server.process import Stopped
from server.terminal import visible


@click.command()
def bridge() -> None:
    """Take what other producers have put into Kafka and hand it over to workers, until Ctrl-C.

    Needs DATABASE_URL, DRIFTLOCK_KAFKA_BOOTSTRAP_SERVERS and DRIFTLOCK_KAFKA_SOURCES.
    """
    settings = load_settings()
    if importlib.util.find_spec("confluent_kafka") is None:
        _refuse("the Kafka client is not installed: pip install 'driftlock[kafka]'")
    from server.bridge import run_bridge  # an optional dependency: after the check

    log = configure_logs(settings.log_format, settings.log_level)
    keep_freed_memory()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run_bridge(settings, log, click.echo))
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
