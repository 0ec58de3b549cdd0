"""The tenant `local` of the embedded default: its key in the data folder, and who may do without a key."""

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from driftlock.accounts.access import Access
from driftlock.accounts.keys import ALL_SCOPES, RANDOMNESS_BYTES, KeyKind, Principal, matches, mint, parse
from driftlock.accounts.plans import LOCAL
from driftlock.storage.datafolder import write_private
from driftlock.storage.keys import CachedKeyDirectory, Keys
from driftlock.storage.pool import Database, Lane
from driftlock.storage.tenants import Tenants
from server.settings import Settings


@dataclass(frozen=True, slots=True)
class LocalTenant:
    """The local tenant. `anonymous`: callers on this machine need no key."""

    tenant_id: UUID
    api_key: str = field(repr=False)
    anonymous: bool


async def open_access(
    settings: Settings, database: Database, used: Callable[[str, datetime], None]
) -> tuple[Access, LocalTenant | None]:
    """Who may do what. With an external database every caller needs a key, and there is no local tenant.

    `used` is told of every good key.

    On the embedded one a caller without a key is the local tenant, as long as nothing listens beyond the loopback
    interface: behind a proxy on this machine, another machine's request looks like one of ours.
    """
    directory = CachedKeyDirectory(database.reserved(Lane.KEYS))
    if not settings.embedded:
        return Access(directory, anonymous=None, used=used), None
    tenant = await Tenants(database).ensure_local()
    api_key = await _local_key(settings, database, directory, tenant.tenant_id)
    listening = (settings.otlp_grpc, settings.otlp_http, settings.http)
    private = all(address is None or address.loopback for address in listening)
    anonymous = Principal(tenant.tenant_id, ALL_SCOPES, plan=LOCAL) if private else None
    return Access(directory, anonymous=anonymous, used=used), LocalTenant(tenant.tenant_id, api_key, private)


async def _local_key(settings: Settings, database: Database, directory: CachedKeyDirectory, tenant_id: UUID) -> str:
    """The key in the data folder if it is still good, else a new one, written there for its owner's eyes only."""
    with contextlib.suppress(OSError, ValueError):
        text = settings.api_key_file.read_text("ascii").strip()
        key_id = parse(text)
        record = await directory.lookup(key_id, datetime.now(UTC)) if key_id else None
        if record is not None and record.tenant_id == tenant_id and matches(record, text) and not record.revoked:
            return text
    minted = mint(KeyKind.LOCAL, os.urandom(RANDOMNESS_BYTES))
    await Keys(database).insert(tenant_id, minted, kind=KeyKind.LOCAL, name="local", scopes=ALL_SCOPES)
    write_private(settings.api_key_file, minted.text + "\n")
    return minted.text
