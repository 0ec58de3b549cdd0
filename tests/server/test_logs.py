import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from server.logs import configure_logs


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_json_lines_carry_level_time_and_values() -> None:
    stream = io.StringIO()
    configure_logs("json", "info", stream).info("ready", port=4317)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"], line["port"]) == ("ready", "info", 4317)
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_value_can_not_forge_a_line_or_act_on_the_terminal(log_format: str) -> None:
    stream = io.StringIO()
    log = configure_logs(log_format, "info", stream)
    log.warning("refused", who="x\n2026-01-01 [error] forged\x1b[2J")
    text = stream.getvalue()
    assert len(text.splitlines()) == 1
    assert "\x1b" not in text


def test_levels_below_the_threshold_are_dropped() -> None:
    stream = io.StringIO()
    log = configure_logs("json", "warning", stream)
    log.info("quiet")
    logging.getLogger("driftlock.storage").info("quiet too")
    assert stream.getvalue() == ""


def test_the_standard_library_goes_through_the_same_pipe() -> None:
    stream = io.StringIO()
    configure_logs("json", "info", stream)
    logging.getLogger("driftlock.storage").error("lost %s", "a\x1bb")
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"]) == ("lost a\\x1bb", "error")


def test_libraries_are_quiet_below_warnings() -> None:
    stream = io.StringIO()
    configure_logs("json", "debug", stream)
    logging.getLogger("uvicorn.error").info("Started server process")
    assert stream.getvalue() == ""
    logging.getLogger("uvicorn.error").warning("trouble")
    assert "trouble" in stream.getvalue()


def test_an_exception_keeps_its_lines_on_the_console() -> None:
    stream = io.StringIO()
    log = configure_logs("console", "info", stream)
    try:
        raise ValueError("bad\x1b")
    except ValueError:
        log.exception("failed")
    text = stream.getvalue()
    assert "ValueError: bad\\x1b" in text
    assert "Traceback" in text.splitlines()[1]
