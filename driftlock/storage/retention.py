"""How the journal is kept small: what nothing needs any more leaves, a partition at a time."""

from driftlock.errors import Conflict
from driftlock.storage.pool import Connection, Database
from driftlock.storage.shard import Shard

TRUNCATE = "select driftlock.journal_truncate($1, $2, $3, $4)"
FORGET = "select driftlock.journal_forget($1, $2)"


class Retention:
    """Empties partitions of the journal, and forgets requests in bites of `requests_max`, so that appends never wait long."""

    def __init__(
        self, database: Database, shard: Shard, *, dedup_window_ms: int, bytes_kept: int, requests_max: int = 10_000
    ) -> None:
        """`dedup_window_ms` is the journal's: so long rows stay for whoever looks into it.

        Of a journal with more than `bytes_kept` rows leave earlier, as soon as they are applied and in checkpoints.
        """
        self._database = database
        self._shard = shard
        self._window_ns = dedup_window_ms * 1_000_000
        self._bytes_kept = bytes_kept
        self._requests_max = requests_max

    async def truncate(self, now_ns: int) -> int:
        """Empty what can be emptied, and return the rows that left.

        Only partitions leave of which everything is applied, which the database asserts, and no fold would have to read again
        after a crash, and whose newest row is older than the window or has to make room. Raises `Conflict`, `Unavailable`.
        """

        async def work(connection: Connection) -> int:
            arguments = (self._shard.number, self._shard.epoch, now_ns - self._window_ns, self._bytes_kept)
            rows: int = await connection.fetchval(TRUNCATE, *arguments)
            return rows

        try:
            return await self._database.node(work)
        except Conflict as error:
            raise self._shard.lost() from error

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
