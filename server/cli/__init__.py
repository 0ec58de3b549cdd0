"""The `driftlock` command. Every failure is one line on stderr and an exit code that is not 0."""

import click

from server.cli.database import key, migrate, tenant
from server.cli.detect import detect
from server.cli.doctor import doctor
from server.cli.replay import replay
from server.cli.score import score
from server.cli.serve import serve
from server.cli.version import version


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    commands=[serve, detect, score, replay, migrate, tenant, key, doctor, version],
)
def main() -> None:
    """Driftlock: be told what changed in your telemetry, and shown the very bytes that are new.

    Settings are environment variables (docs/configuration.md); `driftlock serve` works without any.
    """
