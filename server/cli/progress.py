"""Reading log files on the command line: a progress bar on a terminal, and one line a file about what was read."""

import time
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from server.logfile.reader import LogFile
from server.terminal import visible

Advance = Callable[[int], None]


def read_files(
    files: Sequence[LogFile], read: Callable[[LogFile, Advance], None], *, done: str, notes: Console, bar: bool = True
) -> None:
    """Call `read` for every file; it tells its second argument how many lines are `done` (the word for it)."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[lines]:,} lines  {task.fields[rate]:,.0f} lines/s"),
        TimeElapsedColumn(),
    )
    # What the command prints meanwhile goes where it belongs, not into the bar's stream.
    progress = Progress(
        *columns,
        console=notes,
        disable=not (bar and notes.is_terminal),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with progress:
        for file in files:
            task = progress.add_task(visible(file.input.name), total=file.input.size_bytes, lines=0, rate=0.0)
            began_s, count = time.monotonic(), 0

            def advance(lines: int, task: TaskID = task, file: LogFile = file, began_s: float = began_s) -> None:
                nonlocal count
                count += lines
                rate = count / max(time.monotonic() - began_s, 1e-9)
                progress.update(task, completed=file.input.bytes_read, lines=count, rate=rate)

            read(file, advance)
            took_s = max(time.monotonic() - began_s, 1e-9)
            notes.print(_summary(file, f"{count:,} lines {done}", count, took_s), markup=False, soft_wrap=True)


def _summary(file: LogFile, done: str, count: int, took_s: float) -> str:
    counts = file.counts
    parts = [f"{visible(file.input.name)}: {done} in {took_s:.1f} s, {count / took_s:,.0f} lines/s"]
    without = counts.lines - counts.stamped
    for number, what in (
        (without, "without a time of their own"),
        (counts.blank, "blank, skipped"),
        (counts.cut, "cut to 64 KiB"),
        (counts.not_utf8, "not UTF-8, replaced by U+FFFD in places"),
        (counts.not_json, "not JSON objects, taken as text"),
    ):
        if number:
            parts.append(f"{number:,} {what}")
    return "; ".join(parts)
