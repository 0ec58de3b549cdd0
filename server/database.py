"""Which database a command or a server works on: the one that settings name, or the embedded one of the data folder."""

import getpass
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from driftlock.storage.checks import UnsafeDatabase, check_role
from driftlock.storage.datafolder import running
from driftlock.storage.embedded import EmbeddedPostgres
from driftlock.storage.migrate import add_shards, migrate, shipped
from driftlock.storage.startup import StartupRefused
from server.settings import Settings


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """Connection strings: the application's, and the schema owner's where it is known."""

    app: str = field(repr=False)
    owner: str | None = field(repr=False)

    @property
    def app_role(self) -> str:
        """The user of the application's connection string; as with libpq, the system's user when it names none."""
        parts = urlsplit(self.app)
        return parts.username or next(iter(parse_qs(parts.query).get("user", [])), "") or getpass.getuser()


@asynccontextmanager
async def database_urls(settings: Settings, *, share: bool) -> AsyncIterator[DatabaseUrls]:
    """The database, running. `share`: an embedded one that a server runs already may be used beside it.

    Raises `StartupRefused`.
    """
    if settings.database_url is not None:
        yield DatabaseUrls(settings.database_url, settings.migrate_database_url)
        return
    if settings.ephemeral is not None:
        raise StartupRefused(
            f"DATABASE_URL is not set, and {settings.ephemeral} says that this platform's disk ends with the instance: the "
            "embedded database would be lost with all that was acknowledged; set DATABASE_URL to a PostgreSQL"
        )
    found = running(settings.data_dir) if share else None
    if found is not None:
        yield DatabaseUrls(found.app_dsn, found.owner_dsn)
        return
    async with EmbeddedPostgres(settings.data_dir, token_bytes=secrets.token_bytes, archive=settings.archive_dir) as embedded:
        yield DatabaseUrls(embedded.app_dsn, embedded.owner_dsn)


async def prepare(urls: DatabaseUrls, unsafe: UnsafeDatabase, warn: Callable[[str], None]) -> int:
    """Bring the schema up to date where the owner is known, check what serving relies on; returns the schema's version.

    `warn` gets a line for each danger that `unsafe` lets pass. Raises `StartupRefused`.
    """
    if urls.owner is not None:
        await migrate(urls.owner, urls.app_role)
    for danger in await check_role(urls.app, unsafe=unsafe):
        warn(danger)
    return shipped()[-1].version


async def migrate_only(urls: DatabaseUrls, shards: int = 0) -> tuple[int, tuple[str, ...], int]:
    """Apply missing migrations, and let the journal have `shards` beside shard 0; none that is there goes.

    Returns the version, the names of what was applied, and how many shards were made. Raises `StartupRefused`.
    """
    if urls.owner is None:
        raise StartupRefused(
            "DRIFTLOCK_MIGRATE_DATABASE_URL is not set: set it to the database as the role that owns the schema"
        )
    result = await migrate(urls.owner, urls.app_role)
    made = await add_shards(urls.owner, shards) if shards else 0
    return result.version, result.applied, made
