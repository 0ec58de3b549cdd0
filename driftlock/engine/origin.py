"""Where in somebody else's topic records stand, so that who journals them can tell what was journaled before.

A bridge that begins anew reads messages again, cuts and groups them otherwise, and may do so while the one before it still
writes. So nothing is said of groups: every record is of one message of its topic, and that message is taken once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from driftlock.engine.event import StreamKey

OFFSETS_MAX = 100_000
OFFSET_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Origin:
    """The messages of a partition that a submission is made of.

    `topic_id` tells a topic from one of its name before ("" = unknown). All messages before `base` were handed over and
    acknowledged, or set aside, before this one was written.
    Either all records are of the message at `offset`, of which this is part `part` of `parts`, and `plan` tells how it was cut
    (equal plans, equal parts); or `offset` is None, and `offsets` has one message for each record of a stream, ascending.

    >>> Origin("otlp_logs", 3, "", base=40, offset=41).place
    ('otlp_logs', '', 3)
    """

    topic: str
    partition: int
    topic_id: str
    base: int
    offset: int | None = None
    offsets: Mapping[StreamKey, Sequence[int]] = field(default_factory=dict)
    plan: str = ""
    part: int = 0
    parts: int = 1

    @property
    def place(self) -> tuple[str, str, int]:
        """The topic, its id and the partition."""
        return (self.topic, self.topic_id, self.partition)


def ranges_text(offsets: Iterable[int]) -> str:
    """Ascending numbers, each once, as ranges.

    >>> ranges_text([3, 4, 5, 9])
    '3-5,9'
    """
    told: list[str] = []
    first = last = -2
    for offset in offsets:
        if offset != last + 1:
            if first >= 0:
                told.append(_range(first, last))
            first = offset
        last = offset
    if first >= 0:
        told.append(_range(first, last))
    return ",".join(told)


def parse_ranges(text: str) -> list[int]:
    """The numbers of `ranges_text`; ValueError for anything else, and for more than `OFFSETS_MAX`.

    >>> parse_ranges("3-5,9")
    [3, 4, 5, 9]
    """
    found: list[int] = []
    last = -1
    for part in text.split(",") if text else ():
        low, dash, high = part.partition("-")
        first, stop = number(low), number(high if dash else low)
        if first <= last or stop < first or len(found) + stop - first >= OFFSETS_MAX:
            raise ValueError("offsets are not ascending, or too many")
        found.extend(range(first, stop + 1))
        last = stop
    return found


def number(text: str) -> int:
    """A decimal number from 0 to `OFFSET_MAX`; ValueError for anything else."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(OFFSET_MAX)) and int(text) <= OFFSET_MAX):
        raise ValueError("not a number")
    return int(text)


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
