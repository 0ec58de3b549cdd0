"""`driftlock score --signal spans`: spans in; what their services say, their traces, and incidents over services out."""

from collections.abc import Iterator, Sequence

from driftlock.engine.canonical import CanonicalLimits
from driftlock.engine.profile import Profile
from server.cli.json_input import BadLines, write_out
from server.logfile.lines import split_lines
from server.logfile.source import Input
from server.offline.events import LINE_BYTES_MAX, BadLine, TooManyStreams
from server.offline.spans import SpanLine, SpanReader
from server.offline.traces import SpanScorer


def score_spans(
    files: Sequence[str], profile: Profile, bad: BadLines, *, seed: int, events: bool, alerts_per_day: int | None
) -> None:
    """Score the spans of files, of standard input without any."""
    scorer = SpanScorer(profile, seed=seed, events=events, alerts_per_day=alerts_per_day)
    reader = SpanReader(CanonicalLimits())
    for name in files or ("-",):
        for portion in _portions(Input(name), reader, bad):
            write_out(scorer.take(portion))
            if bad.refused:
                write_out(scorer.finish())
            bad.check()
    write_out(scorer.finish())


def _portions(source: Input, reader: SpanReader, bad: BadLines) -> Iterator[list[SpanLine]]:
    """Spans in lists of those that could be read without waiting for more; those before a line that stops the run."""
    source.check()
    number = 0
    for lines in split_lines(source.portions(), LINE_BYTES_MAX):
        spans: list[SpanLine] = []
        for line in lines:
            number += 1
            if line and not line.isspace():
                try:
                    spans.append(reader.span(line))
                except TooManyStreams as error:
                    bad.stop(f"{source.shown}, line {number}", error)
                except BadLine as error:
                    bad.bad(f"{source.shown}, line {number}", error)
                if bad.refused:
                    break
        yield spans
