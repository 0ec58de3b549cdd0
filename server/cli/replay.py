"""`driftlock replay`: log files into a server, findings back out."""

import json
import time
from collections.abc import Sequence
from contextlib import closing

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from server.cli.options import client_settings, server_options
from server.client import ClientError, RestClient, find_endpoints
from server.replay.findings import print_findings
from server.replay.reader import LineFile, ReplayError
from server.replay.run import Outcome, Replay, ReplayOptions
from server.replay.sender import Sender
from server.replay.timestamps import parse_iso, parse_number
from server.terminal import visible

RECORDS_MAX = 10_000
SCORE_FOR_S = 120.0
CONSOLE_WIDTH = 120


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--service", help="service.name of the lines. Default: each file's name without its endings.")
@click.option("--live", is_flag=True, help="Not marked as a replay of the past (driftlock.historical).")
@click.option("--batch", default=1000, show_default=True, type=click.IntRange(1, RECORDS_MAX), help="Lines in a request.")
@click.option(
    "--base-time", help="When a file without times begins, and the year of times without one: ISO 8601 or Unix. Default: now."
)
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
    base_time: str | None,
    show: int,
    as_json: bool,
    retry_for: float,
    otlp_endpoint: str | None,
    endpoint: str | None,
    api_key: str | None,
) -> None:
    """Replay log FILEs (plain, JSON lines, .gz, .zst; - is standard input) as OTLP logs, each line at its own time.

    A JSON line {"time": ..., "text": ...} is that text at that time; times in plain text are recognised where lines
    begin with one of the usual forms, without a zone as UTC. Exits with 1 if anything is lost.
    """
    base_ns = time.time_ns() if base_time is None else _parse_base(base_time)
    options = ReplayOptions(
        historical=not live,
        batch_records=batch,
        observed_ns=time.time_ns(),
        show_max=0 if as_json else show,
        score_for_s=max(SCORE_FOR_S, retry_for),
    )
    inputs = [LineFile(name, base_ns) for name in files]
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
            before = {name: run.events_before(name) for name in {service or file.stem for file in inputs}}
            _send_all(run, inputs, service, notes)
            outcomes = [_collect(run, name, first, notes) for name, first in sorted(before.items())]
            if as_json:
                _print_json(run, outcomes)
    except (ReplayError, ClientError) as error:
        raise click.ClickException(visible(str(error))) from None
    if not as_json:
        _show(outcomes)
    if sender.counts.rejected:
        reasons = "; ".join(visible(reason) for reason in sender.counts.reasons)
        raise click.ClickException(f"{sender.counts.rejected} lines were rejected by the server: {reasons}")


def _parse_base(text: str) -> int:
    """Nanoseconds of --base-time."""
    try:
        found = parse_number(float(text))
    except ValueError:
        found = parse_iso(text if ":" in text else f"{text}T00:00:00")
    if found is None:
        raise click.BadParameter("use a time such as 2024-05-01T10:00:00Z, or Unix seconds", param_hint="--base-time")
    return found


def _send_all(run: Replay, inputs: Sequence[LineFile], service: str | None, notes: Console) -> None:
    """Send every file, with a progress bar on a terminal and one line a file anyhow."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[lines]:,} lines  {task.fields[rate]:,.0f} lines/s"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=notes, disable=not notes.is_terminal, transient=True) as progress:
        for file in inputs:
            task = progress.add_task(visible(file.name), total=file.size_bytes, lines=0, rate=0.0)
            began_s, sent = time.monotonic(), 0

            def advance(records: int, task: TaskID = task, file: LineFile = file, began_s: float = began_s) -> None:
                nonlocal sent
                sent += records
                rate = sent / max(time.monotonic() - began_s, 1e-9)
                progress.update(task, completed=file.counts.bytes_read, lines=sent, rate=rate)

            run.send(file, service or file.stem, advance)
            took_s = max(time.monotonic() - began_s, 1e-9)
            notes.print(_summary(file, sent, took_s), markup=False, soft_wrap=True)


def _summary(file: LineFile, sent: int, took_s: float) -> str:
    counts = file.counts
    parts = [f"{visible(file.name)}: {sent:,} lines acknowledged in {took_s:.1f} s, {sent / took_s:,.0f} lines/s"]
    without = counts.lines - counts.stamped
    for number, what in (
        (without, "without a time of their own"),
        (counts.blank, "blank, skipped"),
        (counts.cut, "cut to 64 KiB"),
        (counts.not_utf8, "not UTF-8, replaced by U+FFFD in places"),
        (counts.not_json, "not JSON objects, sent as text"),
    ):
        if number:
            parts.append(f"{number:,} {what}")
    return "; ".join(parts)


def _collect(run: Replay, service: str, first_event: int, notes: Console) -> Outcome:
    with notes.status("scoring", spinner="dots") as status:
        stream_id = run.wait_scored(service, lambda pending: status.update(f"scoring, {pending:,} lines to go"))
        return run.outcome(stream_id, first_event)


def _print_json(run: Replay, outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        for finding in outcome.findings:
            click.echo(json.dumps(run.in_full(finding), sort_keys=True))


def _show(outcomes: Sequence[Outcome]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=CONSOLE_WIDTH)
    for outcome in outcomes:
        print_findings(console, outcome)
        if outcome.events_needed:
            console.print(f"({outcome.status}: {outcome.events_needed} more events until it is calibrated)", markup=False)
