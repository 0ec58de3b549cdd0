"""Flags that wait until every stream has passed their bucket of event time. One more costs the same however many wait."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from heapq import heappop, heappush
from uuid import UUID

from driftlock.engine.correlation.flag import Flag


class Pending:
    """The flags in the order in which they came, and by buckets of `bucket_ns`.

    Event times may step back, windows do not: a flag is in no bucket before that of an earlier window of its stream.
    """

    def __init__(self, bucket_ns: int) -> None:
        self._bucket_ns = bucket_ns
        self._flags: dict[int, Flag] = {}
        """By a number that counts up."""
        self._bucket_of: dict[int, int] = {}
        self._of_bucket: dict[int, set[int]] = {}
        self._order: list[int] = []
        """A heap of buckets; some of them may be empty by now."""
        self._of_stream: dict[UUID, list[int]] = {}
        """By windows, ascending."""
        self._named: dict[str, int] = {}
        self._next = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._flags)

    def __iter__(self) -> Iterator[Flag]:
        """Those that wait, in the order in which they came."""
        return iter(self._flags.values())

    def of_stream(self, stream_id: UUID) -> bool:
        """Whether any flag of a stream waits."""
        return stream_id in self._of_stream

    def name(self, name: str) -> bool:
        """Whether any of them names a service or a trace."""
        return name in self._named

    def add(self, flag: Flag, reached: int) -> None:
        """Let a flag wait; `reached` is the bucket of the newest flag of its stream that waits no more (0 = none)."""
        number = self._next
        self._next += 1
        self._flags[number] = flag
        for name in flag.names:
            self._named[name] = self._named.get(name, 0) + 1
        stream = self._of_stream.setdefault(flag.stream_id, [])
        place = bisect_right(stream, flag.window, key=lambda it: self._flags[it].window)
        stream.insert(place, number)
        least = self._bucket_of[stream[place - 1]] if place else reached
        for it in stream[place:]:
            least = max(least, self._flags[it].end_ns // self._bucket_ns)
            self._put(it, least)

    def _put(self, number: int, bucket: int) -> None:
        known = self._bucket_of.get(number)
        if known == bucket:
            return
        if known is not None:
            self._of_bucket[known].remove(number)
        self._bucket_of[number] = bucket
        if bucket not in self._of_bucket:
            self._of_bucket[bucket] = set()
            heappush(self._order, bucket)
        self._of_bucket[bucket].add(number)

    def take(self, over: int | None) -> list[tuple[int, Flag]]:
        """Those in buckets before `over` (None = all) with their buckets: they wait no more."""
        taken: list[tuple[int, Flag]] = []
        while self._order and (over is None or self._order[0] < over):
            bucket = heappop(self._order)
            for number in sorted(self._of_bucket.pop(bucket)):
                flag = self._flags.pop(number)
                del self._bucket_of[number]
                taken.append((bucket, flag))
                self._forget(flag)
        counts: dict[UUID, int] = {}
        for _, flag in taken:
            counts[flag.stream_id] = counts.get(flag.stream_id, 0) + 1
        for stream_id, count in counts.items():  # buckets never descend with windows: what is taken comes first
            del self._of_stream[stream_id][:count]
            if not self._of_stream[stream_id]:
                del self._of_stream[stream_id]
        return taken

    def _forget(self, flag: Flag) -> None:
        for name in flag.names:
            self._named[name] -= 1
            if not self._named[name]:
                del self._named[name]

    def restore(self, flags: list[Flag], reached: Mapping[UUID, int]) -> None:
        """Continue with these, in the order in which they came."""
        for flag in flags:
            self.add(flag, reached.get(flag.stream_id, 0))
