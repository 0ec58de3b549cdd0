"""Commands that work on the database itself: `migrate`, `tenant ...`, `key ...`."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import click

from driftlock.accounts.keys import RANDOMNESS_BYTES, KeyKind, Scope, mint
from driftlock.accounts.plans import ENTERPRISE, PLANS
from driftlock.engine.canonical import label
from driftlock.errors import DriftlockError
from driftlock.storage.keys import OVERLAP_MAX, Keys
from driftlock.storage.migrate import SHARDS_MAX
from driftlock.storage.pool import Database
from driftlock.storage.tenants import DEDUP_WINDOW_NS_MAX, LOCAL, Tenant, Tenants
from server.cli.moving import tenant_move
from server.cli.options import load_settings
from server.database import database_urls, migrate_only, prepare
from server.settings import Settings
from server.terminal import visible

Result = TypeVar("Result")
PAGE_ITEMS = 200
AS_THE_SERVER = -1
OVERLAP_S = 86_400


class _Window(click.ParamType[int]):
    """Seconds, or `default`."""

    name = "SECONDS|default"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """See `click.ParamType`."""
        if value == "default":
            return AS_THE_SERVER
        if not (value.isascii() and value.isdigit() and int(value) * 1_000_000_000 <= DEDUP_WINDOW_NS_MAX):
            self.fail("use 0 to 86400 seconds, or default", param, ctx)
        return int(value)


WINDOW = _Window()


def _run(work: Awaitable[Result]) -> Result:
    """The result of `work`; our own errors end the command with their line."""

    async def run() -> Result:
        return await work

    try:
        return asyncio.run(run())
    except DriftlockError as error:
        raise click.ClickException(visible(error.message)) from None
    except OSError as error:
        raise click.ClickException(visible(error.strerror or str(error))) from None


async def _with_database(settings: Settings, work: Callable[[Database], Awaitable[Result]]) -> Result:
    """`work` on the database of the settings; an embedded one is started for the command when no server runs it."""
    async with _database(settings) as database:
        return await work(database)


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[Database]:
    async with database_urls(settings, share=True) as urls:
        await prepare(urls, settings.unsafe_database, lambda danger: click.echo(f"Warning: {visible(danger)}", err=True))
        async with Database(urls.app) as database:
            yield database


async def _find(tenants: Tenants, name: str) -> Tenant:
    found = await tenants.find(name)
    if found is None:
        raise click.ClickException(f"there is no tenant {visible(name)!r}; see: driftlock tenant list")
    return found


@click.command()
@click.option(
    "--shards", type=click.IntRange(0, SHARDS_MAX), default=0,
    help="Shards of the journal that workers own, one a partition of the topic. Those that are there stay.",
)  # fmt: skip
def migrate(shards: int) -> None:
    """Bring the database to this version's schema; run before a new version serves an external database."""

    async def work() -> tuple[int, tuple[str, ...], int]:
        async with database_urls(load_settings(), share=True) as urls:
            return await migrate_only(urls, shards)

    version, applied, made = _run(work())
    for name in applied:
        click.echo(f"applied {name}")
    if shards:
        click.echo(f"made {made} shards of the journal; there are {shards} or more")
    click.echo(f"the database is at schema {version}")


@click.group(commands=[tenant_move])
def tenant() -> None:
    """Create, list, move and delete tenants."""


@tenant.command("create")
@click.argument("name")
@click.option(
    "--plan", type=click.Choice(list(PLANS)), default=ENTERPRISE, show_default=True,
    help="What it gets; `enterprise` has no limits of a plan.",
)  # fmt: skip
def tenant_create(name: str, plan: str) -> None:
    """Create a tenant called NAME."""
    made = _run(_with_database(load_settings(), lambda database: Tenants(database).create(name, plan=plan)))
    click.echo(f"{made.tenant_id} {visible(made.name)}")


@tenant.command("list")
def tenant_list() -> None:
    """List all tenants: id, name, plan, streams."""

    async def work(database: Database) -> None:
        after: str | None = None
        while page := await Tenants(database).list(limit=PAGE_ITEMS, after=after):
            for found in page:
                click.echo(f"{found.tenant_id} {visible(found.name)} {found.plan} {found.streams} streams")
            after = page[-1].name

    _run(_with_database(load_settings(), work))


@tenant.command("set")
@click.argument("name")
@click.option(
    "--dedup-window", "seconds", type=WINDOW, required=True,
    help="Seconds for which resends are recognised, 0..86400 (0: never), or `default`: as DRIFTLOCK_DEDUP_WINDOW_SECONDS says.",
)  # fmt: skip
def tenant_set(name: str, seconds: int) -> None:
    """Change tenant NAME; it holds from the next request on."""
    window_ns = None if seconds == AS_THE_SERVER else seconds * 1_000_000_000

    async def work(database: Database) -> None:
        tenants = Tenants(database)
        await tenants.set_dedup_window((await _find(tenants, name)).tenant_id, window_ns)

    _run(_with_database(load_settings(), work))
    click.echo(f"{visible(name)}: {'the default window' if window_ns is None else f'a window of {seconds} s'}")


