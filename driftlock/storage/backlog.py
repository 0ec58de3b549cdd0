"""How much is journaled and not applied yet, in bytes and in age, and what is refused when it is too much."""

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from driftlock.errors import Unavailable
from driftlock.storage.faults import RETRY_AFTER_MS
from driftlock.storage.pool import Connection, Database
from driftlock.storage.shard import ONLY_SHARD

ROW_BYTES = 200
"""What a row takes beside its body, as `driftlock.journal_row_bytes` has it."""
RANGE_ROWS, RANGE_SPANS = 100_000, 64  # read by one statement, and what it becomes
POSITIONS = """
select p.applied_seq, s.next_seq - 1 as last_seq
  from driftlock.journal_position p join driftlock.journal_shard s using (shard) where shard = $1
"""
# Positions have no gaps, so a range of them bounds the work of a statement.
SPANS = """
select max(j.seq) as seq, sum(octet_length(j.body) + $5::integer)::bigint as bytes, min(j.received_ns) as received_ns
  from driftlock.journal j where j.shard = $1 and j.seq > $2 and j.seq <= $3
 group by (j.seq - $2 - 1) / $4 order by 1
"""


@dataclass(slots=True)
class Span:
    """Rows of `commits` in a row, up to `last_seq`, of `bytes` together; the first was received at `received_ns`."""

    last_seq: int
    bytes: int
    received_ns: int
    commits: int = 1


class Backlog:
    """Kept in memory by what commits and what applies; a commit costs O(1), memory is bounded by `spans_max`.

    When there are more spans than that, neighbours are merged, and from then on twice as many commits make a span. Rows of a
    merged span are taken as unapplied until the last of them is applied, so the figures may be too large by that span, and are
    never too small. Control rows, which are small and which a full journal takes as well, do not count.
    """

    def __init__(self, *, bytes_max: int, seconds_max: int, spans_max: int = 4096) -> None:
        """Nothing waits. Raises ValueError for a limit that allows nothing."""
        if bytes_max < 1 or seconds_max < 1 or spans_max < 2:
            raise ValueError("bytes_max and seconds_max are at least 1, spans_max at least 2")
        self._bytes_max = bytes_max
        self._seconds_max = seconds_max
        self._spans_max = spans_max
        self._spans: deque[Span] = deque()
        self._bytes = 0
        self._applied_seq = 0
        self._commits_a_span = 1

    @property
    def bytes(self) -> int:
        """Bytes of journal rows that wait to be applied."""
        return self._bytes

    def __len__(self) -> int:
        """Spans in memory."""
        return len(self._spans)

    def seconds(self, now_ns: int) -> float:
        """How long ago the first row that waits was received; 0 when none waits."""
        return max(0, now_ns - self._spans[0].received_ns) / 1e9 if self._spans else 0.0

    def committed(self, last_seq: int, size: int, received_ns: int) -> None:
        """Rows up to `last_seq` of `size` bytes were journaled; called in the order of positions."""
        if last_seq <= self._applied_seq:
            return  # the applier was quicker than the answer
        self._bytes += size
        newest = self._spans[-1] if self._spans else None
        if newest is not None and newest.commits < self._commits_a_span:
            newest.last_seq, newest.bytes, newest.commits = last_seq, newest.bytes + size, newest.commits + 1
            return
        self._spans.append(Span(last_seq, size, received_ns))
        if len(self._spans) > self._spans_max:
            self._merge()

    def applied(self, seq: int) -> None:
        """Rows up to `seq` are applied."""
        self._applied_seq = max(self._applied_seq, seq)
        while self._spans and self._spans[0].last_seq <= seq:
            self._bytes -= self._spans.popleft().bytes
        if not self._spans:
            self._commits_a_span = 1

    def check(self, size: int, now_ns: int) -> None:
        """Raise `Unavailable` when `size` bytes more would be too much to wait, or what waits has waited for too long."""
        if not self._spans:
            return  # whatever its size: a request must not be refused for ever
        if self._bytes + size > self._bytes_max:
            raise Unavailable(
                f"too many records wait to be scored (over {self._bytes_max} bytes, DRIFTLOCK_BACKLOG_BYTES_MAX); retry",
                retry_after_ms=RETRY_AFTER_MS,
            )
        if self.seconds(now_ns) > self._seconds_max:
            raise Unavailable(
                f"records wait to be scored for over {self._seconds_max} seconds (DRIFTLOCK_BACKLOG_SECONDS_MAX); retry",
                retry_after_ms=RETRY_AFTER_MS,
            )

    async def load(self, database: Database, shard: int = ONLY_SHARD) -> None:
        """Take over what a process before this one has left in the journal. Raises `Unavailable`."""
        applied_seq, last_seq = await database.node(_positions(shard))
        self._spans.clear()
        self._bytes, self._applied_seq, self._commits_a_span = 0, applied_seq, 1
        for after_seq in range(applied_seq, last_seq, RANGE_ROWS):
            until_seq = min(last_seq, after_seq + RANGE_ROWS)
            for span in await database.node(_spans(shard, after_seq, until_seq)):
                self.committed(span.last_seq, span.bytes, span.received_ns)

    def _merge(self) -> None:
        """Halve the spans: each takes the next one in. All stay about equally long, so that figures are too large by little."""
        self._commits_a_span *= 2
        spans = list(self._spans)
        self._spans = deque(
            Span(second.last_seq, first.bytes + second.bytes, first.received_ns, first.commits + second.commits)
            for first, second in zip(spans[::2], spans[1::2], strict=False)
        )
        if len(spans) % 2:
            self._spans.append(spans[-1])


def _positions(shard: int) -> Callable[[Connection], Awaitable[tuple[int, int]]]:
    async def work(connection: Connection) -> tuple[int, int]:
        row = await connection.fetchrow(POSITIONS, shard)
        return (0, 0) if row is None else (row["applied_seq"], row["last_seq"])

    return work


def _spans(shard: int, after_seq: int, until_seq: int) -> Callable[[Connection], Awaitable[list[Span]]]:
    rows_a_span = -(-RANGE_ROWS // RANGE_SPANS)

    async def work(connection: Connection) -> list[Span]:
        rows = await connection.fetch(SPANS, shard, after_seq, until_seq, rows_a_span, ROW_BYTES)
        return [Span(row["seq"], row["bytes"], row["received_ns"]) for row in rows]

    return work
