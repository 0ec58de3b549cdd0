"""Which network an anonymous request comes from, so that limits count senders and not addresses.

A limit on single addresses limits nobody: a subscriber gets a whole IPv6 /48 or /56 (RFC 6177), which is 65,536 or 256
networks of 2^64 addresses, and the smallest IPv4 block that is routed by itself is a /24. So a network here is an IPv4 /24
or an IPv6 /48; neighbours in it share what they get.
"""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from starlette.datastructures import Headers
from starlette.types import Scope

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

IPV4_PREFIX_BITS = 24
IPV6_PREFIX_BITS = 48
FORWARDED_HOPS_MAX = 32
"""Proxies in a row that are believed; a longer way is not looked through."""
TRUSTED_PROXIES_MAX = 64
UNKNOWN_NETWORK = "unknown"
"""The network of all peers without an IP address, such as those of a Unix socket."""
NO_PROXIES = "none"


def parse_networks(text: str) -> tuple[Network, ...]:
    """Networks or single addresses separated by commas; `none` is no network. Raises `ValueError` that says what to write.

    >>> [str(network) for network in parse_networks("10.0.0.0/8, 2001:db8::1")]
    ['10.0.0.0/8', '2001:db8::1/128']
    >>> parse_networks("none")
    ()
    """
    if text.strip() == NO_PROXIES:
        return ()
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > TRUSTED_PROXIES_MAX:
        raise ValueError(f"use at most {TRUSTED_PROXIES_MAX} networks")
    return tuple(_network(part) for part in parts)


def client_network(scope: Scope, trusted: Sequence[Network]) -> str:
    """The network of the client of an HTTP request.

    The client is the peer of the connection. Only where the peer is in `trusted`, X-Forwarded-For is believed, from its end
    (the part that our proxies wrote) to the first address that is not trusted itself; when that part is malformed, or all
    proxies are ours for `FORWARDED_HOPS_MAX` hops, the peer counts as the client. `Forwarded` (RFC 7239) is not read.
    """
    peer = _address(str(scope["client"][0])) if scope.get("client") else None
    if peer is None:
        return UNKNOWN_NETWORK
    client = _forwarded(Headers(scope=scope).getlist("X-Forwarded-For"), trusted) if _within(peer, trusted) else None
    return network_of(peer if client is None else client)


def network_of(address: Address) -> str:
    """The network that an address is counted in.

    >>> network_of(ip_address("203.0.113.9")), network_of(ip_address("2001:db8:1:2::3"))
    ('203.0.113.0/24', '2001:db8:1::/48')
    """
    if isinstance(address, IPv6Address) and address.sixtofour is not None:  # a /48 for every IPv4 address (RFC 3056)
        address = address.sixtofour
    bits = IPV4_PREFIX_BITS if address.version == 4 else IPV6_PREFIX_BITS
    return str(ip_network(f"{address}/{bits}", strict=False))


def _forwarded(headers: Sequence[str], trusted: Sequence[Network]) -> Address | None:
    """The rightmost address that is not trusted, else the leftmost; None when the header has nothing to say."""
    client = None
    for hop, text in enumerate(_from_the_end(headers)):
        if hop == FORWARDED_HOPS_MAX:
            return None
        address = _address(_without_port(text))
        if address is None:
            return None
        client = address
        if not _within(address, trusted):
            break
    return client


def _from_the_end(headers: Sequence[str]) -> Iterator[str]:
    """Entries of a list header, the last one first; it may be spread over several lines."""
    for line in reversed(headers):
        rest: str | None = line
        while rest is not None:
            head, comma, entry = rest.rpartition(",")
            yield entry.strip(" \t")
            rest = head if comma else None


def _without_port(text: str) -> str:
    """`[v6]:port`, `[v6]` and `v4:port` without brackets and port; what is neither stays as it is, to be refused."""
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        return host if bracket and ":" in host and (not port or _is_port(port)) else text
    host, colon, port = text.partition(":")
    return host if "." in host and _is_port(colon + port) else text


def _is_port(text: str) -> bool:
    digits = text[1:]
    return text.startswith(":") and digits.isascii() and digits.isdigit() and len(digits) <= 5


def _address(text: str) -> Address | None:
    """An address without its zone; an IPv4 address in IPv6 clothes is the IPv4 address."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address if isinstance(address, IPv4Address) else address.ipv4_mapped or IPv6Address(int(address))


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _network(text: str) -> Network:
    try:
        network = ip_network(text)
    except ValueError:
        raise ValueError(
            f"{text[:50]!r} is no network; use networks such as 10.0.0.0/8 or addresses, separated by commas, or {NO_PROXIES}"
        ) from None
    if network.prefixlen == 0:
        raise ValueError("a network of everybody would let anybody claim any address; name your proxies only")
    return network
