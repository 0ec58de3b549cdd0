"""Credentials as they arrive: API keys from metadata or headers, and the address of the peer.

Whose keys they are is decided by `driftlock.accounts.access`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from typing import Protocol
from urllib.parse import unquote
from uuid import UUID

from driftlock.accounts.access import Access, require
from driftlock.accounts.keys import Scope
from driftlock.errors import PermissionDenied

UNIX_PEER = "unix"


@dataclass(frozen=True, slots=True)
class Credentials:
    """All that a request shows of its sender. `peer` is an IP address, `unix`, or "" when it is unknown."""

    presented: tuple[str, ...] = ()
    peer: str = ""
    host: str = ""
    origin: str = ""


class Authenticator(Protocol):
    """Says which tenant a sender may write to."""

    async def tenant(self, credentials: Credentials) -> UUID:
        """The tenant; raises `Unauthenticated`, `PermissionDenied`, or `Unavailable` when it can not be known now."""
        ...


class IngestAccess:
    """Authentication by API key, for those that may ingest. `now` gives the aware present time."""

    def __init__(self, access: Access, now: Callable[[], datetime]) -> None:
        self._access = access
        self._now = now

    async def tenant(self, credentials: Credentials) -> UUID:
        """See `Authenticator.tenant`. A key that is bound to one stream is refused: the sender's resources name many."""
        principal = await self._access.principal(
            credentials.presented,
            peer=credentials.peer,
            host=credentials.host,
            origin=credentials.origin,
            now=self._now(),
        )
        require(principal, Scope.INGEST)
        if principal.stream is not None:
            raise PermissionDenied("this API key is bound to one stream; send OTLP with a key that is not")
        return principal.tenant_id


def presented_keys(headers: Iterable[tuple[str, str | bytes]]) -> tuple[str, ...]:
    """Every key in `authorization: Bearer` and `x-api-key`, in order; names are compared without regard to case.

    An `authorization` of another scheme is presented as it is: a credential that proves nothing must be refused,
    not overlooked.

    >>> presented_keys([("Authorization", "bearer k1"), ("x-api-key", "k2")])
    ('k1', 'k2')
    """
    keys = []
    for name, value in headers:
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        match name.lower():
            case "authorization":
                scheme, _, credential = text.strip().partition(" ")
                keys.append(credential.strip() if scheme.lower() == "bearer" else text.strip())
            case "x-api-key":
                keys.append(text.strip())
    return tuple(keys)


def header(headers: Iterable[tuple[str, str | bytes]], wanted: str) -> str:
    """The first header of that (lower-case) name, or ""."""
    for name, value in headers:
        if name.lower() == wanted:
            return value.decode("latin-1") if isinstance(value, bytes) else value
    return ""


def grpc_peer(peer: str) -> str:
    """The address in a gRPC peer string (gRPC name resolution, "Name Syntax"); "" for what is not understood.

    >>> grpc_peer("ipv4:127.0.0.1:50312"), grpc_peer("ipv6:%5B::1%5D:50312"), grpc_peer("unix:/run/otlp")
    ('127.0.0.1', '::1', 'unix')
    """
    scheme, _, rest = peer.partition(":")
    if scheme == UNIX_PEER:
        return UNIX_PEER
    if scheme not in {"ipv4", "ipv6"}:
        return ""
    host = unquote(rest).rpartition(":")[0].strip("[]")
    try:
        return str(ip_address(host))
    except ValueError:
        return ""
