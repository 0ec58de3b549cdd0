"""`driftlock version`."""

import platform

import click
import grpc

import driftlock
from cbad_cy.codec import Codec


@click.command()
def version() -> None:
    """Show the versions that can change a verdict or an answer."""
    codec = Codec("zstd")
    click.echo(f"driftlock {driftlock.__version__}")
    click.echo(f"python {platform.python_version()}  grpcio {grpc.__version__}  {codec.name} {codec.version}")
