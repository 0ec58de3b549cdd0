"""Which tenant a client certificate stands for. The chain of trust is checked by TLS; here its names are looked up.

A table of clients is a TOML document; each name is matched whole, none is a pattern:

    [[client]]
    uri = "spiffe://example.org/collector"       # or dns = "...", or common_name = "..."
    tenant = "0190c1de-0000-7000-8000-000000000001"
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from uuid import UUID

from driftlock.accounts.access import REFUSED
from driftlock.errors import Unauthenticated

CLIENTS_MAX = 10_000
NAME_CHARS_MAX = 1024
KINDS = ("common_name", "dns", "uri")
Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class PeerNames:
    """The names in a client certificate that TLS has verified.

    They are the subject's common name, and of the alternative names those of DNS and the URIs (RFC 5280, section 4.2.1.6).
    """

    common_name: str = ""
    dns: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()

    def names(self) -> Iterable[Name]:
        """All of them as (kind, name); host names do not tell cases apart."""
        if self.common_name:
            yield "common_name", self.common_name
        yield from (("dns", name.lower()) for name in self.dns)
        yield from (("uri", name) for name in self.uris)


class ClientTable:
    """Names of certificates with their tenants."""

    def __init__(self, tenants: Mapping[Name, UUID]) -> None:
        """Of DNS names, `tenants` holds lower-case ones."""
        self._tenants = MappingProxyType(dict(tenants))

    @property
    def tenant_ids(self) -> frozenset[UUID]:
        """All tenants that certificates stand for."""
        return frozenset(self._tenants.values())

    def __len__(self) -> int:
        """Number of names."""
        return len(self._tenants)

    def tenant(self, names: PeerNames) -> UUID | None:
        """The tenant of a certificate; None when none of its names is listed.

        Raises `Unauthenticated` when its names stand for more than one tenant.
        """
        found = {self._tenants[name] for name in names.names() if name in self._tenants}
        if len(found) > 1:
            raise Unauthenticated(REFUSED)
        return next(iter(found), None)


def parse_clients(text: str) -> ClientTable:
    """The table in a TOML document. Raises ValueError with one line that names the entry and what is wrong with it."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"it is not TOML: {error}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    surplus = sorted(document.keys() - {"client"})
    entries = document.get("client", [])
    if surplus or not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        named = f"{surplus[0]!r} is not known; " if surplus else ""
        raise ValueError(f"{named}write a table [[client]] for each client")
    if len(entries) > CLIENTS_MAX:
        raise ValueError(f"it lists {len(entries)} clients, at most {CLIENTS_MAX} are allowed")
    tenants: dict[Name, UUID] = {}
    for number, entry in enumerate(entries, 1):
        name, tenant_id = _client(number, entry)
        if name in tenants:
            raise ValueError(f"client {number}: {name[0]} {name[1]!r} is listed twice")
        tenants[name] = tenant_id
    return ClientTable(tenants)


def _client(number: int, entry: Mapping[str, Any]) -> tuple[Name, UUID]:
    kinds = [kind for kind in KINDS if kind in entry]
    surplus = sorted(entry.keys() - {*KINDS, "tenant"})
    if surplus:
        raise ValueError(f"client {number}: {surplus[0]!r} is not known; use one of {', '.join(KINDS)}, and tenant")
    if len(kinds) != 1:
        raise ValueError(f"client {number}: give exactly one of {', '.join(KINDS)}")
    (kind,) = kinds
    name = entry[kind]
    if not (isinstance(name, str) and name and name.isprintable() and len(name) <= NAME_CHARS_MAX):
        raise ValueError(f"client {number}: {kind} must be printable text of 1 to {NAME_CHARS_MAX} characters")
    try:
        tenant_id = UUID(entry.get("tenant"))
    except (ValueError, TypeError, AttributeError):
        raise ValueError(f"client {number}: tenant must be a tenant's id, as `driftlock tenant list` shows it") from None
    return (kind, name.lower() if kind == "dns" else name), tenant_id
