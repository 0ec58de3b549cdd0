"""Certificates from files: what is wrong with them, TLS on the HTTP port, and replacement without a restart."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import structlog
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from structlog.testing import capture_logs

from collector.auth import CLIENT_CERTIFICATE
from driftlock.accounts.certificates import ClientTable, PeerNames
from driftlock.errors import Unavailable
from driftlock.storage.startup import StartupRefused
from server.addresses import Address
from server.asgi import AsgiLimits, AsgiServer
from server.tls import FILE_BYTES_MAX, TlsStore, names_of, open_tls
from tests.certificates import Folder, chain, serial, with_key, with_uris

TENANT = UUID(int=7)
LISTED = f'[[client]]\ncommon_name = "collector-1"\ntenant = "{TENANT}"\n'


async def known(clients: ClientTable) -> None:
    if clients.tenant_ids - {TENANT}:
        raise StartupRefused("there is no such tenant")


async def opened(folder: Folder, check: Any = known) -> TlsStore:
    return await open_tls(folder.files, check, structlog.get_logger())


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def mutual(tmp_path: Path) -> Folder:
    made = Folder(tmp_path, mutual=True)
    made.clients(LISTED)
    return made


async def test_good_files_are_in_force(mutual: Folder) -> None:
    store = await opened(mutual)
    identity, clients = store.identity(), store.clients()
    assert (identity.chain, identity.client_ca) == (chain(mutual.current), mutual.authority.cert_pem.bytes())
    assert clients is not None
    assert clients.tenant(PeerNames("collector-1")) == TENANT


async def test_without_client_files_there_is_no_table(folder: Folder) -> None:
    store = await opened(folder)
    assert (store.clients(), store.identity().client_ca) == (None, None)


def encrypted(folder: Folder) -> bytes:
    key = serialization.load_pem_private_key(folder.current.private_key_pem.bytes(), None)
    protection = serialization.BestAvailableEncryption(b"word")
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cert.pem", b"", "DRIFTLOCK_OTLP_TLS_CERT_FILE=.* can not be used .*: give a PEM certificate"),
        ("cert.pem", None, "DRIFTLOCK_OTLP_TLS_CERT_FILE=.*cert.pem can not be read: No such file"),
        ("cert.pem", b"x" * (FILE_BYTES_MAX + 1), "DRIFTLOCK_OTLP_TLS_CERT_FILE=.* is larger than 1048576 bytes"),
        ("key.pem", b"junk", "DRIFTLOCK_OTLP_TLS_KEY_FILE=.* can not be used"),
        ("key.pem", "other", "the key is not the certificate's"),
        ("key.pem", "encrypted", "its unencrypted PEM key"),
        ("ca.pem", b"", "DRIFTLOCK_OTLP_TLS_CLIENT_CA_FILE=.* can not be used"),
        ("ca.pem", b"\xff", "DRIFTLOCK_OTLP_TLS_CLIENT_CA_FILE=.* can not be used"),
        ("ca.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "CLIENT_CA_FILE=.* can not be used"),
        ("clients.toml", b"[[client]]", "DRIFTLOCK_OTLP_TLS_CLIENTS_FILE=.* can not be used: client 1"),
        ("clients.toml", b"\xff", "DRIFTLOCK_OTLP_TLS_CLIENTS_FILE=.* can not be used"),
        ("clients.toml", LISTED.replace("7", "8").encode(), "there is no such tenant"),
    ],
    ids=str,
)
async def test_bad_files_stop_the_start_and_change_nothing_later(
    mutual: Folder, name: str, content: bytes | str | None, message: str
) -> None:
    store = await opened(mutual)
    before = (store.identity(), store.clients())
    path = mutual.path / name
    if content is None:
        path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_bytes(trustme.CA().private_key_pem.bytes() if content == "other" else encrypted(mutual))
    with pytest.raises(StartupRefused, match=message) as refused:
        await opened(mutual)
    assert "PRIVATE" not in refused.value.message
    assert "\n" not in refused.value.message
    with capture_logs() as lines:
        await store.reload()
        await store.reload()
    assert (store.identity(), store.clients()) == before
    (line,) = lines  # told once
    assert line["log_level"] == "warning"
    assert line["event"] == "new TLS files are not used, the old ones stay in force"


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (ed25519.Ed25519PrivateKey.generate, "Ed25519"),
        (lambda: ec.generate_private_key(ec.SECP521R1()), "ECDSA P-521"),
        (lambda: ec.generate_private_key(ec.SECP256K1()), "ECDSA secp256k1"),
    ],
    ids=["Ed25519", "P-521", "secp256k1"],
)
async def test_keys_that_one_port_could_not_use_are_refused_for_both(folder: Folder, make: Any, kind: str) -> None:
    store = await opened(folder)
    before = store.identity()
    folder.write(with_key(folder.authority, make()))
    with pytest.raises(StartupRefused, match=f"CERT_FILE=.* its key is {kind}, .* make a certificate for a key of RSA of 2048"):
        await opened(folder)
    with capture_logs() as lines:
        await store.reload()
    assert store.identity() is before
    (line,) = lines
    assert line["event"] == "new TLS files are not used, the old ones stay in force"
    assert f"its key is {kind}" in line["why"]


@pytest.mark.parametrize(
    "make",
    [lambda: ec.generate_private_key(ec.SECP384R1()), lambda: rsa.generate_private_key(65537, 2048)],
    ids=["P-384", "RSA 2048"],
)
async def test_keys_that_both_ports_can_use(folder: Folder, make: Any) -> None:
    folder.write(with_key(folder.authority, make()))
    assert (await opened(folder)).identity().chain == chain(folder.current)


async def test_what_openssl_takes_but_grpc_does_not_is_refused(folder: Folder) -> None:
    """A certificate of version 1 with extensions, which only version 3 has."""
    store = await opened(folder)
    before = store.identity()
    der = ssl.PEM_cert_to_DER_cert(folder.current.cert_chain_pems[0].bytes().decode())
    third, first = bytes.fromhex("a003020102"), bytes.fromhex("a003020100")
    assert der.count(third) == 1
    (folder.path / "cert.pem").write_text(ssl.DER_cert_to_PEM_cert(der.replace(third, first)))
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(folder.files.cert, folder.files.key)
    with pytest.raises(StartupRefused, match=r"gRPC can not use DRIFTLOCK_OTLP_TLS_CERT_FILE=.*, DRIFTLOCK_OTLP_TLS_KEY_FILE="):
        await opened(folder)
    await store.reload()
    assert store.identity() is before


@pytest.mark.parametrize("name", ["cert.pem", "key.pem", "ca.pem", "clients.toml"])
async def test_a_named_pipe_is_not_waited_for(mutual: Folder, name: str) -> None:
    (mutual.path / name).unlink()
    os.mkfifo(mutual.path / name)
    async with asyncio.timeout(5):
        with pytest.raises(StartupRefused, match=f"{name} is not a regular file"):
            await opened(mutual)


async def test_good_files_replace_what_is_in_force_as_a_whole(mutual: Folder) -> None:
    store = await opened(mutual)
    first = store.identity()
    await store.reload()
    assert store.identity() is first  # nothing new
    renewed = mutual.authority.issue_cert("localhost")
    (mutual.path / "cert.pem").write_bytes(chain(renewed))
    with capture_logs() as lines:
        await store.reload()  # the key is still the old one
        assert store.identity() is first
        (mutual.path / "key.pem").write_bytes(renewed.private_key_pem.bytes())
        mutual.clients("")
        await store.reload()
    assert store.identity().chain == chain(renewed)
    assert len(store.clients() or ()) == 0
    assert [line["event"] for line in lines] == [
        "new TLS files are not used, the old ones stay in force",
        "TLS files reloaded",
    ]


async def test_a_link_that_leads_elsewhere_is_a_change(folder: Folder) -> None:
    """Secrets that are mounted into containers are replaced so."""
    linked = replace(folder.files, cert=folder.path / "link-cert", key=folder.path / "link-key")
    linked.cert.symlink_to("cert.pem")
    linked.key.symlink_to("key.pem")
    store = await open_tls(linked, known, structlog.get_logger())
    renewed = folder.authority.issue_cert("localhost")
    (folder.path / "new-cert").write_bytes(chain(renewed))
    (folder.path / "new-key").write_bytes(renewed.private_key_pem.bytes())
    for link, target in ((linked.cert, "new-cert"), (linked.key, "new-key")):
        (folder.path / "next").symlink_to(target)
        (folder.path / "next").replace(link)
    await store.reload()
    assert store.identity().chain == chain(renewed)


async def test_tenants_that_can_not_be_looked_up_now_are_looked_up_later(mutual: Folder) -> None:
    away = True

    async def check(clients: ClientTable) -> None:
        if away:
            raise Unavailable("the database is away")

    with pytest.raises(Unavailable):
        await opened(mutual, check)
    away = False
    store = await opened(mutual, check)
    away = True
    mutual.clients("")
    with capture_logs() as lines:
        await store.reload()
        assert len(store.clients() or ()) == 1
        away = False
        await store.reload()
    assert len(store.clients() or ()) == 0
    assert [line["log_level"] for line in lines] == ["warning", "info"]


async def test_the_files_are_watched(folder: Folder) -> None:
    store = await opened(folder)
    watching = asyncio.create_task(store.watch(period_s=0.01))
    renewed = folder.authority.issue_cert("localhost")
    folder.write(renewed)
    async with asyncio.timeout(5):
        while store.identity().chain != chain(renewed):  # noqa: ASYNC110 - files have no events
            await asyncio.sleep(0.01)
    watching.cancel()


async def names(request: Request) -> JSONResponse:
    shown: PeerNames | None = request.scope.get("extensions", {}).get(CLIENT_CERTIFICATE)
    return JSONResponse([request.url.scheme, None if shown is None else list(shown.names())])


@asynccontextmanager
async def serving(store: TlsStore) -> AsyncIterator[str]:
    server = AsgiServer(
        Starlette(routes=[Route("/", names)]),
        address=Address("127.0.0.1", 0),
        what="OTLP/HTTP",
        limits=AsgiLimits(),
        tls=store.context(),
    )
    async with server:
        yield f"https://localhost:{server.port}/"


def trust(folder: Folder, client: trustme.LeafCert | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=folder.authority.cert_pem.bytes().decode())
    if client is not None:
        client.configure_cert(context)
    return context


async def test_https(folder: Folder) -> None:
    store = await opened(folder)
    async with serving(store) as url, httpx.AsyncClient(verify=trust(folder)) as client:
        assert (await client.get(url)).json() == ["https", None]
        async with httpx.AsyncClient() as plain:
            with pytest.raises(httpx.TransportError):
                await plain.get(url.replace("https", "http"))


async def test_https_with_a_client_certificate(mutual: Folder) -> None:
    store = await opened(mutual)
    own = with_uris(mutual.authority, "collector-1", ["C.example"], ["spiffe://example.org/c"])
    strange = trustme.CA().issue_cert("c.example")
    async with serving(store) as url:
        async with httpx.AsyncClient(verify=trust(mutual, own)) as client:
            scheme, shown = (await client.get(url)).json()
        assert scheme == "https"
        assert shown == [["common_name", "collector-1"], ["dns", "c.example"], ["uri", "spiffe://example.org/c"]]
        for other in (None, strange):
            async with httpx.AsyncClient(verify=trust(mutual, other)) as client:
                with pytest.raises(httpx.TransportError):
                    await client.get(url)


def served(url: str, folder: Folder) -> int:
    address = ("127.0.0.1", httpx.URL(url).port or 0)
    with (
        socket.create_connection(address, timeout=5) as plain,
        trust(folder).wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        return int(str((connection.getpeercert() or {})["serialNumber"]), 16)


async def test_new_connections_get_the_new_certificate_and_old_ones_go_on(folder: Folder) -> None:
    store = await opened(folder)
    async with serving(store) as url, httpx.AsyncClient(verify=trust(folder)) as client:
        assert (await client.get(url)).status_code == 200
        assert await asyncio.to_thread(served, url, folder) == serial(folder.current)
        folder.write(folder.authority.issue_cert("localhost", "127.0.0.1"))
        await store.reload()
        assert await asyncio.to_thread(served, url, folder) == serial(folder.current)
        assert (await client.get(url)).status_code == 200


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize(("version", "good"), [("TLSv1_1", False), ("TLSv1_2", True), ("TLSv1_3", True)])
async def test_tls_1_2_and_newer(folder: Folder, version: str, good: bool) -> None:
    store = await opened(folder)
    context = trust(folder)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = ssl.TLSVersion[version]
    async with serving(store) as url, httpx.AsyncClient(verify=context) as client:
        if good:
            assert (await client.get(url)).status_code == 200
        else:
            with pytest.raises(httpx.ConnectError):
                await client.get(url)


def test_names_of_a_certificate() -> None:
    certificate = {
        "subject": ((("organizationName", "x"),), (("commonName", "first"),), (("commonName", "second"),)),
        "subjectAltName": (("DNS", "a.example"), ("URI", "spiffe://x"), ("email", "a@b"), ("IP Address", "127.0.0.1")),
    }
    assert names_of(certificate) == PeerNames("first", ("a.example",), ("spiffe://x",))
    assert names_of({}) == PeerNames()
