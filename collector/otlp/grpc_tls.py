"""TLS of the gRPC port: credentials that follow the certificate in force, and the names a client's certificate holds."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc

from driftlock.accounts.certificates import PeerNames


@dataclass(frozen=True, slots=True)
class TlsIdentity:
    """PEM texts: the server's certificate with its chain, its private key, and who signs the certificates of clients.

    With `client_ca` every client has to show a certificate that it signed.
    """

    chain: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None = None


class GrpcTls:
    """TLS for a gRPC server. `current` gives the identity in force, and is called from any thread, once a connection.

    Connections that are open keep what they began with. Whether clients have to show a certificate is settled at the start.
    """

    def __init__(self, current: Callable[[], TlsIdentity]) -> None:
        self._current = current
        self._given = current()
        self.client_auth = self._given.client_ca is not None

    def credentials(self) -> grpc.ServerCredentials:
        """What a secure port is made with; TLS 1.2 and 1.3 only."""
        changed: Any = self._changed  # the stubs do not know that None stands for no change
        return grpc.dynamic_ssl_server_credentials(_configuration(self._given), changed, self.client_auth)

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        identity = self._current()
        if identity is self._given:
            return None
        self._given = identity
        return _configuration(identity)


def peer_names(properties: Mapping[str, Iterable[bytes]]) -> PeerNames:
    """The names in a client's certificate, from the properties of an authenticated call (`auth_context`)."""

    def texts(name: str) -> tuple[str, ...]:
        return tuple(value.decode("utf-8", "backslashreplace") for value in properties.get(name, ()))

    return PeerNames(next(iter(texts("x509_common_name")), ""), texts("peer_dns"), texts("peer_uri"))


def _configuration(identity: TlsIdentity) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(identity.key, identity.chain)], identity.client_ca)
