"""TLS and client certificates on the gRPC port."""

import asyncio
import socket
import ssl
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import grpc
import grpc.aio
import pytest
import trustme

from collector.auth import IngestAccess
from collector.otlp.grpc import GrpcLimits, OtlpGrpcServer
from collector.otlp.grpc_tls import GrpcTls, TlsIdentity, grpc_accepts, peer_names
from driftlock.accounts.access import Access
from driftlock.accounts.certificates import ClientTable, PeerNames
from driftlock.accounts.keys import RANDOMNESS_BYTES, KeyKind, KeyRecord, Principal, Scope, mint
from driftlock.engine.event import Signal
from tests.certificates import chain, serial, with_uris
from tests.collector.fakes import TENANT, Bench, bench, grpc_bench
from tests.collector.grpc_calls import AUTH, HELLO, Client

OTHER = UUID(int=8)
KEY = mint(KeyKind.TEST, bytes(range(RANDOMNESS_BYTES)))
AUTHORITY, STRANGER = trustme.CA(), trustme.CA()
SERVER = AUTHORITY.issue_cert("localhost", "127.0.0.1")
CLIENT = with_uris(AUTHORITY, "collector-1", ["Collector.Example"], ["spiffe://example.org/c"])
TABLE = {("dns", "collector.example"): TENANT}


def identity(certificate: trustme.LeafCert = SERVER, clients: trustme.CA | None = None) -> TlsIdentity:
    authority = None if clients is None else clients.cert_pem.bytes()
    return TlsIdentity(chain(certificate), certificate.private_key_pem.bytes(), authority)


def channel(port: int, client: trustme.LeafCert | None = None) -> grpc.aio.Channel:
    own = (None, None) if client is None else (client.private_key_pem.bytes(), chain(client))
    credentials = grpc.ssl_channel_credentials(AUTHORITY.cert_pem.bytes(), *own)
    # Channels of equal settings would share a connection with those of a test before.
    return grpc.aio.secure_channel(f"localhost:{port}", credentials, [("grpc.use_local_subchannel_pool", 1)])


def handshake(port: int, version: ssl.TLSVersion | None = None) -> ssl.SSLSocket:
    """A connection with the standard library's TLS, which shows the server's certificate."""
    context = ssl.create_default_context(cadata=AUTHORITY.cert_pem.bytes().decode())
    context.set_alpn_protocols(["h2"])
    if version is not None:
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = version
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
        return context.wrap_socket(plain, server_hostname="localhost")


def shown(port: int) -> int:
    with handshake(port) as connection:
        return int((connection.getpeercert() or {})["serialNumber"], 16)  # type: ignore[arg-type]


class Directory:
    """One key of a tenant, with the scopes it is given."""

    def __init__(self, tenant_id: UUID, *scopes: Scope) -> None:
        self.record = KeyRecord(KEY.key_id, tenant_id, KEY.digest, frozenset(scopes))

    async def lookup(self, key_id: str, now: datetime) -> KeyRecord | None:
        assert now.tzinfo is UTC
        return self.record if key_id == KEY.key_id else None


def access(table: dict[tuple[str, str], UUID] | None, key_tenant: UUID = TENANT, *scopes: Scope) -> IngestAccess:
    directory = Directory(key_tenant, *(scopes or (Scope.INGEST,)))
    anonymous = Principal(TENANT, frozenset({Scope.INGEST}))
    clients = None if table is None else ClientTable(table)
    return IngestAccess(Access(directory, anonymous=anonymous), lambda: datetime.now(UTC), lambda: clients)


async def test_records_arrive_over_tls_with_a_key() -> None:
    async with grpc_bench(tls=GrpcTls(identity)) as (parts, server), channel(server.port) as secure:
        assert await Client(secure, parts, server).export(HELLO) == b""
        assert parts.intake.lines() == ["hello"]
        assert parts.authenticator.seen[0].certificate is None


async def test_without_tls_nothing_is_understood() -> None:
    async with grpc_bench(tls=GrpcTls(identity)) as (parts, server):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as plain:
            failure = await Client(plain, parts, server).failure(timeout=2)
            assert failure.code() is grpc.StatusCode.UNAVAILABLE
        assert parts.authenticator.seen == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_1_2_and_newer(version: ssl.TLSVersion) -> None:
    async with grpc_bench(tls=GrpcTls(identity)) as (_, server):
        with await asyncio.to_thread(handshake, server.port, version) as connection:
            assert connection.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_older_tls_is_refused() -> None:
    async with grpc_bench(tls=GrpcTls(identity)) as (_, server):
        with pytest.raises(ssl.SSLError, match=r"(?i)protocol"):
            await asyncio.to_thread(handshake, server.port, ssl.TLSVersion.TLSv1_1)


async def test_a_handshake_that_does_not_come_is_not_waited_for() -> None:
    limits = GrpcLimits(handshake_timeout_ms=150)
    async with grpc_bench(tls=GrpcTls(identity), grpc_limits=limits) as (_, server):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize("client", [None, STRANGER.issue_cert("collector.example")], ids=["none", "of another authority"])
async def test_with_a_client_ca_a_good_certificate_is_needed(client: trustme.LeafCert | None) -> None:
    async with grpc_bench(tls=GrpcTls(lambda: identity(clients=AUTHORITY))) as (parts, server):
        async with channel(server.port, client) as secure:
            failure = await Client(secure, parts, server).failure(timeout=2)
            assert failure.code() is grpc.StatusCode.UNAVAILABLE
        assert parts.authenticator.seen == []


