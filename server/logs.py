"""Structured logs on stderr, for people or for machines; library loggers go through the same pipe."""

import logging
import sys
import time
from collections.abc import Callable
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from server.log_rate import OncePerPeriod
from server.terminal import visible

NOISY_LIBRARIES = ("uvicorn.error",)
LINES_BURST = 5  # of one message, before it is written once in a while
PACED = frozenset({"requests refused", "records rejected"})  # one line a minute for each tenant, signal and reason
QUIET_LIBRARIES = ("asyncio", "grpc", "httpx", "httpcore", "uvicorn", "uvicorn.error", "uvicorn.access")


def escape_control_characters(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Values from outside can not forge log lines: control characters become escapes (a traceback keeps its line ends)."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = visible(value, keep="\n" if key == "exception" else "")
    return event


def configure_logs(log_format: str, log_level: str, stream: TextIO | None = None) -> FilteringBoundLogger:
    """Set up structlog and the standard library's logging for this process; returns the process's logger.

    `log_format` is `console` or `json`, `log_level` the least severe level written, `stream` stderr unless given.
    """
    target = stream or sys.stderr
    level = logging.getLevelNamesMapping()[log_level.upper()]
    before: list[Callable[[WrappedLogger, str, EventDict], EventDict]] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        escape_control_characters,
    ]
    renderer: structlog.types.Processor
    if log_format == "json":
        renderer = structlog.processors.JSONRenderer(default=str)
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=target.isatty(), pad_event_to=36, exception_formatter=structlog.dev.plain_traceback
        )
    structlog.configure(
        processors=[*before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    # An outage makes every part complain again and again, and some lines can be caused by whoever can connect.
    handler.addFilter(OncePerPeriod(time.monotonic, burst=LINES_BURST, level=logging.WARNING, paced=PACED))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    for name in NOISY_LIBRARIES:  # what anyone who can connect makes them say
        logger = logging.getLogger(name)
        logger.filters[:] = [OncePerPeriod(time.monotonic)]
    return cast(FilteringBoundLogger, structlog.get_logger("driftlock"))
