"""Incidents in the terminal: a table, the novel bytes highlighted, and nothing in a log line able to act on the screen."""

from collections.abc import Sequence

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from server.report.episodes import Episode, StreamReport, ToldLine
from server.terminal import visible

NOVEL = "bold black on yellow"
LINES_SHOWN = 5
LINE_CHARS_MAX = 400


def line_text(line: ToldLine) -> Text:
    """A line of a finding with its novel segments highlighted; brackets mark them where there is no colour."""
    text = Text(no_wrap=False, overflow="fold")
    shown = 0
    for part, novel in line.pieces:
        piece = visible(part)
        room = LINE_CHARS_MAX - shown
        if room <= 0:
            text.append(" …", "dim")
            break
        if novel:
            text.append(f"[{piece[:room]}]", NOVEL)
        else:
            text.append(piece[:room])
        shown += len(piece)
    if line.count > 1:
        text.append(f"  ({line.count} alike)", "dim")
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
        told = episode.strangest
        shown = [line_text(line) for line in told.lines[:LINES_SHOWN]]
        windows = f"{episode.findings} windows" if episode.findings > 1 else "1 window"
        result.add_row(
            f"{_shown_time(episode.start)}\n{_shown_time(episode.end)}",
            f"{episode.first_event}-\n{episode.last_event}\n{windows}",
            f"{told.ncd:.3f}",
            f"{told.p_value:.4f}",
            Group(Text(visible(told.explanation), "italic"), *shown),
        )
    return result


def _shown_time(time: str | None) -> str:
    return (time or "no time")[:19].replace("T", " ")


def print_report(console: Console, report: StreamReport) -> None:
    """What was found in a stream: its incidents, oldest first, each told by its strangest window."""
    name = visible(report.name)
    if not report.findings:
        console.print(f"{name}: nothing in these lines that the stream's past does not explain.", markup=False)
        return
    shown = len(report.episodes)
    told = f"{counted(report.incidents, 'incident')} of {counted(report.findings, 'finding')}"
    part = f", the {shown} strangest shown" if shown < report.incidents else ""
    console.print(f"{name}: {told}{part}. [Brackets] mark bytes that the past does not explain.", markup=False)
    console.print(table(report.episodes))


def counted(count: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "finding"), counted(1200, "finding")
    ('1 finding', '1,200 findings')
    """
    return f"{count:,} {noun}" + "s" * (count != 1)
