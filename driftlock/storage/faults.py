"""Errors of PostgreSQL and of the way to it, translated into `driftlock.errors` by one table.

Texts of PostgreSQL never pass: they quote data. Sources: PostgreSQL documentation, "PostgreSQL Error Codes"; the classes
ZD are raised by functions of our own migrations.
"""

import asyncio
from collections.abc import Callable

import asyncpg

from driftlock.errors import Conflict, DriftlockError, Internal, InvalidArgument, NotFound, Unavailable

RETRY_AFTER_MS = 1000
FENCED = "another process has taken over this database: this one must stop"
ELSEWHERE = "this tenant's records are kept in another shard of the journal: send them to where its first ones went"
BEFORE_ERA = (
    "streams of this tenant have had no records since another version took over, and the shard that it is to move to has a "
    "past of its own, which must not be told of that again: move it when they have had some, or while that shard is empty"
)
IN_SEVERAL = "the streams of a tenant of this database lie in several shards (DRIFTLOCK_KAFKA_TENANT_SPREAD): none can be moved"
MOVED = "the source was read further by another process, or is another one: read its position again"

Make = Callable[[str], DriftlockError]


def _unavailable(text: str) -> Make:
    return lambda _: Unavailable(f"{text}; retry", retry_after_ms=RETRY_AFTER_MS)


def _internal(sqlstate: str) -> DriftlockError:
    return Internal(f"the database refused a statement of ours (SQLSTATE {sqlstate}); this is a bug, please report it")


def _invalid(text: str) -> Make:
    return lambda sqlstate: InvalidArgument(f"{text} (SQLSTATE {sqlstate})")


AWAY = _unavailable("the database is away")
MIGRATED = _unavailable("the tables have just been migrated")
DAMAGED_PAGE = (
    "a page of the database is damaged: check its disk, and restore the whole database from a backup (docs/operations.md, "
    "Backup)"
)


def _damaged(_: str) -> DriftlockError:
    """What was not taken for it is to be kept and sent again: to the restored database."""
    return Unavailable(DAMAGED_PAGE, retry_after_ms=RETRY_AFTER_MS)


# Looked up by the whole code, then by its class (the first two characters).
SQLSTATES: dict[str, Make] = {
    "ZD001": lambda _: Conflict(FENCED),
    "ZD002": _unavailable("the journal is full: older records have to be applied first"),
    "ZD409": lambda _: InvalidArgument(ELSEWHERE),
    "ZD412": lambda _: Conflict(MOVED),
    "ZD413": _unavailable("rows of the journal have come that are not scored yet"),
    "ZD414": lambda _: Conflict(BEFORE_ERA),
    "ZD415": lambda _: Conflict(IN_SEVERAL),
    "ZD404": lambda _: NotFound("there is no such tenant"),
    "03": AWAY,  # SQL statement not yet complete
    "08": AWAY,  # connection exception
    "0A": _internal,  # feature not supported
    "22": _invalid("the data can not be stored: remove NUL characters and numbers out of range"),
    "23": _invalid("the data contradicts a constraint"),
    "23502": _internal,  # a missing value is ours to fill
    "23503": lambda _: NotFound("it refers to something that does not exist, or no longer"),
    "23505": lambda _: Conflict("it exists already"),
    "25": _internal,  # invalid transaction state
    "25006": _unavailable("the database is read-only at the moment"),
    "25P03": AWAY,  # idle-in-transaction timeout
    "28": _unavailable("the database refuses our credentials: check DATABASE_URL"),
    "3D000": _unavailable("the database named in DATABASE_URL does not exist"),
    "40": _unavailable("the database had a conflict between transactions"),
    "42": _internal,  # syntax error or access rule violation
    "53": _unavailable("the database is out of resources"),
    "54": _invalid("the data is over a limit of the database"),
    "55": _unavailable("the database is busy"),
    "57": AWAY,  # operator intervention
    "57014": _unavailable("the database took longer than allowed"),
    "58": _unavailable("the database has trouble with its disk"),
    "XX001": _damaged,  # data corrupted: a page does not match its checksum, a long value is not whole
    "XX002": _damaged,  # index corrupted
}
DAMAGE = frozenset({"XX001", "XX002"})
# Older ways to say that a long value is not whole; messages of internal errors are not translated.
DAMAGE_TEXTS = ("missing chunk number", "unexpected chunk")
CONFLICTS = frozenset({"40001", "40P01"})  # serialization failure, deadlock: gone when tried again
POISON = ("22", "23", "54")
OUTAGES = ("08", "57P01", "57P02", "57P03")  # connection exceptions; shut down by an administrator, a crash, not yet started


def sqlstate_of(error: BaseException) -> str | None:
    """The SQLSTATE that `error` carries, if it came from PostgreSQL or from asyncpg's encoders (22000)."""
    if isinstance(error, asyncpg.PostgresError):
        return error.sqlstate or "XX000"
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        return "22000"  # asyncpg could not encode an argument: too large a number, a lone surrogate
    return None


def is_poison(error: BaseException) -> bool:
    """Whether the data itself was refused, so that sending it again will fail again."""
    sqlstate = sqlstate_of(error)
    return sqlstate is not None and sqlstate[:2] in POISON


def is_damage(error: BaseException) -> bool:
    """Whether `error` says that what is stored can not be read any more: a damaged page, or a long value that is not whole."""
    sqlstate = sqlstate_of(error)
    return sqlstate in DAMAGE or (sqlstate == "XX000" and any(text in str(error) for text in DAMAGE_TEXTS))


def is_outage(error: BaseException) -> bool:
    """Whether `error` says that the way to the database is gone, and not that the database refuses or is slow.

    A timeout of the client is one: the server's own, which is shorter, would have been answered.
    """
    sqlstate = sqlstate_of(error)
    if sqlstate is not None:
        return sqlstate.startswith(OUTAGES)
    return isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError | OSError | asyncio.TimeoutError)


def translate(error: BaseException) -> DriftlockError | None:
    """What to raise instead of `error`; None when it is none of the database's, and should go on as it is."""
    if isinstance(error, DriftlockError):
        return error
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return MIGRATED("")  # of SQLSTATE 0A000, as what really can not be done; the next try plans anew
    if is_damage(error):
        return _damaged("")
    sqlstate = sqlstate_of(error)
    if sqlstate is not None:
        make = SQLSTATES.get(sqlstate) or SQLSTATES.get(sqlstate[:2]) or _internal
        return make(sqlstate)
    if isinstance(error, asyncpg.InterfaceError):
        # The driver's word for a connection or pool that closed under us; anything else of it would be a bug of ours,
        # but asyncpg tells them apart by text only.
        return AWAY("")
    if isinstance(error, OSError | asyncio.TimeoutError):
        return AWAY("")
    if isinstance(error, asyncpg.InternalClientError):
        return AWAY("")
    return None