@tenant.command("delete")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def tenant_delete(name: str, yes: bool) -> None:
    """Delete tenant NAME with its keys, streams, findings and journaled records, for good.

    It takes no more records at once, and its name is free. A command that was ended is finished by a running server, or by
    another one with the name that the tenant has by then: `deleted-` and its id.
    """
    if not yes:
        click.confirm(f"Delete tenant {visible(name)!r} and everything that is its own?", abort=True)

    async def work(database: Database) -> None:
        tenants = Tenants(database)
        await tenants.delete(await tenants.find_closed(name) or (await _find(tenants, name)).tenant_id)

    _run(_with_database(load_settings(), work))
    click.echo(f"deleted {visible(name)}")


@click.group()
def key() -> None:
    """Create, list, rotate and revoke API keys."""


_tenant_option = click.option("--tenant", "tenant_name", default=LOCAL, show_default=True, help="Whose key.")


@key.command("create")
@_tenant_option
@click.option("--name", default="", help="A word to recognise it by.")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice([scope.value for scope in Scope]), default=["ingest", "read"],
    show_default=True, help="What it may do; can be repeated.",
)  # fmt: skip
@click.option("--stream", help="Bind it to the stream of this id. Default: all streams.")
@click.option("--days", type=click.IntRange(1, 3650), help="Days until it expires. Default: never.")
def key_create(tenant_name: str, name: str, scopes: Sequence[str], stream: str | None, days: int | None) -> None:
    """Create an API key and print it; it can not be shown again."""
    bound = None if stream is None else label(stream)
    if bound == "":
        raise click.BadParameter("a stream's id holds a printable character", param_hint="--stream")
    kind = KeyKind.LOCAL if tenant_name == LOCAL else KeyKind.LIVE
    minted = mint(kind, os.urandom(RANDOMNESS_BYTES))
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)

    async def work(database: Database) -> None:
        tenant_id = (await _find(Tenants(database), tenant_name)).tenant_id
        granted = frozenset(map(Scope, scopes))
        keys = Keys(database)
        await keys.insert(tenant_id, minted, kind=kind, name=name, scopes=granted, stream=bound, expires_at=expires_at)

    _run(_with_database(load_settings(), work))
    click.echo(minted.text)


@key.command("list")
@_tenant_option
def key_list(tenant_name: str) -> None:
    """List a tenant's keys, newest first: id, state, scopes, the stream it is bound to, name."""

    async def work(database: Database) -> None:
        tenant_id = (await _find(Tenants(database), tenant_name)).tenant_id
        after: tuple[datetime, str] | None = None
        while page := await Keys(database).list(tenant_id, limit=PAGE_ITEMS, after=after):
            for found in page:
                state = "active"
                if found.revoked_at is not None:
                    state = f"revoked {found.revoked_at:%Y-%m-%d}"
                elif found.expires_at is not None:
                    state = f"until {found.expires_at:%Y-%m-%d}"
                bound = "" if found.stream is None else f"stream:{visible(found.stream)} "
                click.echo(f"{found.key_id} {state} {','.join(sorted(found.scopes))} {bound}{visible(found.name)}".rstrip())
            after = (page[-1].created_at, page[-1].key_id)

    _run(_with_database(load_settings(), work))


@key.command("rotate")
@click.argument("key_id")
@_tenant_option
@click.option(
    "--overlap", "overlap_s", type=click.IntRange(0, int(OVERLAP_MAX.total_seconds())), default=OVERLAP_S, show_default=True,
    help="Seconds for which the old key goes on working.",
)  # fmt: skip
def key_rotate(key_id: str, tenant_name: str, overlap_s: int) -> None:
    """Create a key with the rights of the one with KEY_ID and print it; the old one goes on working for a while."""

    async def work(database: Database) -> str:
        tenant_id = (await _find(Tenants(database), tenant_name)).tenant_id
        keys = Keys(database)
        old = await keys.get(tenant_id, key_id)
        if old is None:
            text = f"tenant {visible(tenant_name)!r} has no key {visible(key_id)!r}; see: driftlock key list"
            raise click.ClickException(text)
        minted = mint(old.kind, os.urandom(RANDOMNESS_BYTES))
        await keys.rotate(tenant_id, key_id, minted, overlap=timedelta(seconds=overlap_s))
        return minted.text

    click.echo(_run(_with_database(load_settings(), work)))


@key.command("revoke")
@click.argument("key_id")
@_tenant_option
def key_revoke(key_id: str, tenant_name: str) -> None:
    """Revoke the key with KEY_ID (the part after dl_..._); it stops working within seconds."""

    async def work(database: Database) -> bool:
        tenant_id = (await _find(Tenants(database), tenant_name)).tenant_id
        return await Keys(database).revoke(tenant_id, key_id)

    if not _run(_with_database(load_settings(), work)):
        raise click.ClickException(f"tenant {visible(tenant_name)!r} has no key {visible(key_id)!r}; see: driftlock key list")
    click.echo(f"revoked {visible(key_id)}")
