"""Who is let in: one good key, or nobody at all on this very machine."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from driftlock.accounts.access import REFUSED, Access, require
from driftlock.accounts.keys import KeyKind, KeyRecord, Principal, Scope, mint
from driftlock.errors import PermissionDenied, Unauthenticated

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = mint(KeyKind.LIVE, bytes(range(30)))
OTHER = mint(KeyKind.LIVE, bytes(range(1, 31)))
IMPOSTOR = mint(KeyKind.LIVE, bytes(range(10)) + bytes(20))  # the id of KEY, another secret
RECORD = KeyRecord(KEY.key_id, UUID(int=1), KEY.digest, frozenset({Scope.INGEST}), stream="checkout")
LOCAL = Principal(UUID(int=2), frozenset(Scope))


class Directory:
    """Keys in a dict, counting lookups."""

    def __init__(self, *records: KeyRecord) -> None:
        self.records = {record.key_id: record for record in records}
        self.lookups = 0

    async def lookup(self, key_id: str, now: datetime) -> KeyRecord | None:
        assert now == NOW
        self.lookups += 1
        return self.records.get(key_id)


async def ask(
    access: Access,
    presented: Sequence[str] = (),
    *,
    peer: str = "203.0.113.9",
    host: str = "driftlock.example",
    origin: str = "",
) -> Principal:
    return await access.principal(presented, peer=peer, host=host, origin=origin, now=NOW)


async def test_a_good_key_is_its_tenant() -> None:
    assert await ask(Access(Directory(RECORD), anonymous=None), [KEY.text]) == Principal(
        UUID(int=1), frozenset({Scope.INGEST}), KEY.key_id, "checkout"
    )


async def test_one_key_in_two_headers_is_one_key() -> None:
    assert (await ask(Access(Directory(RECORD), anonymous=None), [KEY.text, KEY.text])).key_id == KEY.key_id


@pytest.mark.parametrize(
    ("presented", "lookups"),
    [
        ([], 0),
        ([""], 0),
        (["nonsense"], 0),
        (["x" * (1 << 20)], 0),
        ([KEY.text[:-1]], 0),
        ([KEY.text, OTHER.text], 0),
        ([KEY.text, ""], 0),
        ([KEY.text, "Basic dXNlcjpwYXNz"], 0),
        ([OTHER.text], 1),
        ([IMPOSTOR.text], 1),
    ],
)
async def test_everything_else_is_refused_in_the_same_words(presented: list[str], lookups: int) -> None:
    directory = Directory(RECORD)
    with pytest.raises(Unauthenticated) as refused:
        await ask(Access(directory, anonymous=None), presented)
    assert str(refused.value) == REFUSED
    assert directory.lookups == lookups


@pytest.mark.parametrize(
    ("change", "good"),
    [
        ({"revoked": True}, False),
        ({"expires_at": NOW}, False),
        ({"expires_at": NOW - timedelta(days=1)}, False),
        ({"expires_at": NOW + timedelta(microseconds=1)}, True),
    ],
)
async def test_keys_end(change: dict[str, object], good: bool) -> None:
    access = Access(Directory(replace(RECORD, **change)), anonymous=None)  # type: ignore[arg-type]
    if good:
        assert (await ask(access, [KEY.text])).key_id == KEY.key_id
    else:
        with pytest.raises(Unauthenticated, match="no valid API key"):
            await ask(access, [KEY.text])


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["localhost", "localhost:4317", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST:1"])
@pytest.mark.parametrize("origin", ["", "http://localhost:5173", "http://127.0.0.1"])
async def test_a_local_caller_needs_no_key(peer: str, host: str, origin: str) -> None:
    assert await ask(Access(Directory(), anonymous=LOCAL), peer=peer, host=host, origin=origin) is LOCAL


@pytest.mark.parametrize(
    ("peer", "host", "origin"),
    [
        ("10.0.0.1", "localhost", ""),
        ("::ffff:10.0.0.1", "localhost", ""),
        ("", "localhost", ""),
        ("unix", "localhost", ""),
        ("127.0.0.1", "", ""),
        ("127.0.0.1", "evil.example", ""),
        ("127.0.0.1", "localhost.evil.example", ""),
        ("127.0.0.1", "evil.example@localhost", ""),
        ("127.0.0.1", "localhost/evil", ""),
        ("127.0.0.1", "0177.0.0.1", ""),
        ("127.0.0.1", "[::1", ""),
        ("127.0.0.1", "localhost", "https://evil.example"),
        ("127.0.0.1", "localhost", "null"),
        ("127.0.0.1", "localhost", "https://localhost.evil.example"),
    ],
)
async def test_nobody_else_passes_for_a_local_caller(peer: str, host: str, origin: str) -> None:
    with pytest.raises(Unauthenticated):
        await ask(Access(Directory(), anonymous=LOCAL), peer=peer, host=host, origin=origin)


async def test_there_is_no_local_caller_unless_configured() -> None:
    with pytest.raises(Unauthenticated):
        await ask(Access(Directory(), anonymous=None), peer="127.0.0.1", host="localhost")


async def test_a_bad_key_is_not_made_good_by_being_local() -> None:
    with pytest.raises(Unauthenticated):
        await ask(Access(Directory(), anonymous=LOCAL), ["bad"], peer="127.0.0.1", host="localhost")


def test_scopes_do_not_include_one_another() -> None:
    admin = Principal(UUID(int=1), frozenset({Scope.ADMIN}))
    require(admin, Scope.ADMIN)
    for scope in (Scope.INGEST, Scope.READ):
        with pytest.raises(PermissionDenied, match=scope.value):
            require(admin, scope)
