"""`driftlock score --signal spans`: spans in; what their services say, their traces, and incidents over services out."""

from collections.abc import Iterator, Sequence

from driftlock.engine.canonical import CanonicalLimits
from driftlock.engine.limits import Limits
from driftlock.engine.profile import Profile
from server.cli.json_input import BadLines, write_out
from server.logfile.lines import split_lines
from server.logfile.source import Input
from server.offline.belief import Belief, Decided, Numbered
from server.offline.events import LINE_BYTES_MAX, BadLine, TooManyStreams
from server.offline.spans import SpanReader
from server.offline.traces import SpanScorer


def score_spans(
    files: Sequence[str], profile: Profile, bad: BadLines, *, seed: int, events: bool, alerts_per_day: int | None
) -> None:
    """Score the spans of files, of standard input without any."""
    run = _Run(SpanScorer(profile, seed=seed, events=events, alerts_per_day=alerts_per_day), bad)
    reader = SpanReader(CanonicalLimits())
    for name in files or ("-",):
        for portion in _portions(Input(name), reader, bad):
            run.take(portion)
            if bad.refused:
                run.finish()
            bad.check()
    run.finish()
    bad.check()


class _Run:
    """Spans on their way to the scorer, until a line stops the run."""

    def __init__(self, scorer: SpanScorer, bad: BadLines) -> None:
        self._scorer, self._bad = scorer, bad
        self._belief = Belief(Limits())
        self._stopped = False

    def take(self, portion: Sequence[Numbered]) -> None:
        """Score more of the input, as far as it is believed."""
        self._score(self._belief.sift(portion))

    def finish(self) -> None:
        """Score what was held, which comes before the line that stopped the run if one did; then tell what is open."""
        if not self._stopped:
            self._score(self._belief.rest())
        write_out(self._scorer.finish())

    def _score(self, decided: Decided) -> None:
        spans = []
        for it, believed in decided:
            if believed:
                spans.append(it.span)
            elif self._bad.bad(it.where, BadLine(self._belief.reason)):
                self._stopped = True
                break
        write_out(self._scorer.take(spans))


def _portions(source: Input, reader: SpanReader, bad: BadLines) -> Iterator[list[Numbered]]:
    """Spans in lists of those that could be read without waiting for more; those before a line that stops the run."""
    source.check()
    number = 0
    for lines in split_lines(source.portions(), LINE_BYTES_MAX):
        spans: list[Numbered] = []
        for line in lines:
            number += 1
            if line and not line.isspace():
                try:
                    spans.append(Numbered(source.shown, number, reader.span(line)))
                except TooManyStreams as error:
                    bad.stop(f"{source.shown}, line {number}", error)
                except BadLine as error:
                    bad.bad(f"{source.shown}, line {number}", error)
                if bad.refused:
                    break
        yield spans
