"""What the doctor says where the journal has shards for workers."""

import re

import asyncpg

from driftlock.storage.pool import Database, Lane
from driftlock.storage.tenants import Tenants
from server.check import Check, State
from server.checkup import check_up
from server.settings import parse_settings
from tests.conftest import Urls
from tests.storage.conftest import sharded, sharded_database, sharded_owner, sharded_urls

__all__ = ["sharded", "sharded_database", "sharded_owner", "sharded_urls"]
NAMES = ("shards", "owners", "offsets", "gaps", "dead letters", "lag", "quarantine")


async def looked_at(urls: Urls, **more: str) -> dict[str, Check]:
    values = {"DATABASE_URL": urls.app, "DRIFTLOCK_KAFKA_PARTITIONS": "3", **more}
    values |= {f"DRIFTLOCK_{name}_ADDR": "127.0.0.1:0" for name in ("OTLP_GRPC", "OTLP_HTTP", "HTTP")}
    return {check.name: check async for check in check_up(parse_settings(values)) if check.name in NAMES}


async def test_shards_at_rest(sharded_urls: Urls) -> None:
    found = await looked_at(sharded_urls, DRIFTLOCK_KAFKA_BOOTSTRAP_SERVERS="kafka:9092")
    assert tuple(sorted(found)) == tuple(sorted(NAMES))
    assert {name for name, check in found.items() if check.state is not State.OK} == {"owners"}  # nobody is at work
    assert found["shards"].detail == "3 for workers with 0 tenants, and that of a server with 0"


async def test_a_server_alone_hears_nothing_of_them(database_urls: Urls) -> None:
    assert sorted(await looked_at(database_urls)) == ["lag", "quarantine"]


async def test_an_owner_is_seen(sharded_urls: Urls) -> None:
    async with Database(sharded_urls.app) as another:
        await another.reserved(Lane.APPLY).ping()  # as an owner does now and then
        owners = (await looked_at(sharded_urls, DRIFTLOCK_KAFKA_BOOTSTRAP_SERVERS="kafka:9092"))["owners"]
    assert owners.state is State.OK
    assert re.fullmatch(r"processes that own shards: at \S.*, since \d{4}-.* UTC", owners.detail)


async def test_what_is_wrong_with_a_shard_is_told(
    sharded_urls: Urls, sharded: Database, sharded_owner: asyncpg.Connection
) -> None:
    await Tenants(sharded).create("acme")
    for sql in (
        "update driftlock.tenants set shard = 0",
        "update driftlock.journal_shard set next_seq = 20001 where shard = 2",
        "insert into driftlock.source_gap (shard, topic, partition, from_offset, to_offset, reason) "
        "values (3, 't', 2, 7, 9, 'gone')",
        "insert into driftlock.dead_letters (topic, partition, \"offset\", body_bytes, reason) values ('t', 1, 1, 0, 'why')",
        "insert into driftlock.journal_quarantine (shard, seq, kind, records, reason, body_bytes) "
        "values (1, 5, 0, 9, 'why', 0)",
    ):
        await sharded_owner.execute(sql)
    found = await looked_at(sharded_urls, DRIFTLOCK_KAFKA_BOOTSTRAP_SERVERS="kafka:9092")
    assert {name for name, check in found.items() if check.state is State.WARN} == set(NAMES) - {"offsets"}
    assert found["shards"].detail.endswith("messages of the latter become dead letters; see `driftlock tenant move`")
    assert found["lag"].detail.startswith(
        "20000 journal rows are not scored yet, 20000 of them in shard 2: wait, or start more"
    )
    assert found["gaps"].detail.startswith("1 in shard 3, the newest found at 2")
    assert found["dead letters"].detail.startswith("1 messages")
    assert found["quarantine"].detail.startswith("1 journal rows with 9 records")


async def test_partitions_without_a_shard_are_a_failure(sharded_urls: Urls) -> None:
    given = {"DRIFTLOCK_KAFKA_BOOTSTRAP_SERVERS": "kafka:9092", "DRIFTLOCK_KAFKA_PARTITIONS": "16"}
    shards = (await looked_at(sharded_urls, **given))["shards"]
    assert shards.state is State.FAIL
    assert "driftlock migrate --shards 16" in shards.detail
