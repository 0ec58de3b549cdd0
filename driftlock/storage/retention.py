"""How the journal is kept small: rows that nothing needs any more are deleted from its beginning."""

from driftlock.errors import Conflict
from driftlock.storage.pool import Connection, Database
from driftlock.storage.shard import Shard

TRUNCATE = "select driftlock.journal_truncate($1, $2, $3, $4, $5)"


class Retention:
    """Deletes journal rows in bites of `rows_max`, so that appends never wait long."""

    def __init__(
        self, database: Database, shard: Shard, *, dedup_window_ms: int, bytes_kept: int, rows_max: int = 2000
    ) -> None:
        """`dedup_window_ms` is the journal's: so long resends are recognised, and rows stay.

        Of a journal with more than `bytes_kept` rows leave earlier, as soon as they are applied.
        """
        self._database = database
        self._shard = shard
        self._window_ns = dedup_window_ms * 1_000_000
        self._bytes_kept = bytes_kept
        self._rows_max = rows_max

    async def truncate(self, now_ns: int) -> int:
        """Delete one bite and return its rows; call again while it equals `rows_max`.

        Deleted is only what is applied and no fold would have to read again after a crash, which the database asserts, and
        what was received before the deduplication window or has to make room. Raises `Conflict`, `Unavailable`.
        """

        async def work(connection: Connection) -> int:
            rows: int = await connection.fetchval(
                TRUNCATE, self._shard.number, self._shard.epoch, now_ns - self._window_ns, self._bytes_kept, self._rows_max
            )
            return rows

        try:
            return await self._database.node(work)
        except Conflict as error:
            raise self._shard.lost() from error
