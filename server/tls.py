"""Certificates of the OTLP ports: read, checked, watched, and replaced while the server runs.

New connections get the files' newest contents as soon as all of them fit together; until then what was in force stays so.
"""

import asyncio
import os
import ssl
import stat
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from structlog.typing import FilteringBoundLogger

from collector.otlp.grpc_tls import TlsIdentity, grpc_accepts
from driftlock.accounts.certificates import ClientTable, PeerNames, parse_clients
from driftlock.errors import Unavailable
from driftlock.storage.startup import StartupRefused
from server.tls_keys import GOOD_KEYS, unusable_key

FILE_BYTES_MAX = 1024 * 1024
RELOAD_PERIOD_S = 5.0
CERT = "DRIFTLOCK_OTLP_TLS_CERT_FILE"
KEY = "DRIFTLOCK_OTLP_TLS_KEY_FILE"
CLIENT_CA = "DRIFTLOCK_OTLP_TLS_CLIENT_CA_FILE"
CLIENTS = "DRIFTLOCK_OTLP_TLS_CLIENTS_FILE"
_REASONS = {
    "KEY_VALUES_MISMATCH": "the key is not the certificate's",
    "EE_KEY_TOO_SMALL": f"the certificate's key is too small; use {GOOD_KEYS}",
}


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where the PEM files are. With `client_ca` every client has to show a certificate; `clients` says whose they are."""

    cert: Path
    key: Path
    client_ca: Path | None = None
    clients: Path | None = None


@dataclass(frozen=True, slots=True)
class _Contents:
    """What the files held at one time."""

    cert: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None
    clients: bytes | None


@dataclass(frozen=True, slots=True)
class _InForce:
    """What is in force, in the forms that its users want."""

    contents: _Contents
    identity: TlsIdentity
    context: ssl.SSLContext
    clients: ClientTable | None


class TlsStore:
    """The certificates in force. `check` raises `StartupRefused` for a table of clients that can not be used."""

    def __init__(
        self, files: TlsFiles, in_force: _InForce, check: Callable[[ClientTable], Awaitable[None]], log: FilteringBoundLogger
    ) -> None:
        """Use `open_tls`."""
        self._files = files
        self._in_force = in_force
        self._check = check
        self._log = log
        self._complaint = ""

    def identity(self) -> TlsIdentity:
        """The identity in force; from any thread."""
        return self._in_force.identity

    def clients(self) -> ClientTable | None:
        """The table of client certificates in force; None without one."""
        return self._in_force.clients

    def context(self) -> ssl.SSLContext:
        """A context that begins each connection with the certificates then in force."""
        return _CurrentContext(lambda: self._in_force.context)

    async def watch(self, period_s: float = RELOAD_PERIOD_S) -> None:
        """Look at the files for ever."""
        while True:
            await asyncio.sleep(period_s)
            await self.reload()

    async def reload(self) -> None:
        """Put the files' contents in force if they are new and good; tell once what is wrong with them."""
        try:
            contents = await asyncio.to_thread(_read_all, self._files)
            if contents != self._in_force.contents:
                self._in_force = await _loaded(self._files, contents, self._check)
                self._log.info("TLS files reloaded", certificate=str(self._files.cert))
            self._complaint = ""
        except (StartupRefused, Unavailable) as error:
            if error.message != self._complaint:
                self._complaint = error.message
                self._log.warning("new TLS files are not used, the old ones stay in force", why=error.message)


async def open_tls(files: TlsFiles, check: Callable[[ClientTable], Awaitable[None]], log: FilteringBoundLogger) -> TlsStore:
    """The files, read and checked. Raises `StartupRefused` with one line that names the setting, `Unavailable` by `check`."""
    return TlsStore(files, await _loaded(files, await asyncio.to_thread(_read_all, files), check), check, log)


def names_of(certificate: Mapping[str, Any]) -> PeerNames:
    """The names in a verified certificate, as `ssl.SSLSocket.getpeercert` gives it."""
    common = [value for group in certificate.get("subject", ()) for name, value in group if name == "commonName"]
    others: tuple[tuple[str, str], ...] = certificate.get("subjectAltName", ())
    dns = tuple(value for kind, value in others if kind == "DNS")
    return PeerNames(common[0] if common else "", dns, tuple(value for kind, value in others if kind == "URI"))


