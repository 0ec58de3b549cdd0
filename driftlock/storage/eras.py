"""Eras of the journal: noted by whoever takes it over, before anything new comes in, and read for the folds."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import astuple

from driftlock.engine.era import Change, Era, changes
from driftlock.engine.records import encode_era
from driftlock.storage.identity import database_identity, told_apart
from driftlock.storage.pool import Connection, Database
from driftlock.storage.shard import ONLY_SHARD, Shard

KNOWN = "select versions, database from driftlock.journal_identity where shard = $1"
NOTE = """
insert into driftlock.journal_identity (shard, versions, database) values ($1, $2::jsonb, $3::jsonb) on conflict do nothing
"""
APPLIED = "select applied_seq from driftlock.journal_position where shard = $1"
BEGIN = "select driftlock.journal_begin_era($1, $2, $3, $4, $5, $6, $7::jsonb, $8, $9::jsonb, $10::jsonb)"
ERAS = "select since_seq, changes, database from driftlock.journal_era where shard = $1 order by seq"


class EraJournal:
    """Knows which versions judged a journal last, and which database it was in."""

    def __init__(self, database: Database, shard: Shard) -> None:
        """`shard` has to be acquired before `open`."""
        self._database = database
        self._shard = shard

    async def open(self, versions: Mapping[str, str], now_ns: int) -> Era | None:
        """Begin an era where `versions`, or the database, are not those of the process before; None where they are.

        Safe to be called again. The first process to ask notes what it finds and begins none. Raises `Conflict` when another
        process owns the journal by now, `Unavailable`.
        """
        return await self._database.node(lambda connection: self._open(connection, versions, now_ns))

    async def _open(self, connection: Connection, versions: Mapping[str, str], now_ns: int) -> Era | None:
        number = self._shard.number
        identity = await database_identity(connection)
        known = await connection.fetchrow(KNOWN, number)
        if known is None:
            await connection.execute(NOTE, number, json.dumps(versions), json.dumps(identity))
            return None
        changed = changes(json.loads(known["versions"]), versions)
        old = json.loads(known["database"])
        reason = told_apart(old, identity)
        if not changed and not reason:
            return None
        era = Era(await connection.fetchval(APPLIED, number), changed, reason)
        body = encode_era(era)
        await connection.execute(
            BEGIN,
            number,
            self._shard.epoch,
            now_ns,
            zlib.crc32(body),
            body,
            era.since_seq,
            json.dumps([astuple(change) for change in changed]),
            reason,
            json.dumps(dict(versions)),
            json.dumps(old | identity),  # what can not be read today is what it was
        )
        return era


async def read_eras(database: Database, shard: int = ONLY_SHARD) -> list[Era]:
    """All eras that the journal has begun, the oldest first. Raises `Unavailable`."""
    return await database.node(lambda connection: eras_of(connection, shard))


async def eras_of(connection: Connection, shard: int) -> list[Era]:
    """The same, on a connection."""
    rows = await connection.fetch(ERAS, shard)
    return [
        Era(row["since_seq"], tuple(Change(*change) for change in json.loads(row["changes"])), row["database"]) for row in rows
    ]


async def database_changed(database: Database, shard: int = ONLY_SHARD) -> str:
    """Why this is not the database that the journal was last served from; "" = it is. Raises `Unavailable`."""

    async def work(connection: Connection) -> str:
        known = await connection.fetchrow(KNOWN, shard)
        return "" if known is None else told_apart(json.loads(known["database"]), await database_identity(connection))

    return await database.node(work)
