"""Who holds how many connections of a listener, and who is refused another one. Not thread-safe: event loop only."""

from collections import Counter
from collections.abc import Sequence
from enum import Enum
from ipaddress import IPv6Address, IPv6Network, ip_address

from api.client_network import Network

IPV6_PREFIX_BITS = 64
"""What one machine usually has to itself."""


class Refusal(Enum):
    """What becomes of a connection that is one too many."""

    ANSWERED = "answered"
    CUT_OFF = "cut off"


class Peers:
    """The connections of one listener: see `server.asgi.AsgiLimits` for what the numbers mean."""

    def __init__(
        self, *, connections_max: int, connections_per_peer_max: int, connections_refused_max: int, unlimited: Sequence[Network]
    ) -> None:
        self._connections_max = connections_max
        self._per_peer_max = connections_per_peer_max
        self._refused_max = connections_refused_max
        self._unlimited = unlimited
        self._served = 0
        self._refused = 0
        self._of_peer: Counter[str] = Counter()

    def enter(self, host: str) -> "Place":
        """A place for a new connection from `host`; whoever gets it, also with a refusal, has to leave it."""
        peer = self._counted_as(host)
        if self._served >= self._connections_max or (peer is not None and self._of_peer[peer] >= self._per_peer_max):
            self._refused += 1
            too_many = self._refused > self._refused_max
            return Place(self, peer, Refusal.CUT_OFF if too_many else Refusal.ANSWERED)
        self._served += 1
        if peer is not None:
            self._of_peer[peer] += 1
        return Place(self, peer, None)

    def _leave(self, peer: str | None, refusal: Refusal | None) -> None:
        if refusal is not None:
            self._refused -= 1
            return
        self._served -= 1
        if peer is not None:
            self._of_peer[peer] -= 1
            if not self._of_peer[peer]:
                del self._of_peer[peer]

    def _counted_as(self, host: str) -> str | None:
        """The peer that connections from `host` are counted for; None where their number is not limited."""
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return host
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if address.is_loopback or any(address in network for network in self._unlimited):
            return None
        if isinstance(address, IPv6Address):
            return str(IPv6Network((address, IPV6_PREFIX_BITS), strict=False))
        return str(address)


class Place:
    """The place of one connection; `refusal` is None for one that is served. Leaving twice is harmless."""

    def __init__(self, peers: Peers, peer: str | None, refusal: Refusal | None) -> None:
        self.refusal = refusal
        self._peers: Peers | None = peers
        self._peer = peer

    def leave(self) -> None:
        """Give it back."""
        if self._peers is not None:
            self._peers._leave(self._peer, self.refusal)  # noqa: SLF001
            self._peers = None
