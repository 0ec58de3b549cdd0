"""What is written beside a row of the journal, in its transaction: either both are there or neither."""

from collections.abc import Awaitable, Callable

from driftlock.errors import Conflict
from driftlock.storage.pool import Connection

Beside = Callable[[Connection, int], Awaitable[None]]
"""Writes what goes with a row, as the node, in its transaction: `beside(connection, seq)`."""


class NotWritten(Exception):
    """Carries a `Conflict` of what is written beside a row out of the transaction.

    One of the row itself says that another process owns the journal by now; this one says nothing of the kind.
    """

    def __init__(self, error: Conflict) -> None:
        super().__init__(error.message)
        self.error = error


async def write_beside(beside: Beside | None, connection: Connection, seq: int) -> None:
    """Write it. Raises `NotWritten` where it raises `Conflict`, and whatever else it raises."""
    if beside is None:
        return
    try:
        await beside(connection, seq)
    except Conflict as error:
        raise NotWritten(error) from error
