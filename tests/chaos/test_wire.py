"""A statement is recognised when it is executed, however the bytes are cut, and not when it is only prepared."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.wire import SSL_REQUEST, Frontend

MARKER = b"journal_append("


def message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


def startup() -> bytes:
    ssl = (8).to_bytes(4, "big") + SSL_REQUEST.to_bytes(4, "big")
    body = (196608).to_bytes(4, "big") + b"user\0app\0\0"
    return ssl + (len(body) + 4).to_bytes(4, "big") + body


def parse(name: bytes, text: bytes) -> bytes:
    return message(b"P", name + b"\0" + text + b"\0\0\0")


def bind(name: bytes, value: bytes = b"") -> bytes:
    return message(b"B", b"\0" + name + b"\0" + value)


APPEND = b"select * from driftlock.journal_append($1)"
SYNC = message(b"S", b"")
CONVERSATIONS = {
    "prepared": ([parse(b"s1", APPEND), SYNC, bind(b"s1", b"x" * 5_000), message(b"E", b"\0\0\0\0\0"), SYNC], 1),
    "twice": ([parse(b"s1", APPEND), bind(b"s1"), SYNC, bind(b"s1", b"y" * 300), SYNC], 2),
    "only-prepared": ([parse(b"s1", APPEND), SYNC], 0),
    "another": ([parse(b"s1", APPEND), parse(b"s2", b"select 1"), bind(b"s2", APPEND), SYNC], 0),
    "replaced": ([parse(b"", APPEND), parse(b"", b"select 1"), bind(b""), SYNC], 0),
    "simple": ([message(b"Q", b"select driftlock.journal_append()\0")], 1),
}


def executions(pieces: list[bytes]) -> int:
    frontend = Frontend()
    return sum(frontend.take(piece, MARKER) for piece in pieces)


@pytest.mark.parametrize("name", list(CONVERSATIONS))
def test_messages_one_by_one(name: str) -> None:
    messages, wanted = CONVERSATIONS[name]
    assert executions([startup(), message(b"p", b"password\0"), *messages]) == wanted


@given(name=st.sampled_from(list(CONVERSATIONS)), sizes=st.lists(st.integers(1, 400), min_size=1, max_size=30))
def test_the_same_however_it_is_cut(name: str, sizes: list[int]) -> None:
    messages, wanted = CONVERSATIONS[name]
    whole, at = startup() + b"".join(messages), 0
    pieces: list[bytes] = []
    while at < len(whole):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(whole[at : at + size])
        at += size
    assert (executions(pieces) > 0) == (wanted > 0)
