import random
import zlib
from array import array
from dataclasses import replace
from hashlib import sha256
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

import collector.kafka.message as message_module
from collector.kafka.message import REQUIRED, BadMessage, KafkaMessage, decode, encode, part_hash
from driftlock.engine import records
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.ports import Submission
from driftlock.errors import InvalidArgument
from tests.collector.kafka.submissions import TENANT, logs, submissions


def read(message: KafkaMessage) -> Submission:
    return decode(message.value, message.headers)


def changed(message: KafkaMessage, **headers: bytes | None) -> list[tuple[str, bytes]]:
    """The headers with others in their place, or without those that are None."""
    named = {f"dl-{name}": value for name, value in headers.items()}
    told = {**dict(message.headers), **named}
    return [(name, value) for name, value in told.items() if value is not None]


@given(submissions())
def test_what_is_encoded_is_decoded(submission: Submission) -> None:
    found = [read(message) for message in encode(submission)]
    assert [part for one in found for part in one.batches] == list(submission.batches)
    for number, one in enumerate(found):
        assert (one.tenant_id, one.signal, one.received_ns) == (submission.tenant_id, submission.signal, submission.received_ns)
        counted = (submission.received, submission.rejected) if number == 0 else (0, 0)
        assert (one.received, one.rejected) == counted
        assert (one.request_hash is None) == (submission.request_hash is None)


@given(submissions())
def test_equal_submissions_are_equal_messages(submission: Submission) -> None:
    assert encode(submission) == encode(submission)


@given(submissions())
def test_parts_of_a_request_are_told_apart(submission: Submission) -> None:
    submission = replace(submission, request_hash=b"r" * 16)
    hashes = [read(message).request_hash for message in encode(submission)]
    assert len(set(hashes)) == len(hashes)
    assert all(found is not None and len(found) == 16 for found in hashes)


def test_the_hash_of_a_part_is_what_it_was() -> None:
    key = StreamKey(Signal.LOGS, "cart")
    place = b"".join(number.to_bytes(8, "little") for number in (1, 3, 100, 50))
    assert part_hash(b"r" * 16, key, 1, 3, 100, 50) == sha256(b"r" * 16 + place + b"logs:cart").digest()[:16]


def test_the_headers_are_as_documented() -> None:
    [message] = encode(logs([b"hello"]))
    assert dict(message.headers) == {
        "dl-schema": b"1",
        "dl-tenant": TENANT.bytes,
        "dl-signal": b"logs",
        "dl-service": b"cart",
        "dl-namespace": b"",
        "dl-environment": b"",
        "dl-part": b"0/1",
        "dl-first": b"0",
        "dl-received": b"5",
        "dl-records": b"1",
        "dl-rejected": b"0",
        "dl-crc": f"{zlib.crc32(message.value):08x}".encode(),
        "dl-request": b"r" * 16,
    }
    assert message.key == f"{TENANT}/logs:cart".encode()
    assert message.value == records.encode(logs([b"hello"]).batches[0].batch)


def test_a_body_that_is_too_large_is_split_and_its_order_stays() -> None:
    source = random.Random(3)
    lines = [source.randbytes(100) for _ in range(100)]
    messages = encode(logs(lines), body_bytes_max=2000)
    assert len(messages) > 4
    assert all(len(message.value) <= 2000 for message in messages)
    assert [line for message in messages for line in read(message).batches[0].batch.lines()] == lines
    assert {message.stream for message in messages} == {StreamKey(Signal.LOGS, "cart")}


def test_a_body_is_split_before_it_is_too_large_to_be_decompressed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_module, "BODY_RAW_BYTES_MAX", 10_000)
    messages = encode(logs([b"a" * 100] * 100))
    assert len(messages) > 1
    assert sum(len(read(message).batches[0].batch) for message in messages) == 100


def test_a_record_that_is_too_large_names_the_limit() -> None:
    with pytest.raises(InvalidArgument, match="body_bytes_max"):
        encode(logs([random.Random(3).randbytes(5000)]), body_bytes_max=2000)


@pytest.mark.parametrize("service", ["a\x00b", "a\ud800"])
def test_names_that_can_not_be_stored_are_refused(service: str) -> None:
    with pytest.raises(InvalidArgument, match="can not be stored"):
        encode(logs([b"x"], service))


def test_nothing_is_no_message() -> None:
    assert encode(logs([])) == []


