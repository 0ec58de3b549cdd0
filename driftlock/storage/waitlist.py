"""People who want to hear of the hosted service: their addresses, each once, and nothing else of them."""

from driftlock.storage.pool import Connection, Database

ENTRIES_MAX = 100_000
"""Addresses that are kept; beyond that new ones are not, and nobody is told a difference."""

ADD = """
insert into driftlock.waitlist (email)
select $1 where (select count(*) from (select 1 from driftlock.waitlist limit $2) known) < $2
on conflict do nothing
"""


class Waitlist:
    """The list. Raises `Unavailable` when the database is away."""

    def __init__(self, database: Database, entries_max: int = ENTRIES_MAX) -> None:
        """`database` must be entered before use."""
        self._database = database
        self._entries_max = entries_max

    async def add(self, email: str) -> None:
        """Note an address, in the form in which addresses are compared; one that is known is not told apart from a new one."""

        async def work(connection: Connection) -> str:
            return str(await connection.execute(ADD, email, self._entries_max))

        await self._database.node(work)
