"""What was scored in each minute of event time of a stream, for charts: sums and extremes, not single windows.

Of lines a window belongs to the minute in which its last line lies; of metrics, what the series of one resource said in a
minute counts as a window. Traces have no windows: their minutes hold spans and findings.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from uuid import UUID

from cbad_cy.slide import MinuteTold
from driftlock.engine.fold import StreamFold, Summary
from driftlock.engine.limits import MINUTE_NS
from driftlock.engine.verdict import Finding

SCORE_MINUTES_MAX = 14 * 24 * 60
"""Minutes of a stream before its newest event that are kept; earlier ones are not counted any more."""


class MinuteScore(NamedTuple):
    """One minute, counted since 1970. `flagged` findings end in it; p-values are never 0, and 1 where nothing was judged.

    `surprise_max`, in bits, and `ncd_max` are the largest of its windows and findings, `p_value_min` is the smallest.
    """

    minute: int
    events: int = 0
    windows: int = 0
    flagged: int = 0
    surprise_max: float = 0.0
    ncd_max: float = 0.0
    p_value_min: float = 1.0

    def with_more(self, other: "MinuteScore") -> "MinuteScore":
        """The same minute, with what another part of its records said."""
        return MinuteScore(
            self.minute,
            self.events + other.events,
            self.windows + other.windows,
            self.flagged + other.flagged,
            max(self.surprise_max, other.surprise_max),
            max(self.ncd_max, other.ncd_max),
            min(self.p_value_min, other.p_value_min),
        )


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """What the rows of one step add to a minute of a stream."""

    tenant_id: UUID
    stream_id: UUID
    score: MinuteScore


class Scored(Protocol):
    """Whose records they were."""

    tenant_id: UUID
    stream_id: UUID
    fold: StreamFold


def score_rows(
    of: Scored, told: Iterable[MinuteTold], findings: Iterable[Finding], summaries: Iterable[Summary]
) -> tuple[ScoreRow, ...]:
    """What a journal row adds to the minutes of its stream."""
    scores = minute_scores(told, findings, summaries, of.fold.clock.watermark_ns)
    return tuple(ScoreRow(of.tenant_id, of.stream_id, score) for score in scores)


def minute_scores(
    told: Iterable[MinuteTold], findings: Iterable[Finding], summaries: Iterable[Summary], watermark_ns: int
) -> tuple[MinuteScore, ...]:
    """The minutes of one journal row, in ascending order; `watermark_ns` is the stream's newest event time."""
    parts = [MinuteScore(it.minute, it.events, it.windows, 0, it.surprise, it.distance, it.p_value) for it in told]
    parts += [
        MinuteScore(it.end_ns // MINUTE_NS, 0, 0, 1, max(0.0, it.surprise), max(0.0, it.ncd), it.p_value) for it in findings
    ]
    parts += [_of_summary(it) for it in summaries]
    oldest = watermark_ns // MINUTE_NS - SCORE_MINUTES_MAX
    by_minute: dict[int, MinuteScore] = {}
    for part in parts:
        if part.minute > oldest:
            known = by_minute.get(part.minute)
            by_minute[part.minute] = part if known is None else known.with_more(part)
    return tuple(by_minute[minute] for minute in sorted(by_minute))


def _of_summary(summary: Summary) -> MinuteScore:
    """What the series of a resource said, judged by the strongest; how unlikely that is together is said by findings alone."""
    surprise = max((it.bits for it in summary.strongest), default=0.0)
    distance = max((it.score for it in summary.strongest), default=0.0)
    return MinuteScore(summary.minute, 0, 1, 0, surprise, distance)


def added_up(rows: Sequence[ScoreRow]) -> tuple[ScoreRow, ...]:
    """One row for each minute of each stream, in the order of their keys: so steps take the rows of the table in one order."""
    by_key: dict[tuple[UUID, int], ScoreRow] = {}
    for row in rows:
        key = row.stream_id, row.score.minute
        known = by_key.get(key)
        by_key[key] = row if known is None else ScoreRow(row.tenant_id, row.stream_id, known.score.with_more(row.score))
    return tuple(by_key[key] for key in sorted(by_key))