def test_a_key_of_the_sender_s_own_is_not_carried() -> None:
    with pytest.raises(ValueError, match="sender's own"):
        encode(replace(logs([b"x"]), content_hash=b"c" * 16))


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_header_is_named(name: str) -> None:
    [message] = encode(logs([b"hello"]))
    with pytest.raises(BadMessage, match=f"{name} is missing"):
        decode(message.value, [pair for pair in message.headers if pair[0] != name])


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"schema": b"2"}, "unknown schema"),
        ({"tenant": b"x" * 15}, "16 bytes"),
        ({"signal": b"profiles"}, "signal is unknown"),
        ({"service": b"\xff"}, "UTF-8"),
        ({"service": b""}, "can not be stored"),
        ({"namespace": b"\x00"}, "can not be stored"),
        ({"request": b"short"}, "16 bytes"),
        ({"part": b"1/1"}, "dl-part"),
        ({"part": b"0"}, "dl-part"),
        ({"part": b"-1/2"}, "dl-part"),
        ({"part": b"0/99999999999999999999"}, "dl-part"),
        ({"part": b"1/2", "records": b"1"}, "only the first part"),
        ({"received": b"9223372036854775808"}, "dl-received"),
        ({"records": "٣".encode()}, "dl-records"),
        ({"rejected": b"-1"}, "dl-rejected"),
        ({"first": b"1e3"}, "dl-first"),
        ({"crc": b"00000000"}, "checksum"),
    ],
)
def test_a_header_that_can_not_be_believed(headers: dict[str, bytes], reason: str) -> None:
    [message] = encode(logs([b"hello"]))
    with pytest.raises(BadMessage, match=reason):
        decode(message.value, changed(message, **headers))


def test_a_header_that_stands_twice() -> None:
    [message] = encode(logs([b"hello"]))
    with pytest.raises(BadMessage, match="twice"):
        decode(message.value, [*message.headers, ("dl-tenant", UUID(int=8).bytes)])


def test_headers_of_others_are_nothing_to_us() -> None:
    [message] = encode(logs([b"hello"]))
    assert decode(message.value, [("traceparent", b"00-1"), ("x", None), *message.headers]) == read(message)


def test_a_header_without_bytes_may_come_as_nothing() -> None:
    [message] = encode(logs([b"hello"]))
    headers: list[tuple[str, bytes | None]] = [(name, value or None) for name, value in message.headers]
    assert decode(message.value, headers) == read(message)


def resealed(message: KafkaMessage, value: bytes) -> list[tuple[str, bytes]]:
    return changed(message, crc=b"%08x" % zlib.crc32(value))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no value"),
        (b"", "no value"),
        (b"garbage", "damaged"),
        (records.encode_clock(1), "newer|schema|damaged|no records"),
        (records.encode(RecordBatch()), "damaged|no records"),
        (
            records.encode(RecordBatch(b"a", array("I", [1]), array("Q", [1]), instance_index=array("I", [1]))),
            "columns disagree",
        ),
        (records.encode(RecordBatch(b"a", array("I", [1]), array("Q", [1]), trace_ids=b"short")), "columns disagree"),
    ],
    ids=["none", "empty", "garbage", "clock", "nothing", "instance", "trace"],
)
def test_a_value_that_is_none_of_ours(value: bytes | None, reason: str) -> None:
    [message] = encode(logs([b"hello"]))
    with pytest.raises(BadMessage, match=reason):
        decode(value, resealed(message, value or b""))


def test_a_value_that_would_be_too_large_is_not_decompressed(monkeypatch: pytest.MonkeyPatch) -> None:
    [message] = encode(logs([b"a" * 10_000]))
    monkeypatch.setattr(message_module, "BODY_RAW_BYTES_MAX", 1000)
    with pytest.raises(BadMessage, match="too large when it is decompressed"):
        read(message)


@pytest.mark.parametrize("headers", [None, [], {}])
def test_no_headers_at_all(headers: None) -> None:
    with pytest.raises(BadMessage, match="missing"):
        decode(b"x", headers)


@given(submissions(), st.data())
def test_flipped_bytes_are_bad_messages_or_other_ones(submission: Submission, data: st.DataObject) -> None:
    """Nothing else is ever raised, whether the checksum holds or not."""
    message = encode(submission)[0]
    value = bytearray(message.value)
    at = data.draw(st.integers(0, len(value) - 1))
    value[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BadMessage, match="checksum"):
        decode(bytes(value), message.headers)
    _any_answer(bytes(value), resealed(message, bytes(value)))
    number = data.draw(st.integers(0, len(message.headers) - 1))
    headers = [list(pair) for pair in message.headers]
    header = bytearray(message.headers[number][1])
    if header:
        header[data.draw(st.integers(0, len(header) - 1))] ^= data.draw(st.integers(1, 255))
    headers[number][1] = bytes(header)
    _any_answer(message.value, [(str(name), bytes(told)) for name, told in headers])


@given(st.binary(max_size=200), st.data())
def test_bodies_of_anything_are_bad_messages_or_other_ones(raw: bytes, data: st.DataObject) -> None:
    """A body that decompresses well, but is any bytes inside."""
    [message] = encode(logs([b"hello"]))
    value = records.body_compressor().compress(b"\x08\x02" + raw)
    _any_answer(value, resealed(message, value))


def _any_answer(value: bytes, headers: list[tuple[str, bytes]]) -> None:
    try:
        assert decode(value, headers).batches
    except BadMessage as bad:
        assert bad.reason  # noqa: PT017


@pytest.mark.parametrize("name", ["records", "rejected"])
def test_more_records_than_the_ledger_can_count_are_none_of_ours(name: str) -> None:
    [message] = encode(logs([b"hello"]))
    assert decode(message.value, changed(message, **{name: b"2147483647"}))
    for count in (b"2147483648", b"9223372036854775807"):
        with pytest.raises(BadMessage, match=f"dl-{name} is not a number"):
            decode(message.value, changed(message, **{name: count}))
