"""`driftlock replay`: log files into a server, findings back out."""

import json
import time
from collections.abc import Sequence
from contextlib import closing

import click
from rich.console import Console

from server.cli.options import base_time_option, client_settings, result_console, server_options
from server.cli.progress import read_files
from server.client import ClientError, RestClient, find_endpoints
from server.logfile.reader import LogFile
from server.logfile.source import LogFileError
from server.replay.run import Outcome, Replay, ReplayOptions
from server.replay.sender import ReplayError, Sender
from server.report.table import print_report
from server.terminal import visible

RECORDS_MAX = 10_000
SCORE_FOR_S = 120.0


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--service", help="service.name of the lines. Default: each file's name without its endings.")
@click.option("--live", is_flag=True, help="Not marked as a replay of the past (driftlock.historical).")
@click.option("--batch", default=1000, show_default=True, type=click.IntRange(1, RECORDS_MAX), help="Lines in a request.")
@base_time_option
@click.option("--show", default=20, show_default=True, type=click.IntRange(1, 1000), help="Most incidents in the table.")
@click.option("--json", "as_json", is_flag=True, help="Print all findings as JSON lines instead of a table.")
@click.option("--retry-for", default=300.0, show_default=True, help="Seconds to wait for a server that goes away.")
@click.option("--otlp-endpoint", help="OTLP/gRPC address, host:port. Default: DRIFTLOCK_OTLP_ENDPOINT, else the local server.")
@server_options
def replay(
    files: Sequence[str],
    service: str | None,
    live: bool,
    batch: int,
    base_ns: int,
    show: int,
    as_json: bool,
    retry_for: float,
    otlp_endpoint: str | None,
    endpoint: str | None,
    api_key: str | None,
) -> None:
    """Replay log FILEs (plain, JSON lines, .gz, .zst, .lz4; - is standard input) as OTLP logs, each line at its own time.

    A JSON line {"time": ..., "text": ...} is that text at that time; times in plain text are recognised where lines
    begin with one of the usual forms, without a zone as UTC. Exits with 1 if anything is lost.
    """
    options = ReplayOptions(
        historical=not live,
        batch_records=batch,
        observed_ns=time.time_ns(),
        show_max=0 if as_json else show,
        score_for_s=max(SCORE_FOR_S, retry_for),
    )
    inputs = [LogFile(name, base_ns) for name in files]
    notes = Console(stderr=True, highlight=False)
    try:
        endpoints = find_endpoints(client_settings(endpoint, api_key, otlp_endpoint))
        for file in inputs:
            file.check()
        sender = Sender(
            endpoints.otlp_grpc,
            endpoints.api_key,
            clock_s=time.monotonic,
            sleep_s=time.sleep,
            retry_for_s=retry_for,
            notice=lambda why: notes.print(f"waiting for the server: {visible(why)}", markup=False, soft_wrap=True),
        )
        with closing(sender), closing(RestClient(endpoints.rest, endpoints.api_key)) as rest:
            run = Replay(sender, rest, options, clock_s=time.monotonic, sleep_s=time.sleep)
            before = {name: run.events_before(name) for name in {service or file.input.stem for file in inputs}}
            read_files(
                inputs,
                lambda file, advance: run.send(file, service or file.input.stem, advance),
                done="acknowledged",
                notes=notes,
            )
            outcomes = [_collect(run, name, first, notes) for name, first in sorted(before.items())]
            if as_json:
                _print_json(run, outcomes)
    except (LogFileError, ReplayError, ClientError) as error:
        raise click.ClickException(visible(str(error))) from None
    if not as_json:
        _show(outcomes)
    if sender.counts.rejected:
        reasons = "; ".join(visible(reason) for reason in sender.counts.reasons)
        raise click.ClickException(f"{sender.counts.rejected} lines were rejected by the server: {reasons}")


def _collect(run: Replay, service: str, first_event: int, notes: Console) -> Outcome:
    with notes.status("scoring", spinner="dots") as status:
        stream_id = run.wait_scored(service, lambda pending: status.update(f"scoring, {pending:,} lines to go"))
        return run.outcome(stream_id, first_event)


def _print_json(run: Replay, outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        for finding in outcome.findings:
            click.echo(json.dumps(run.in_full(finding), sort_keys=True))


def _show(outcomes: Sequence[Outcome]) -> None:
    console = result_console()
    for outcome in outcomes:
        print_report(console, outcome.report)
        if outcome.events_needed:
            console.print(f"({outcome.status}: {outcome.events_needed} more events until it is calibrated)", markup=False)
