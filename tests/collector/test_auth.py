"""Keys and peers as they arrive."""

import doctest
from datetime import UTC, datetime
from uuid import UUID

import pytest

from collector import auth
from collector.auth import Credentials, IngestAccess, Sender, grpc_peer, header, presented_keys
from driftlock.accounts.access import REFUSED, Access
from driftlock.accounts.certificates import ClientTable, PeerNames
from driftlock.accounts.keys import RANDOMNESS_BYTES, KeyKind, KeyRecord, Principal, Scope, mint
from driftlock.errors import PermissionDenied, Unauthenticated

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TENANT = UUID(int=7)
KEY = mint(KeyKind.TEST, bytes(range(RANDOMNESS_BYTES)))


class Directory:
    """One key, with the scopes and the stream it is given."""

    def __init__(self, scopes: frozenset[Scope], stream: str | None = None) -> None:
        self.record = KeyRecord(KEY.key_id, TENANT, KEY.digest, scopes, stream)

    async def lookup(self, key_id: str, now: datetime) -> KeyRecord | None:
        assert now == NOW
        return self.record if key_id == KEY.key_id else None


def ingest(
    *scopes: Scope, stream: str | None = None, anonymous: Principal | None = None, clients: ClientTable | None = None
) -> IngestAccess:
    return IngestAccess(Access(Directory(frozenset(scopes), stream), anonymous=anonymous), lambda: NOW, lambda: clients)


async def test_a_key_with_the_scope_names_its_tenant() -> None:
    assert await ingest(Scope.INGEST).sender(Credentials((KEY.text,), peer="203.0.113.9")) == Sender(TENANT)


async def test_a_key_without_the_scope_is_denied() -> None:
    with pytest.raises(PermissionDenied, match="ingest"):
        await ingest(Scope.READ).sender(Credentials((KEY.text,)))


async def test_a_key_bound_to_a_stream_binds_the_sender_to_its_normal_name() -> None:
    assert await ingest(Scope.INGEST, stream=" cafe\u0301 ").sender(Credentials((KEY.text,))) == Sender(TENANT, "café")


async def test_two_keys_are_none() -> None:
    with pytest.raises(Unauthenticated):
        await ingest(Scope.INGEST).sender(Credentials((KEY.text, "other")))


async def test_anonymous_is_local_only() -> None:
    access = ingest(anonymous=Principal(TENANT, frozenset({Scope.INGEST})))
    assert await access.sender(Credentials(peer="127.0.0.1", host="localhost")) == Sender(TENANT)
    for foreign in (
        Credentials(peer="203.0.113.9", host="localhost"),
        Credentials(peer="127.0.0.1", host="evil.example"),
        Credentials(peer="127.0.0.1", host="localhost", origin="https://evil.example"),
        Credentials(peer="", host="localhost"),
        Credentials(presented=("",), peer="127.0.0.1", host="localhost"),
        Credentials(peer="127.0.0.1", host="localhost", certificate=PeerNames("collector")),
    ):
        with pytest.raises(Unauthenticated):
            await access.sender(foreign)


LISTED = ClientTable({("uri", "spiffe://example.org/c"): TENANT, ("dns", "c.example"): UUID(int=9)})
CERTIFICATE = PeerNames("c", ("other.example",), ("spiffe://example.org/c",))


async def test_a_listed_certificate_needs_no_key() -> None:
    access = ingest(Scope.READ, clients=LISTED)
    assert await access.sender(Credentials(certificate=CERTIFICATE, peer="203.0.113.9")) == Sender(TENANT)


async def test_a_key_beside_a_certificate_says_what_is_allowed() -> None:
    shown = Credentials((KEY.text,), certificate=CERTIFICATE)
    assert await ingest(Scope.INGEST, stream="a", clients=LISTED).sender(shown) == Sender(TENANT, "a")
    with pytest.raises(PermissionDenied):
        await ingest(Scope.READ, clients=LISTED).sender(shown)


@pytest.mark.parametrize(
    "shown",
    [
        Credentials(certificate=PeerNames("nobody")),
        Credentials(certificate=PeerNames("c", ("C.example",), ("spiffe://example.org/c",))),
        Credentials((KEY.text,), certificate=PeerNames("", ("C.EXAMPLE",))),
        Credentials(("",), certificate=CERTIFICATE),
    ],
    ids=["not listed", "of two tenants", "of another tenant than the key", "with an empty key"],
)
async def test_a_certificate_that_proves_too_little_or_too_much(shown: Credentials) -> None:
    with pytest.raises(Unauthenticated) as refused:
        await ingest(Scope.INGEST, clients=LISTED).sender(shown)
    assert refused.value.message == REFUSED


def test_examples_in_docstrings_hold() -> None:
    result = doctest.testmod(auth)
    assert (result.attempted, result.failed) == (2, 0)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], ()),
        ([("authorization", "Bearer k")], ("k",)),
        ([("Authorization", "BEARER  k ")], ("k",)),
        ([("x-api-key", b"k")], ("k",)),
        ([("x-api-key", "a"), ("X-Api-Key", "b")], ("a", "b")),
        ([("authorization", "Bearer a"), ("x-api-key", "a")], ("a", "a")),
        ([("authorization", "Basic dXNlcg==")], ("Basic dXNlcg==",)),
        ([("authorization", "")], ("",)),
        ([("authorization", "Bearer")], ("",)),
        ([("authorization", "Bearer a%20b")], ("a%20b",)),
        ([("x-api-key", "a, a")], ("a, a",)),
        ([("x-api-key", b"\xff\x00")], ("\xff\x00",)),
        ([("x-api-key-bin", b"k")], ("",)),
        ([("authorization-bin", b"Bearer k"), ("x-api-key", "k")], ("", "k")),
        ([("user-agent", "x"), ("cookie", "x-api-key=k")], ()),
    ],
)
def test_every_credential_is_presented(headers: list[tuple[str, str | bytes]], expected: tuple[str, ...]) -> None:
    assert presented_keys(headers) == expected


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("ipv4:127.0.0.1:1234", "127.0.0.1"),
        ("ipv4:10.1.2.3:80", "10.1.2.3"),
        ("ipv6:[::1]:1234", "::1"),
        ("ipv6:%5B2001:db8::1%5D:9", "2001:db8::1"),
        ("unix:", "unix"),
        ("unix:/run/x", "unix"),
        ("ipv4:localhost:1", ""),
        ("dns:127.0.0.1:1", ""),
        ("127.0.0.1", ""),
        ("", ""),
    ],
)
def test_peers(peer: str, expected: str) -> None:
    assert grpc_peer(peer) == expected


def test_header() -> None:
    assert header([("Origin", b"http://a"), ("origin", "b")], "origin") == "http://a"
    assert header([], "origin") == ""
