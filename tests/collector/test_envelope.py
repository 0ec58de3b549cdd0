"""The native reader of envelopes against the oracle: places, counts, and what refuses a request."""

from array import array
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collector.otlp.envelope import Envelope, read_envelope
from collector.otlp.limits import OtlpLimits
from collector.otlp.wire import Malformed
from driftlock.errors import InvalidArgument
from tests.collector.oracle.wire import Tally, resources
from tests.collector.otlp_requests import log, logs, message, raw_logs
from tests.collector.wire_strategies import broken, field, fields, messages, padded

WHAT = "log records"


def native(request: bytes, records_max: int = 1000, containers_max: int = 1000) -> Envelope | str:
    """The envelope, or the error; where exactly bytes are damaged may be told differently."""
    try:
        return read_envelope(request, records_max=records_max, containers_max=containers_max, what=WHAT)
    except InvalidArgument as error:
        return error.message.partition(" (near byte")[0]


def oracle(request: bytes, records_max: int = 1000, containers_max: int = 1000) -> Envelope | str:
    try:
        found = resources(request, OtlpLimits(containers_max=containers_max), Tally(WHAT, records_max))
    except InvalidArgument as error:
        return error.message.partition(" (near byte")[0]
    places = [end for group in found for place in group.records for end in place]
    counts = array("I", [len(group.records) for group in found])
    return Envelope([group.resource for group in found], counts, array("q", places))


def check(request: bytes, records_max: int = 1000, containers_max: int = 1000) -> Envelope | str:
    """The native answer, which has to be the oracle's."""
    found = native(request, records_max, containers_max)
    assert found == oracle(request, records_max, containers_max)
    return found


def good(request: bytes, **limits: int) -> Envelope:
    found = check(request, **limits)
    assert isinstance(found, Envelope), found
    return found


opaque = st.binary(max_size=5)
scopes = messages(fields(2, opaque), fields(2, opaque), fields(1, opaque))
groups = messages(fields(2, scopes), fields(2, scopes), fields(1, opaque))
requests = messages(fields(1, groups), fields(1, groups), strange_share=12)


@settings(max_examples=150, deadline=None)
@given(requests, st.integers(1, 6), st.integers(1, 6))
@example(b"", 1, 1)
def test_any_request(request: bytes, records_max: int, containers_max: int) -> None:
    check(request, records_max, containers_max)
    found = check(request)
    if isinstance(found, Envelope):
        assert len(found.places) == 2 * sum(found.counts)
        assert all(low <= high for low, high in pairwise([0, *found.places, len(request)]))


@settings(max_examples=150, deadline=None)
@given(requests, st.integers(0, 2**16), st.binary(max_size=3) | broken, st.booleans())
def test_damaged_requests(request: bytes, place: int, patch: bytes, insert: bool) -> None:
    at = place % (len(request) + 1)
    check(request[:at] + patch + request[at if insert else at + len(patch) :])
    check(request[:at])


def test_what_it_says_of_a_request() -> None:
    resource = message(1, b"\x0a\x00")
    request = raw_logs(b"one", b"", b"three", resource=resource) + message(1, b"") + raw_logs(b"four", resource=b"")
    found = good(request)
    assert found.resources == [resource, b"", b""]
    assert list(found.counts) == [3, 0, 1]
    records = [request[begin:end] for begin, end in zip(found.places[::2], found.places[1::2], strict=True)]
    assert records == [b"one", b"", b"three", b"four"]


@pytest.mark.parametrize(
    ("body", "resource"),
    [
        (field(1, b"a") + field(2, b"") + field(1, b"bc"), b"abc"),
        (field(1, b"") + field(1, b""), b""),
        (field(2, field(2, b"x")) + field(1, b"late"), b"late"),
        (b"\x08\x05" + field(3, b"schema") + b"\x0b\x0c", b""),
        (b"\x8a\x80\x80\x80\x00" + padded(2, 3) + b"ab", b"ab"),
    ],
)
def test_pieces_of_a_resource_are_joined(body: bytes, resource: bytes) -> None:
    assert good(message(1, body)).resources == [resource]


def test_limits_are_counted_over_the_request() -> None:
    request = raw_logs(b"", b"") + message(1, message(2, message(2, b"")) + message(2, b""))
    assert list(good(request, records_max=3, containers_max=3).counts) == [2, 1]
    assert check(request, records_max=2) == "the request holds more than 2 log records; send smaller batches"
    assert check(request, containers_max=2) == "the request holds more than 2 scopes; send smaller batches"
    assert check(request, containers_max=1) == "the request holds more than 1 resources; send smaller batches"


@pytest.mark.parametrize(("depth", "name"), [(0, "resources"), (1, "scopes"), (2, "log records")])
def test_other_fields_are_limited(depth: int, name: str) -> None:
    def inside(others: int) -> bytes:
        body = b"\x18\x01" * others
        for number in (2, 1)[2 - depth :]:
            body = message(number, body)
        return body

    good(inside(4096))
    assert check(inside(4097)) == f"a message has more than 4096 fields beside its {name}; do not resend"


def test_the_order_of_errors() -> None:
    """The outermost level comes first, then resource by resource."""
    many, damaged = raw_logs(*[b""] * 5), message(1, message(2, b"\x0c"))
    assert "more than 4" in str(check(many + damaged, records_max=4))
    assert "not a valid" in str(check(damaged + many, records_max=4))
    assert "not a valid" in str(check(many + b"\x0c", records_max=4))
    assert "more than 1 resources" in str(check(damaged + many, containers_max=1))


def test_where_the_damage_is() -> None:
    whole = logs(log("m")).SerializeToString()
    with pytest.raises(Malformed, match=rf"near byte {len(whole)}\)"):
        read_envelope(whole + b"\x0c", records_max=9, containers_max=9, what=WHAT)
    with pytest.raises(Malformed, match=r"near byte 4\)"):
        read_envelope(message(1, message(2, b"\x0c")), records_max=9, containers_max=9, what=WHAT)


def test_records_are_not_looked_at() -> None:
    assert list(good(raw_logs(b"\x0c\x0c")).counts) == [1]


def test_any_buffer() -> None:
    request = logs(log("m")).SerializeToString()
    wanted = read_envelope(request, records_max=9, containers_max=9, what=WHAT)
    assert read_envelope(bytearray(request), records_max=9, containers_max=9, what=WHAT) == wanted
    assert read_envelope(memoryview(request), records_max=9, containers_max=9, what=WHAT) == wanted
