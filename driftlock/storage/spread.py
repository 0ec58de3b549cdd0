"""Over how many shards the streams of a tenant lie: said once for a database, and never changed."""

from driftlock.storage.pool import Database

SETTLE = "select driftlock.spread_settle($1)"
READ = "select spread from driftlock.spread"


async def read_spread(database: Database) -> int | None:
    """The spread that was said; None where nobody has said one yet. Raises `Unavailable`."""
    known: int | None = await database.node(lambda connection: connection.fetchval(READ))
    return known


async def settle_spread(database: Database, spread: int) -> int:
    """The spread that holds: `spread`, where nobody has said another one before. Raises `Unavailable`."""
    known = await read_spread(database)
    if known is not None:
        return known
    settled: int = await database.node(lambda connection: connection.fetchval(SETTLE, spread))
    return settled
