"""Reading around damaged pages of the database: what is unreadable is left out alone, and what can not be left out is told.

A bit that flips on the disk fails PostgreSQL's checksum of its page, and with it every statement that looks at the page.
Long values (bodies of the journal, states) are stored out of line, in pages of their own: without them the rows that they
belong to can still be read. Source: PostgreSQL documentation, "Data Checksums" and "TOAST".
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import asyncpg

from driftlock.errors import DriftlockError
from driftlock.storage.faults import is_damage
from driftlock.storage.pool import Connection

log = logging.getLogger(__name__)

Query = tuple[Any, ...]
"""A statement and its arguments."""
Row: TypeAlias = "asyncpg.Record | dict[str, Any]"


async def fetch_readable(
    connection: Connection, whole: Query, listed: Query, column: str, value: Callable[[Row], Query | None]
) -> Sequence[Row]:
    """Rows of `whole`; where it meets a damaged page those of `listed`, and in `column` what `value(row)` reads for each.

    `column` is None where that can not be read, or `value` says that it need not be. Not for use inside a transaction: a
    statement that fails would end it. Raises what `listed` raises, which is damage too where the rows themselves are hit.
    """
    try:
        rows: Sequence[Row] = await connection.fetch(*whole)
    except asyncpg.PostgresError as error:
        if not is_damage(error):
            raise
    else:
        return rows
    readable = []
    for row in await connection.fetch(*listed):
        query = value(row)
        readable.append(dict(row) | {column: None if query is None else await _value(connection, query)})
    return readable


async def _value(connection: Connection, query: Query) -> object:
    try:
        return await connection.fetchval(*query)
    except asyncpg.PostgresError as error:
        if not is_damage(error):
            raise
        return None


class DamageReport:
    """One line in the log when work begins to fail for damaged pages, and no more of them until it has succeeded."""

    def __init__(self, work: str) -> None:
        """`work` is what has to wait then."""
        self._work = work
        self._told = False

    def succeeded(self) -> None:
        """The next failure is told again."""
        self._told = False

    def failed(self, error: DriftlockError) -> None:
        """Tell `error` if it comes from damage."""
        if self._told or error.__cause__ is None or not is_damage(error.__cause__):
            return
        self._told = True
        log.error("%s has stopped, records are still journaled: %s", self._work, error)
