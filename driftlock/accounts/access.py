"""Who is asking, and what they may do: the same answer for OTLP and for REST."""

from collections.abc import Callable, Sequence
from datetime import datetime
from ipaddress import IPv6Address, ip_address
from typing import Protocol
from urllib.parse import urlsplit

from driftlock.accounts.keys import KeyRecord, Principal, Role, Scope, matches, parse
from driftlock.accounts.roles import least_role
from driftlock.errors import PermissionDenied, Unauthenticated

# One text for every reason: it must not say whether a key exists, has expired or was revoked.
REFUSED = "no valid API key: send one as `authorization: Bearer <key>` or `x-api-key: <key>`"


class KeyDirectory(Protocol):
    """Where keys are looked up by their id."""

    async def lookup(self, key_id: str, now: datetime) -> KeyRecord | None:
        """The key's record, at most some seconds old; None when there is none. Raises `Unavailable`."""
        ...


class Access:
    """Turns what a request presents into a principal.

    `anonymous` is who a caller without a key is, on a machine where nobody else can call: None (no such thing) or the
    local tenant's principal. It takes a loopback peer, a loopback Host and no foreign Origin, so that neither another
    machine nor a web page in a local browser, DNS rebinding included, can pass for it.
    """

    def __init__(
        self,
        directory: KeyDirectory,
        *,
        anonymous: Principal | None,
        used: Callable[[str, datetime], None] = lambda _key_id, _now: None,
    ) -> None:
        """`anonymous` must be None wherever others can connect. `used(key_id, now)` is told of every good key; it is quick."""
        self._directory = directory
        self._used = used
        self._anonymous = anonymous

    async def principal(self, presented: Sequence[str], *, peer: str, host: str, origin: str, now: datetime) -> Principal:
        """The principal of the keys `presented`, in any header.

        `peer` is the connection's address, `host` the Host or :authority, `origin` the Origin header ("" = none), `now`
        an aware time. Raises `Unauthenticated` with one text for every reason, `Unavailable` when keys can not be read.
        """
        distinct = set(presented)
        if not distinct:
            if self._anonymous is not None and _is_local(peer, host, origin):
                return self._anonymous
            raise Unauthenticated(REFUSED)
        if len(distinct) > 1:
            raise Unauthenticated(REFUSED)
        (text,) = distinct
        key_id = parse(text)
        if key_id is None:
            raise Unauthenticated(REFUSED)
        record = await self._directory.lookup(key_id, now)
        if record is None or not matches(record, text) or record.revoked:
            raise Unauthenticated(REFUSED)
        if record.expires_at is not None and record.expires_at <= now:
            raise Unauthenticated(REFUSED)
        self._used(record.key_id, now)
        return Principal(
            record.tenant_id,
            record.scopes,
            record.key_id,
            record.stream,
            name=record.name,
            plan=record.plan,
            requests_per_minute=record.requests_per_minute,
        )


def require(principal: Principal, scope: Scope, role: Role | None = None) -> None:
    """Raises `PermissionDenied` unless `principal` has `scope`, or is a person with `role` where that is enough."""
    if principal.role is not None:
        least = role or least_role(scope)
        if not principal.role.includes(least):
            raise PermissionDenied(f"this takes the role {least.value!r} in the account, yours is {principal.role.value!r}")
    elif scope not in principal.scopes:
        raise PermissionDenied(f"this API key lacks the scope {scope.value!r}; create one that has it")


def _is_local(peer: str, host: str, origin: str) -> bool:
    return _is_loopback(peer) and _is_loopback(_host_of(f"//{host}")) and (not origin or _is_loopback(_host_of(origin)))


def _host_of(url: str) -> str:
    """The host of a URL or of `//host:port`; "" when there is none, or when there is more than host and port."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return "" if "@" in parts.netloc or parts.path or parts.query else parts.hostname or ""


def _is_loopback(host: str) -> bool:
    """Whether `host` is localhost or a literal loopback address; no name is ever resolved."""
    if host == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback
