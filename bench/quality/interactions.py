"""Driftlock's interactions as the benchmark drives them: the fold that a stream with a `group_by` runs, and nothing else."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from driftlock.engine.interaction import InteractionLimits, Interactions, InteractionVerdict
from driftlock.engine.interaction_key import GroupBy

BATCH_EVENTS = 1000


@dataclass(frozen=True, slots=True)
class Watched:
    """Of each interaction, by the index of its first event: its highest score in bits, and whether it alarmed."""

    scores: dict[int, float]
    alarmed: frozenset[int]


class _Watch:
    """Keeps the highest score of each interaction; what was seen while the stream still learned does not count."""

    def __init__(self) -> None:
        self.scores: dict[int, float] = {}

    def __call__(self, verdict: InteractionVerdict) -> None:
        if verdict.decided:
            self.scores[verdict.first_event] = max(self.scores.get(verdict.first_event, 0.0), verdict.bits)


def watched(lines: Sequence[bytes], times_ns: Sequence[int], group_by: str, rate: float) -> Watched:
    """All interactions of a file of lines, those that are still open at its end closed then; alarms at p-values of `rate`."""
    interactions, watch, alarmed = (
        Interactions(GroupBy.parse(group_by), InteractionLimits()),
        _Watch(),
        list[InteractionVerdict](),
    )
    for start in range(0, len(lines), BATCH_EVENTS):
        part = lines[start : start + BATCH_EVENTS]
        alarmed += interactions.fold(
            b"".join(part),
            array("I", map(len, part)),
            array("Q", times_ns[start : start + BATCH_EVENTS]),
            trace_ids=b"",
            first_event=start,
            p_value_threshold=rate,
            observer=watch,
        )
    alarmed += interactions.finish(p_value_threshold=rate, observer=watch)
    return Watched(watch.scores, frozenset(verdict.first_event for verdict in alarmed))
