"""One fault is one finding: what says the same of the same service shortly after is not told."""

from collections.abc import Iterable
from typing import NamedTuple

from cbad_cy.judgement import Judgement
from driftlock.engine.limits import SECOND_NS

JOINED_NS = 60 * SECOND_NS
"""For so long of event time after a finding, judgements that say the same of the same service join it."""

STRONGER = 2.0
"""A judgement with so many times the bits of that finding is told nevertheless."""


class ToldOf(NamedTuple):
    """The finding that others join: what it said, the number of its first suspect, when it was told, its bits."""

    about: str
    service: int
    time_ns: int
    bits: float


def about(it: Judgement) -> str:
    """What a judgement says, however it came to that: its question, and of parts of traces whether they are new or missing.

    A part that is repeated is neither: one call may be repeated where another is left out.
    """
    if not it.subtree:
        return it.question
    if it.measure == "repeats":
        return f"{it.question} repeated"
    return f"{it.question} {'missing' if min(sign for _, _, sign, _ in it.subtree) < 0 else 'new'}"


class Joining:
    """Which judgements are told.

    A fault shows on the edge where it is, in its service as a whole, on an instance, and in the traces of each root operation;
    the first of these judgements is told with the other odd calls of that moment. The time of the finding counts, not that of
    what joined it, so that there is one a minute while something goes on. The rule looks at one judgement after another of a
    question, in the order in which traces close, so that cuts of rows change nothing.
    """

    def __init__(self) -> None:
        self._told: dict[tuple[str, int], ToldOf] = {}

    def tells(self, it: Judgement, service: int) -> bool:
        """Whether a judgement whose first suspect is `service` is a finding of its own; it is remembered then.

        What nobody (0) is suspected of is none.
        """
        if not service:
            return False
        of = about(it), service
        told = self._told.get(of)
        if told is not None and it.time_ns - told.time_ns < JOINED_NS and it.surprise < STRONGER * told.bits:
            return False
        self._told = {key: other for key, other in self._told.items() if it.time_ns - other.time_ns < JOINED_NS}
        self._told[of] = ToldOf(*of, it.time_ns, it.surprise)
        return True

    @property
    def told(self) -> tuple[ToldOf, ...]:
        """The findings that others may join, by what they say and service."""
        return tuple(self._told[key] for key in sorted(self._told))

    def restore(self, told: Iterable[ToldOf]) -> None:
        """Continue from what was stored."""
        self._told = {(it.about, it.service): it for it in told}
