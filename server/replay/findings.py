"""Findings in the terminal: a table, the novel bytes highlighted, and nothing in a log line able to act on the screen."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from server.terminal import visible

NOVEL = "bold black on yellow"
LINES_SHOWN = 3
LINE_CHARS_MAX = 400
Finding = Mapping[str, Any]


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


def table(findings: Sequence[Finding]) -> Table:
    """One row a finding, in the order given: when, which events, how strange, how rare, and the bytes that are new."""
    result = Table(show_lines=True, expand=True)
    result.add_column("time (UTC)", no_wrap=True, min_width=19)
    result.add_column("events", no_wrap=True)
    result.add_column("distance", no_wrap=True, justify="right")
    result.add_column("p", no_wrap=True, justify="right")
    result.add_column("what is new", ratio=1, overflow="fold")
    for finding in findings:
        lines = finding.get("lines") or [line for line in [finding.get("top_line")] if line]
        shown = [line_text(line) for line in lines[:LINES_SHOWN]]
        result.add_row(
            (finding["start"] or "no time")[:19].replace("T", " "),
            f"{finding['first_event']}-{finding['last_event']}",
            f"{finding['ncd']:.3f}",
            f"{finding['p_value']:.4f}",
            Group(Text(visible(finding["explanation"]), "italic"), *shown),
        )
    return result


def print_findings(console: Console, slug: str, findings: Sequence[Finding], found: int) -> None:
    """The findings of a stream, oldest first; `found` of them in all, of which the strangest are given."""
    if not found:
        console.print(f"{visible(slug)}: nothing in these lines that the stream's past does not explain.", markup=False)
        return
    noun = "finding" if found == 1 else "findings"
    part = f", the {len(findings)} strangest shown" if len(findings) < found else ""
    console.print(f"{visible(slug)}: {found} {noun}{part}. [Brackets] mark bytes that the past does not explain.", markup=False)
    console.print(table(findings))
