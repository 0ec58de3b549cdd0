"""What several commands share: settings or a clean refusal, options, and the console that results are shown on."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from server.addresses import parse_target
from server.logfile.timestamps import parse_iso, parse_number
from server.report.picture import Picture, PictureError
from server.setting_parsers import parse_url
from server.settings import SettingError, Settings, read_settings

Command = TypeVar("Command", bound=Callable[..., Any])
CONSOLE_WIDTH = 120  # where there is no terminal


def load_settings(port_field: str = "http") -> Settings:
    """The settings of this process; a wrong one ends the command with its line. `port_field`: what `PORT` stands for."""
    try:
        return read_settings(port_field)
    except SettingError as error:
        raise click.ClickException(str(error)) from None


def server_options(command: Command) -> Command:
    """`--endpoint` and `--api-key`, which win over their environment variables."""
    key = click.option("--api-key", help="API key. Default: DRIFTLOCK_API_KEY, else the key in the data folder.")
    endpoint = click.option("--endpoint", help="REST address, http(s)://host:port. Default: DRIFTLOCK_ENDPOINT, else local.")
    return endpoint(key(command))


def client_settings(endpoint: str | None, api_key: str | None, otlp_endpoint: str | None = None) -> Settings:
    """Settings with the options of one command laid over them."""
    settings = load_settings()
    try:
        if endpoint is not None:
            settings = replace(settings, endpoint=parse_url("http", "https")(endpoint))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--endpoint") from None
    try:
        if otlp_endpoint is not None:
            settings = replace(settings, otlp_endpoint=parse_target(otlp_endpoint))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--otlp-endpoint") from None
    return settings if api_key is None else replace(settings, api_key=api_key)


def base_time_option(command: Command) -> Command:
    """`--base-time`, in nanoseconds as the argument `base_ns`."""
    return click.option(
        "--base-time",
        "base_ns",
        callback=lambda _context, _option, text: _base_ns(text),
        help="When a file without times begins, and the year of times without one: ISO 8601 or Unix. Default: now.",
    )(command)


def _base_ns(text: str | None) -> int:
    if text is None:
        return time.time_ns()
    try:
        found = parse_number(float(text))
    except ValueError:
        found = parse_iso(text if ":" in text else f"{text}T00:00:00")
    if found is None:
        raise click.BadParameter("use a time such as 2024-05-01T10:00:00Z, or Unix seconds")
    return found


def plot_option(told: str) -> Callable[[Command], Command]:
    """`--plot`, as the argument `picture`: a file that can be written, by its ending and its folder, or None."""
    return click.option("--plot", "picture", callback=_picture, metavar="FILE.svg|.png", help=told)


def _picture(_context: click.Context, _option: click.Parameter, path: str | None) -> Picture | None:
    try:
        return None if path is None else Picture(Path(path))
    except PictureError as error:
        raise click.BadParameter(str(error)) from None


def result_console() -> Console:
    """Standard output, of a fixed width where it is no terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=CONSOLE_WIDTH)
