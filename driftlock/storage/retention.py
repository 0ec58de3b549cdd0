"""How the journal is kept small: what nothing needs any more leaves, a partition at a time."""

from driftlock.errors import Conflict
from driftlock.storage.pool import Connection, Database
from driftlock.storage.shard import Shard

CLOSE = "select driftlock.journal_close($1, $2, $3, $4)"
DUE = "select * from driftlock.journal_due($1, $2, $3)"
EMPTY = "select driftlock.journal_empty($1, $2, $3, $4, $5, $6, $7)"
FORGET = "select driftlock.journal_forget($1, $2)"
GRACE_S = 1.0


class Retention:
    """Empties partitions of the journal, and forgets requests in bites of `requests_max`, so that appends never wait long."""

    def __init__(
        self,
        database: Database,
        shard: Shard,
        *,
        dedup_window_ms: int,
        bytes_kept: int,
        requests_max: int = 10_000,
        look_timeout_ms: int = 60_000,
    ) -> None:
        """`dedup_window_ms` is the journal's: so long rows stay for whoever looks into it.

        Of a journal with more than `bytes_kept` rows leave earlier, as soon as they are applied and in checkpoints. To look
        whether a partition is needed may take `look_timeout_ms`; nobody waits for that.
        """
        self._database = database
        self._shard = shard
        self._window_ns = dedup_window_ms * 1_000_000
        self._bytes_kept = bytes_kept
        self._requests_max = requests_max
        self._look_timeout_ms = look_timeout_ms

    async def truncate(self, now_ns: int) -> int:
        """Empty what can be emptied, and return the rows that left.

        Only partitions leave of which everything is applied, which the database asserts, and no fold would have to read again
        after a crash, and whose newest row is older than the window or has to make room. Raises `Conflict`, `Unavailable`.
        """
        before_ns, removed = now_ns - self._window_ns, 0
        try:
            await self._database.node(lambda connection: self._close(connection, before_ns))
            while rows := await self._database.node(lambda connection: self._empty_oldest(connection, before_ns)):
                removed += rows
        except Conflict as error:
            raise self._shard.lost() from error
        return removed

    async def _close(self, connection: Connection, before_ns: int) -> None:
        await connection.execute(CLOSE, self._shard.number, self._shard.epoch, before_ns, self._bytes_kept)

    async def _empty_oldest(self, connection: Connection, before_ns: int) -> int:
        """Look without a lock, for as long as it takes, then empty with the lock that appends wait for, in an instant."""
        async with connection.transaction(readonly=True):
            await connection.execute(f"set local statement_timeout = {self._look_timeout_ms}")
            patience_s = self._look_timeout_ms / 1000 + GRACE_S
            due = await connection.fetchrow(DUE, self._shard.number, before_ns, self._bytes_kept, timeout=patience_s)
        if due is None:
            return 0
        held = (due["tenant_ids"] or [], due["signals"] or [], due["records"] or [])
        owner = (self._shard.number, self._shard.epoch)
        return int(await connection.fetchval(EMPTY, *owner, due["slot"], due["first_seq"], *held) or 0)

    async def forget(self, now_ns: int) -> int:
        """Forget requests that need not be recognised any more; returns how many. Raises `Unavailable`."""

        async def work(connection: Connection) -> int:
            requests: int = await connection.fetchval(FORGET, now_ns, self._requests_max)
            return requests

        forgotten = 0
        while True:
            forgotten += (bite := await self._database.node(work))
            if bite < self._requests_max:
                return forgotten
