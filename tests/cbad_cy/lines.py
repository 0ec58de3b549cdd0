"""Strategies and hand-written lines for the kernel tests."""

from __future__ import annotations

from array import array

from hypothesis import strategies as st

# Fragments that meet the rules, their edges and their combinations far more often than random bytes do.
FRAGMENTS = [
    b"", b"a", b"Z", b"_", b"__", b"-", b"--", b"/", b"//", b".", b"...", b":", b"::", b",", b"#", b"<", b">", b"<T>", b"=",
    b" ", b"  ", b"\t", b"\n", b"\r\n", b"\x0b", b"\x0c", b"\x00", b"\x1f", b"\x7f", b"\x80", b"\xff", "é".encode(),
    "日本".encode(),
    b"0", b"7", b"12", b"123", b"2024", b"12345678", b"-5", b"1.5", b"10:30", b"10:30:00", b"10:30:00.123Z", b"1-2-3",
    b"1/2",
    b"2024-01-15", b"2024-01-15T10:30:00", b"2024-01-15T10:30Z", b"2024-01-15T10:30:00,123", b"T10:30", b"Z", b"T",
    b"10/Oct/2000:13:55:36", b"/Oct/2000", b"1/Mai/2000", b"10.0.0.1", b"10.0.0.1:8080", b"1.2.3.4.5", b"v1.2.3",
    b"550e8400-e29b-41d4-a716-446655440000", b"12345678-1234-1234-1234-123456789012", b"550e8400", b"-e29b-41d4",
    b"abcdefab-abcd-abcd-abcd-abcdefabcdef", b"deadbeef", b"dead1", b"1f", b"0x1f", b"a1b2c3", b"E42", b"HTTP_2",
    b"blk_", b"blk_-17",
    b"req_", b"Jan", b"May", b"March", b"Monday", b"Tuesda", b"/a/b", b"/var/log/app7.log", b"/x", b"/1", b"/a/b:",
    b"/a/b.", b"$@%+~",
    b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", b"AbCdEfGhIjKlMnO1", b"NullPointerException", b"\xed\xa0\x80", b"\xf0\x9f\x98",
]  # fmt: skip

LINES = st.one_of(st.lists(st.sampled_from(FRAGMENTS), max_size=14).map(b"".join), st.binary(max_size=60))
TEXTS = st.one_of(LINES, st.binary(max_size=2000), st.lists(LINES, max_size=40).map(b"\n".join))


def joined(lines: list[bytes]) -> tuple[bytes, array[int]]:
    """Lines one after another, and their lengths."""
    return b"".join(lines), array("I", map(len, lines))


def split(text: bytes, lengths: array[int]) -> list[bytes]:
    """The inverse of `joined`."""
    found, at = [], 0
    for length in lengths:
        found.append(text[at : at + length])
        at += length
    assert at == len(text)
    return found
