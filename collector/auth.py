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

from driftlock.accounts.access import REFUSED, Access, require
from driftlock.accounts.certificates import ClientTable, PeerNames
from driftlock.accounts.keys import Scope
from driftlock.engine.canonical import label
from driftlock.errors import Unauthenticated

UNIX_PEER = "unix"
CLIENT_CERTIFICATE = "driftlock.client_certificate"
"""Of an ASGI scope's `extensions`: the `PeerNames` of the connection's certificate, where TLS asks clients for one."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """All that a request shows of its sender.

    `peer` is an IP address, `unix`, or "" when it is unknown. `certificate` holds the names in the certificate of a client
    that TLS has verified; None where TLS does not ask for one.
    """

    presented: tuple[str, ...] = ()
    peer: str = ""
    host: str = ""
    origin: str = ""
    certificate: PeerNames | None = None


@dataclass(frozen=True, slots=True)
class Sender:
    """Who may write, and where: to all streams of the tenant, or to the one called `bound` (normalised) alone."""

    tenant_id: UUID
    bound: str | None = None


class Authenticator(Protocol):
    """Says which tenant a sender may write to."""

    async def sender(self, credentials: Credentials) -> Sender:
        """The sender; raises `Unauthenticated`, `PermissionDenied`, or `Unavailable` when it can not be known now."""
        ...


class IngestAccess:
    """Authentication by API key or client certificate, for those that may ingest.

    `now` gives the aware present time, `clients` the table of client certificates in force (None = there is none).
    """

    def __init__(
        self, access: Access, now: Callable[[], datetime], clients: Callable[[], ClientTable | None] = lambda: None
    ) -> None:
        self._access = access
        self._now = now
        self._clients = clients

    async def sender(self, credentials: Credentials) -> Sender:
        """See `Authenticator.sender`. A certificate that is listed stands for a key with the scope `ingest`.

        Where both are shown, the key says what is allowed, and the certificate must be of the same tenant. Nobody is
        anonymous who had to show a certificate.
        """
        certified = None
        if credentials.certificate is not None:
            clients = self._clients()
            certified = None if clients is None else clients.tenant(credentials.certificate)
            if not credentials.presented:
                if certified is None:
                    raise Unauthenticated(REFUSED)
                return Sender(certified)
        principal = await self._access.principal(
            credentials.presented,
            peer=credentials.peer,
            host=credentials.host,
            origin=credentials.origin,
            now=self._now(),
        )
        if certified is not None and certified != principal.tenant_id:
            raise Unauthenticated(REFUSED)
        require(principal, Scope.INGEST)
        return Sender(principal.tenant_id, None if principal.stream is None else label(principal.stream))


def presented_keys(headers: Iterable[tuple[str, str | bytes]]) -> tuple[str, ...]:
    """Every key in `authorization: Bearer` and `x-api-key`, in order; names are compared without regard to case.

    An `authorization` of another scheme is presented as it is, and gRPC's binary metadata (`x-api-key-bin`) as one that no
    key equals: a credential that proves nothing must be refused, not overlooked. Values count as they arrive; a sender that
    percent-encodes them in its settings sends them decoded.

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
            case "authorization-bin" | "x-api-key-bin":
                keys.append("")
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
