"""Findings in the terminal: a table, the novel bytes highlighted, and nothing in a log line able to act on the screen."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from server.replay.run import Episode, Outcome
from server.terminal import visible

NOVEL = "bold black on yellow"
LINES_SHOWN = 5
LINE_CHARS_MAX = 400


def line_text(line: Mapping[str, Any]) -> Text:
    """A line of a finding with its novel segments highlighted; brackets mark them where there is no colour."""
    text = Text(no_wrap=False, overflow="fold")
    shown = 0
    for segment in line["segments"]:
        piece = visible(segment["text"])
        room = LINE_CHARS_MAX - shown
        if room <= 0:
            text.append(" …", "dim")
            break
        if segment["novel"]:
            text.append(f"[{piece[:room]}]", NOVEL)
        else:
            text.append(piece[:room])
        shown += len(piece)
    if line["count"] > 1:
        text.append(f"  ({line['count']} alike)", "dim")
    return text


def table(episodes: Sequence[Episode]) -> Table:
    """One row an incident, in the order given: when, which events, how strange, how rare, and the bytes that are new."""
    result = Table(show_lines=True, expand=True)
    result.add_column("time (UTC)", no_wrap=True, min_width=19)
    result.add_column("events", no_wrap=True)
    result.add_column("distance", no_wrap=True, justify="right")
    result.add_column("p", no_wrap=True, justify="right")
    result.add_column("what is new", ratio=1, overflow="fold")
    for episode in episodes:
        finding = episode.strangest
        lines = finding.get("lines") or [line for line in [finding.get("top_line")] if line]
        shown = [line_text(line) for line in lines[:LINES_SHOWN]]
        windows = f"{episode.findings} windows" if episode.findings > 1 else "1 window"
        result.add_row(
            f"{_shown_time(episode.start)}\n{_shown_time(episode.end)}",
            f"{episode.first_event}-\n{episode.last_event}\n{windows}",
            f"{finding['ncd']:.3f}",
            f"{finding['p_value']:.4f}",
            Group(Text(visible(finding["explanation"]), "italic"), *shown),
        )
    return result


def _shown_time(time: str | None) -> str:
    return (time or "no time")[:19].replace("T", " ")


def print_findings(console: Console, outcome: Outcome) -> None:
    """What was found in a stream: its incidents, oldest first, each told by its strangest window."""
    slug = visible(outcome.slug)
    if not outcome.findings:
        console.print(f"{slug}: nothing in these lines that the stream's past does not explain.", markup=False)
        return
    found, incidents, shown = len(outcome.findings), outcome.incidents, len(outcome.episodes)
    noun = "1 incident" if incidents == 1 else f"{incidents} incidents"
    of = "1 finding" if found == 1 else f"{found} findings"
    part = f", the {shown} strangest shown" if shown < incidents else ""
    console.print(f"{slug}: {noun} of {of}{part}. [Brackets] mark bytes that the past does not explain.", markup=False)
    console.print(table(outcome.episodes))
