"""What was journaled of partitions of other people's topics: every message once, in whatever groups and order it comes again.

Of each partition a base is known, before which all is done with, and what is done behind it: whole messages, and parts of
messages that have several. Bases only grow, and what is before one was written, and so read here, before the base was told;
so no message that was not journaled is ever taken for one that was. ADR 23 has the argument.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from driftlock.engine.event import StreamKey
from driftlock.engine.origin import Origin, parse_ranges, ranges_text
from driftlock.engine.ports import Submission
from driftlock.storage.pool import Connection

Place = tuple[str, str, int]

GET = """
select b.base, b.done, b.parts from driftlock.bridged_position b
 where b.shard = $1 and b.topic = $2 and b.topic_id = $3 and b.partition = $4
"""
PUT = """
insert into driftlock.bridged_position (shard, topic, topic_id, partition, base, done, parts)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (shard, topic, topic_id, partition) do update set
  base = excluded.base, done = excluded.done, parts = excluded.parts, advanced_at = now()
"""


@dataclass(slots=True)
class _Cut:
    """A message of which some parts are done: by which plan it was cut, and which of its parts."""

    plan: str
    parts: int
    done: set[int] = field(default_factory=set)


class Bridged:
    """What is done of one partition. Pure.

    >>> CART = StreamKey("logs", "cart")
    >>> known, read = Bridged(), Origin("otlp_logs", 0, "", base=5, offset=6)
    >>> [known.left(read, CART, 2) for _ in range(2)]
    [None, []]
    """

    def __init__(self, base: int = 0, done: str = "", parts: str = "{}") -> None:
        """As `base`, `done` and `parts` of one before."""
        self.base = base
        self._done = set(parse_ranges(done))
        self._cuts = {int(at): _Cut(plan, count, set(of)) for at, (plan, count, of) in json.loads(parts).items()}

    @property
    def done(self) -> str:
        """Messages behind the base that are done, as ranges."""
        return ranges_text(sorted(self._done))

    @property
    def parts(self) -> str:
        """Messages behind the base that are done in part, as JSON."""
        return json.dumps({str(at): [cut.plan, cut.parts, sorted(cut.done)] for at, cut in sorted(self._cuts.items())})

    def left(self, origin: Origin, key: StreamKey, count: int) -> list[int] | None:
        """Which of `count` records of a stream are not done yet, None for all of them; they are from now on."""
        if origin.base > self.base:
            self.base = origin.base
            self._done = {at for at in self._done if at >= self.base}
            self._cuts = {at: cut for at, cut in self._cuts.items() if at >= self.base}
        if origin.offset is not None:
            return None if self._message(origin, origin.offset) else []
        offsets = origin.offsets[key]
        numbers = [number for number, at in enumerate(offsets) if at >= self.base and at not in self._done]
        self._done.update(offsets[number] for number in numbers)
        return None if len(numbers) == count else numbers

    def _message(self, origin: Origin, offset: int) -> bool:
        """Whether a part of a message is new."""
        if offset < self.base or offset in self._done:
            return False
        cut = self._cuts.get(offset)
        if cut is None or (cut.plan, cut.parts) != (origin.plan, origin.parts):
            # Of a message that is cut otherwise nobody knows which part is which: rather twice than never.
            cut = self._cuts[offset] = _Cut(origin.plan, origin.parts)
        if origin.part in cut.done:
            return False
        cut.done.add(origin.part)
        if len(cut.done) == cut.parts:
            del self._cuts[offset]
            self._done.add(offset)
        return True


async def take(connection: Connection, shard: int, submissions: Sequence[Submission]) -> list[list[int] | None]:
    """Which records of each submission, of one stream, are still to be journaled: None for all. They count as journaled then.

    In the transaction that journals them, with the shard's lock held.
    """
    known: dict[Place, Bridged] = {}
    left: list[list[int] | None] = []
    for it in submissions:
        origin = it.origin
        if origin is None:
            left.append(None)
            continue
        if origin.place not in known:
            row = await connection.fetchrow(GET, shard, *origin.place)
            known[origin.place] = Bridged() if row is None else Bridged(row["base"], row["done"], row["parts"])
        (part,) = it.batches
        left.append(known[origin.place].left(origin, part.key, len(part.batch)))
    if known:
        cells = [(shard, *place, found.base, found.done, found.parts) for place, found in known.items()]
        await connection.executemany(PUT, cells)
    return left