async def mutual(authenticator: IngestAccess, metadata: tuple[tuple[str, str], ...]) -> tuple[Bench, grpc.StatusCode]:
    """One call with the client's certificate; -> its status."""
    tls = GrpcTls(lambda: identity(clients=AUTHORITY))
    async with grpc_bench(tls=tls, authenticator=authenticator) as (parts, server), channel(server.port, CLIENT) as secure:
        try:
            await Client(secure, parts, server).export(HELLO, Signal.LOGS, metadata, timeout=5)
        except grpc.aio.AioRpcError as error:
            return parts, error.code()
        return parts, grpc.StatusCode.OK


WITH_KEY = (("x-api-key", KEY.text),)


@pytest.mark.parametrize(
    ("authenticator", "metadata", "status"),
    [
        (access(TABLE), (), grpc.StatusCode.OK),
        (access(TABLE), WITH_KEY, grpc.StatusCode.OK),
        (access(TABLE, OTHER), WITH_KEY, grpc.StatusCode.UNAUTHENTICATED),
        (access(TABLE, TENANT, Scope.READ), WITH_KEY, grpc.StatusCode.PERMISSION_DENIED),
        (access(TABLE), AUTH, grpc.StatusCode.UNAUTHENTICATED),  # a key that is none is not made good by the certificate
        (access({("dns", "other.example"): TENANT}), (), grpc.StatusCode.UNAUTHENTICATED),  # nobody is anonymous here
        (access({("dns", "other.example"): TENANT}), WITH_KEY, grpc.StatusCode.OK),
        (access(None), (), grpc.StatusCode.UNAUTHENTICATED),
        (access(None, OTHER), WITH_KEY, grpc.StatusCode.OK),
        (access({**TABLE, ("common_name", "collector-1"): OTHER}), (), grpc.StatusCode.UNAUTHENTICATED),
    ],
    ids=[
        "listed",
        "listed, with a key of the same tenant",
        "listed, with a key of another tenant",
        "listed, with a key that may not ingest",
        "listed, with a wrong key",
        "not listed",
        "not listed, with a key",
        "no table",
        "no table, with a key",
        "listed for two tenants",
    ],
)
async def test_a_listed_certificate_counts_as_a_key(
    authenticator: IngestAccess, metadata: tuple[tuple[str, str], ...], status: grpc.StatusCode
) -> None:
    parts, found = await mutual(authenticator, metadata)
    assert found is status
    assert len(parts.intake.submissions) == (status is grpc.StatusCode.OK)
    expected = OTHER if status is grpc.StatusCode.OK and authenticator._clients() is None else TENANT
    assert all(submission.tenant_id == expected for submission in parts.intake.submissions)


async def test_the_certificate_is_replaced_for_new_connections_only() -> None:
    renewed = AUTHORITY.issue_cert("localhost")
    current = [identity()]
    async with grpc_bench(tls=GrpcTls(lambda: current[0])) as (parts, server), channel(server.port) as old:
        assert await Client(old, parts, server).export(HELLO) == b""
        assert await asyncio.to_thread(shown, server.port) == serial(SERVER)
        current[0] = identity(renewed)
        assert await asyncio.to_thread(shown, server.port) == serial(renewed)
        assert await Client(old, parts, server).export(HELLO) == b""
        async with channel(server.port) as new:
            assert await Client(new, parts, server).export(HELLO) == b""


async def test_an_authority_can_be_replaced_too() -> None:
    current = [identity(clients=STRANGER)]
    async with grpc_bench(tls=GrpcTls(lambda: current[0])) as (parts, server):
        async with channel(server.port, CLIENT) as secure:
            assert (await Client(secure, parts, server).failure(timeout=2)).code() is grpc.StatusCode.UNAVAILABLE
        current[0] = identity(clients=AUTHORITY)
        async with channel(server.port, CLIENT) as secure:
            assert await Client(secure, parts, server).export(HELLO, timeout=5) == b""
        assert parts.authenticator.seen[0].certificate == PeerNames(
            "collector-1", ("Collector.Example",), ("spiffe://example.org/c",)
        )


def test_names_that_are_not_unicode_are_not_confused() -> None:
    names = peer_names({"x509_common_name": [b"a\xff"], "peer_uri": [b"spiffe://x"], "peer_email": [b"a@b"]})
    assert names == PeerNames("a\\xff", (), ("spiffe://x",))
    assert peer_names({}) == PeerNames()


def test_a_private_key_is_not_shown() -> None:
    assert b"PRIVATE" in identity().key
    assert "PRIVATE" not in repr(identity())


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_what_grpc_can_use_is_told_apart() -> None:
    assert grpc_accepts(identity())
    before = open_files()
    assert grpc_accepts(identity(clients=AUTHORITY))
    for spoilt in (
        replace(identity(), chain=b""),
        replace(identity(), key=STRANGER.private_key_pem.bytes()),
        replace(identity(clients=AUTHORITY), client_ca=b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
    ):
        assert not grpc_accepts(spoilt)
        assert grpc_accepts(identity())
    assert open_files() <= before  # no listener stays


async def test_a_port_that_can_not_be_had_names_the_tls_settings_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for tls, told in (
            (None, r"is another server running there\?$"),
            (GrpcTls(identity), "gRPC can not use .*_TLS_CERT_FILE"),
        ):
            async with bench() as parts:
                server = OtlpGrpcServer(parts.exporter, address=address, limits=GrpcLimits(), tls=tls)
                with pytest.raises(OSError, match=told):
                    await server.__aenter__()
