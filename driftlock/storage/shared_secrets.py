"""Secrets that all processes of a database share, so that any of them can go on with what another has given out."""

from driftlock.storage.pool import Connection, Database

ADD = "insert into driftlock.shared_secrets (name, value) values ($1, $2) on conflict do nothing"
GET = "select value from driftlock.shared_secrets where name = $1"


async def shared_secret(database: Database, name: str, fresh: bytes) -> bytes:
    """The secret of that name; `fresh` is made it where there is none yet. Raises `Unavailable`."""

    async def work(connection: Connection) -> bytes:
        await connection.execute(ADD, name, fresh)
        value: bytes = await connection.fetchval(GET, name)
        return value

    return await database.node(work)
