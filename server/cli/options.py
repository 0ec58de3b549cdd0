"""What several commands share: settings or a clean refusal, and the options of commands that talk to a server."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import click

from server.settings import SettingError, Settings, parse_target, parse_url, read_settings

Command = TypeVar("Command", bound=Callable[..., Any])


def load_settings() -> Settings:
    """The settings of this process; a wrong one ends the command with its line."""
    try:
        return read_settings()
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
