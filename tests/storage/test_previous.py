"""The version before goes on serving while a migration runs and until it is replaced: each statement of its own still works."""

import json
import zlib
from dataclasses import asdict
from uuid import UUID

import asyncpg
import pytest

from driftlock.engine import records
from driftlock.engine.profile import DEFAULT_PROFILE, PROFILES
from driftlock.errors import Conflict
from driftlock.storage.ledger import Ledgers
from driftlock.storage.pool import API_ROLE, NODE_ROLE, Database
from driftlock.storage.shard import Shard
from tests.storage.previous_statements import STATEMENTS
from tests.storage.statements import statements

NOW_NS = 1_700_000_000_000_000_000
WINDOW_NS, BYTES_MAX, RAW_BYTES = 900 * 10**9, 2**30, 100
Owner = asyncpg.Connection


def test_the_statements_of_this_version_can_be_collected_for_the_next() -> None:
    found = statements()
    assert len(found) >= len(STATEMENTS) // 2
    assert {"journal.APPEND", "checkpoints.ADVANCE", "retention.EMPTY"} <= set(found)
    assert all("{" not in sql.replace("{}", "") for sql in found.values())


@pytest.mark.parametrize("name", sorted(STATEMENTS))
async def test_a_statement_of_the_version_before_is_understood_and_allowed(owner: Owner, name: str) -> None:
    """Planned by a role that serves: tables, columns, types, functions and rights are looked up, nothing is done."""
    refusals = []
    for role in (NODE_ROLE, API_ROLE):
        try:
            async with owner.transaction():
                await owner.execute(f"set local role {role}")
                await owner.execute(f"explain (generic_plan) {STATEMENTS[name]}")
            return
        except asyncpg.InsufficientPrivilegeError as error:
            refusals.append(f"{role}: {error}")
    raise AssertionError(refusals)


class Before:
    """A server of the version before, as far as its journal goes; every call is a statement of its own."""

    def __init__(self, database: Database, tenant: UUID) -> None:
        self._database, self._tenant, self.epoch = database, tenant, -1

    async def value(self, name: str, *arguments: object) -> object:
        sql = STATEMENTS[name]
        return await self._database.node(lambda connection: connection.fetchval(sql, *arguments))

    async def acquire(self) -> None:
        (name,) = [name for name, sql in STATEMENTS.items() if "journal_acquire" in sql]
        epoch = await self.value(name, 0)
        assert isinstance(epoch, int)
        self.epoch = epoch

    async def stream(self) -> UUID:
        row = ["logs"], ["shop"], [""], [""], ["shop"], ["shop-1"]
        found = await self.value("stream_ids.RESOLVE", self._tenant, *row)
        assert isinstance(found, UUID)
        return found

    async def append(self, hashes: list[bytes], stream: UUID) -> list[tuple[bool, int]]:
        count, body = len(hashes), b"body"
        columns = (
            [self._tenant] * count,
            ["logs"] * count,
            hashes,
            [NOW_NS] * count,
            list(range(1, count + 1)),
            [stream] * count,
            [3] * count,
            [RAW_BYTES] * count,
            [zlib.crc32(body)] * count,
            [body] * count,
        )
        rows = await self._database.node(
            lambda connection: connection.fetch(
                STATEMENTS["journal.APPEND"], 0, self.epoch, "old", WINDOW_NS, BYTES_MAX, *columns
            )
        )
        return [(row["duplicate"], row["seq"]) for row in rows]


@pytest.fixture
async def before(database: Database, tenant: UUID) -> Before:
    server = Before(database, tenant)
    await server.acquire()
    return server


async def holds(database: Database) -> bool:
    rows = await Ledgers(database).read()
    assert rows
    return not any(row.differences for row in rows)


async def test_it_journals_and_recognises_resends_and_the_ledger_holds(database: Database, before: Before) -> None:
    stream = await before.stream()
    first = await before.append([b"a" * 16, b"b" * 16], stream)
    assert [duplicate for duplicate, _ in first] == [False, False]
    again = await before.append([b"b" * 16, b"c" * 16, b"c" * 16], stream)
    assert again == [(True, first[1][1]), (False, first[1][1] + 1), (True, first[1][1] + 1)]
    (row,) = await Ledgers(database).read()
    assert (row.received, row.journaled, row.deduplicated, row.metered) == (15, 9, 6, 9)
    assert not row.differences


async def test_its_control_records_are_journaled(database: Database, before: Before, tenant: UUID) -> None:
    stream = await before.stream()
    (_, last), profile = (await before.append([b"a" * 16], stream))[0], PROFILES[DEFAULT_PROFILE]
    clock, config, budget = records.encode_clock(NOW_NS), records.encode_config(profile), records.encode_budget(3)
    owner = (0, before.epoch)
    assert await before.value("journal.APPEND_CLOCK", *owner, NOW_NS, zlib.crc32(clock), clock) == last + 1
    assert await before.value("journal.APPEND_TIME", *owner, tenant, stream, NOW_NS, zlib.crc32(clock), clock) == last + 2
    assert await before.value("journal.SET_BUDGET", *owner, BYTES_MAX, tenant, 3, zlib.crc32(budget), budget) == last + 3
    changed = json.dumps(asdict(profile) | {"ncd_threshold": profile.ncd_threshold / 2})
    told = (tenant, stream, changed, zlib.crc32(config), config, False, None, False)
    assert await before.value("journal.CONFIGURE", *owner, BYTES_MAX, *told) == last + 4
    assert await holds(database)


async def test_it_applies_reads_and_lets_go(database: Database, before: Before) -> None:
    stream = await before.stream()
    await before.append([b"a" * 16, b"b" * 16], stream)
    read = await database.node(lambda connection: connection.fetch(STATEMENTS["journal_reader.READ"], 0, 0, 2**20, 100, []))
    assert [row["seq"] for row in read] == [1, 2]
    assert await before.value("checkpoints.ADVANCE", 0, before.epoch, 0, 2) == 1
    assert await before.value("checkpoints.ADVANCE", 0, before.epoch, 0, 2) is None
    rows = await before.value("retention.TRUNCATE", 0, before.epoch, NOW_NS + 1, 0, 2000)
    assert isinstance(rows, int)  # how much is let go is the new schema's business
    assert await holds(database)


async def test_it_is_fenced_by_the_version_after(database: Database, before: Before) -> None:
    stream = await before.stream()
    await before.append([b"a" * 16], stream)
    await Shard(database).acquire()
    with pytest.raises(Conflict):
        await before.append([b"b" * 16], stream)
    assert await before.value("checkpoints.ADVANCE", 0, before.epoch, 0, 1) is None
    assert await holds(database)
