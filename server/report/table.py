"""Incidents in the terminal: a table, the novel bytes highlighted, and nothing in a log line able to act on the screen."""

from collections.abc import Sequence

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from driftlock.engine.explanation.paths import BODY
from server.report.episodes import Episode, StreamReport, Told, ToldLine, ToldMissing
from server.terminal import visible

NOVEL = "bold black on yellow"
LINES_SHOWN = 5
LINE_CHARS_MAX = 400
PATHS_CHARS_MAX = 100


def line_text(line: ToldLine) -> Text:
    """A line of a finding with its novel segments highlighted (brackets mark them without colour), bits and places."""
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
    notes = [f"{line.count} alike"] * (line.count > 1)
    notes += [f"{line.bits:.0f} bits"] * (line.bits > 0)
    notes += [f"in {visible(', '.join(line.paths))[:PATHS_CHARS_MAX]}"] * any(path != BODY for path in line.paths)
    if notes:
        text.append(f"  ({'; '.join(notes)})", "dim")
    return text


def missing_text(line: ToldMissing) -> Text:
    """A usual line that did not come."""
    often = f"{line.observed:.0f} times, usually {line.expected:.0f}"
    return Text(f"missing: {visible(line.text)[:LINE_CHARS_MAX]}  ({often})", "dim", overflow="fold")


def what_text(told: Told) -> Group:
    """All that a finding says: its sentence, the lines it is about, those that are missing, and the proof."""
    parts = [Text(visible(told.explanation), "italic"), *map(line_text, told.lines[:LINES_SHOWN])]
    parts += map(missing_text, told.missing[:LINES_SHOWN])
    if told.p_without is not None:
        parts.append(Text(f"verified: without these lines p is {told.p_without:.3f}", "dim"))
    return Group(*parts)


def table(episodes: Sequence[Episode]) -> Table:
    """One row an incident, in the order given: when, which events, how strange, how rare, and why."""
    result = Table(show_lines=True, expand=True)
    result.add_column("time (UTC)", no_wrap=True, min_width=19)
    result.add_column("events", no_wrap=True)
    result.add_column("distance", no_wrap=True, justify="right")
    result.add_column("p", no_wrap=True, justify="right")
    result.add_column("what is unusual", ratio=1, overflow="fold")
    for episode in episodes:
        told = episode.strangest
        windows = f"{episode.findings} windows" if episode.findings > 1 else "1 window"
        result.add_row(
            f"{_shown_time(episode.start)}\n{_shown_time(episode.end)}",
            f"{episode.first_event}-\n{episode.last_event}\n{windows}",
            f"{told.ncd:.3f}\n{visible(told.question)}",
            f"{told.p_value:.4f}",
            what_text(told),
        )
    return result


def _shown_time(time: str | None) -> str:
    return (time or "no time")[:19].replace("T", " ")


def print_report(console: Console, report: StreamReport, *, quick: bool = False) -> None:
    """What was found in a stream: its incidents, oldest first, each told by its strangest window.

    `quick`: the input was too short for calibrated verdicts, so that finding nothing does not say that nothing is new.
    """
    name = visible(report.name)
    if not report.findings:
        calm = "no window is unusual enough" if quick else "nothing in these lines that the stream's past does not explain"
        console.print(f"{name}: {calm}.", markup=False)
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
