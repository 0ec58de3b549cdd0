"""Connections of a running server wait for the disk, whatever a role or a database was given since the start."""

from urllib.parse import urlsplit

import asyncpg
import pytest

from driftlock.storage.pool import Database, Lane
from tests.conftest import Urls


@pytest.mark.parametrize(
    ("given", "keeps_commits", "wanted"),
    [("off", True, "on"), ("off", False, "off"), ("remote_apply", True, "remote_apply"), ("local", True, "local")],
)
async def test_no_connection_forgets_what_it_commits(
    database_urls: Urls, owner: "asyncpg.Connection[asyncpg.Record]", given: str, keeps_commits: bool, wanted: str
) -> None:
    place = f"database {urlsplit(database_urls.app).path[1:]}"
    await owner.execute(f"alter {place} set synchronous_commit = {given}")
    try:
        async with Database(database_urls.app, keeps_commits=keeps_commits) as database:
            for lane in Lane:
                found = await database.reserved(lane).node(lambda connection: connection.fetchval("show synchronous_commit"))
                assert found == wanted, lane
    finally:
        await owner.execute(f"alter {place} reset synchronous_commit")