class _CurrentContext(ssl.SSLContext):
    """A context whose connections are those of another one, asked for anew for each.

    Changing a context in place would leave it half changed by a bad file, and could not take back an authority.
    """

    _current: Callable[[], ssl.SSLContext]

    def __new__(cls, current: Callable[[], ssl.SSLContext]) -> "_CurrentContext":
        made = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        made._current = current
        return made

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """What event loops begin a connection with."""
        return self._current().wrap_bio(incoming, outgoing, server_side, server_hostname, session)


def _read_all(files: TlsFiles) -> _Contents:
    return _Contents(
        _read(CERT, files.cert),
        _read(KEY, files.key),
        None if files.client_ca is None else _read(CLIENT_CA, files.client_ca),
        None if files.clients is None else _read(CLIENTS, files.clients),
    )


def _read(setting: str, path: Path) -> bytes:
    try:
        with open(path, "rb", opener=_no_wait) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise StartupRefused(f"{setting}={path} is not a regular file: name a file that can be read again and again")
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise StartupRefused(f"{setting}={path} can not be read: {error.strerror or error}") from None
    if len(data) > FILE_BYTES_MAX:
        raise StartupRefused(f"{setting}={path} is larger than {FILE_BYTES_MAX} bytes")
    return data


def _no_wait(path: str, flags: int) -> int:
    """Opens for `open`; to open a named pipe would else take until somebody writes to it."""
    return os.open(path, flags | os.O_NONBLOCK)


async def _loaded(files: TlsFiles, contents: _Contents, check: Callable[[ClientTable], Awaitable[None]]) -> _InForce:
    found = await asyncio.to_thread(_load, files, contents)
    if found.clients is not None:
        await check(found.clients)
    return found


def _load(files: TlsFiles, contents: _Contents) -> _InForce:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # An empty password: without any, OpenSSL would ask for that of an encrypted key on the terminal.
        context.load_cert_chain(files.cert, files.key, password="")
    except (ssl.SSLError, OSError) as error:
        why = _REASONS.get(_reason(error), _reason(error))
        raise StartupRefused(
            f"{CERT}={files.cert} and {KEY}={files.key} can not be used ({why}): "
            "give a PEM certificate with its chain, and its unencrypted PEM key"
        ) from None
    _check_key(files, contents.cert)
    if contents.client_ca is not None:
        try:
            context.load_verify_locations(cadata=contents.client_ca.decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            text = f"{CLIENT_CA}={files.client_ca} can not be used ({_reason(error)}): give PEM certificates of authorities"
            raise StartupRefused(text) from None
        context.verify_mode = ssl.CERT_REQUIRED
    if _read_all(files) != contents:  # OpenSSL reads by path, so it may have read what came after `contents`
        raise StartupRefused(f"{CERT}={files.cert} and the files beside it were changed while they were read")
    identity = TlsIdentity(contents.cert, contents.key, contents.client_ca)
    if not grpc_accepts(identity):
        used = f"{CERT}={files.cert}, {KEY}={files.key}" + (f" or {CLIENT_CA}={files.client_ca}" if files.client_ca else "")
        raise StartupRefused(f"gRPC can not use {used}, though OpenSSL can; its own log lines say why")
    return _InForce(contents, identity, context, _clients(files, contents.clients))


def _check_key(files: TlsFiles, cert: bytes) -> None:
    try:
        kind = unusable_key(cert)
    except ValueError as error:
        raise StartupRefused(f"{CERT}={files.cert} can not be used: {error}") from None
    if kind is not None:
        raise StartupRefused(
            f"{CERT}={files.cert} can not be used: its key is {kind}, which OTLP/gRPC, OTLP/HTTP and their clients can not all "
            f"use; make a certificate for a key of {GOOD_KEYS}"
        )


def _clients(files: TlsFiles, data: bytes | None) -> ClientTable | None:
    if data is None:
        return None
    try:
        return parse_clients(data.decode())
    except ValueError as error:
        raise StartupRefused(f"{CLIENTS}={files.clients} can not be used: {error}") from None


def _reason(error: Exception) -> str:
    return (error.reason if isinstance(error, ssl.SSLError) else None) or str(error)
