"""TLS of the gRPC port: credentials that follow the certificate in force, and the names a client's certificate holds."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
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

    `current` must give only what gRPC can use (`grpc_accepts`): it would go on with what it had, and not say so.
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


def grpc_accepts(identity: TlsIdentity) -> bool:
    """Whether gRPC can use an identity; it logs why not.

    A running server would go on with what it had, and not say so. So another one, without services, is made to listen on a
    free loopback port for a moment. Blocks for some ms.
    """
    given = _configuration(identity)
    credentials = grpc.dynamic_ssl_server_credentials(given, _no_change, identity.client_ca is not None)
    with ThreadPoolExecutor(1) as threads:
        server = grpc.server(threads, options=[("grpc.so_reuseport", 0)])
        try:
            return server.add_secure_port("127.0.0.1:0", credentials) != 0
        except RuntimeError:
            return False
        finally:
            server.start()  # one that never was started keeps its port
            server.stop(None).wait()


def peer_names(properties: Mapping[str, Iterable[bytes]]) -> PeerNames:
    """The names in a client's certificate, from the properties of an authenticated call (`auth_context`)."""

    def texts(name: str) -> tuple[str, ...]:
        return tuple(value.decode("utf-8", "backslashreplace") for value in properties.get(name, ()))

    return PeerNames(next(iter(texts("x509_common_name")), ""), texts("peer_dns"), texts("peer_uri"))


def _no_change() -> Any:  # the stubs do not know that None stands for that
    return None


def _configuration(identity: TlsIdentity) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(identity.key, identity.chain)], identity.client_ca)
