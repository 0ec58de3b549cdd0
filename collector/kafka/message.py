"""Submissions as Kafka messages, and back.

A message holds records of one stream and of one request. Its value is a journal body (`driftlock.engine.records`), its headers
say whose records they are and which part of the request. `docs/kafka.md` has the format; it is read by later versions, so
headers are only ever added. What is read was written by whoever may write to the topic: nothing in it is believed unchecked.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from uuid import UUID
from zlib import crc32

import zstandard

from collector.kafka.slicing import SPAN_ID_BYTES, TRACE_ID_BYTES, sliced
from driftlock.accounts.metering import Refusal
from driftlock.engine import records
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.origin import Origin, number, parse_ranges, ranges_text
from driftlock.engine.ports import StreamBatch, Submission
from driftlock.errors import DriftlockError, InvalidArgument

SCHEMA = 1
BODY_BYTES_MAX = 900_000
"""Most bytes of a value: what Kafka lets through unless told otherwise (1 MB), with room for headers. More is split."""
BODY_RAW_BYTES_MAX = 64 * 1024 * 1024
"""Most bytes of a value once it is decompressed, so that readers know what to expect. More is split."""
HASH_BYTES = 16
PARTS_MAX = 1_000_000
NUMBER_MAX = 2**63 - 1
COUNT_MAX = 2**31 - 1
"""Most records that a request can say it had: what the ledger counts with."""

SCHEMA_HEADER, CRC_HEADER = "dl-schema", "dl-crc"
TENANT, SIGNAL, SERVICE, NAMESPACE, ENVIRONMENT = "dl-tenant", "dl-signal", "dl-service", "dl-namespace", "dl-environment"
REQUEST, PART, FIRST = "dl-request", "dl-part", "dl-first"
RECEIVED, RECORDS, REJECTED = "dl-received", "dl-records", "dl-rejected"
SOURCE = "dl-source"
PLAN_BYTES = 8
REQUIRED = (
    *(SCHEMA_HEADER, TENANT, SIGNAL, SERVICE, NAMESPACE, ENVIRONMENT),
    *(PART, FIRST, RECEIVED, RECORDS, REJECTED, CRC_HEADER),
)
Headers = Sequence[tuple[str, str | bytes | None]] | Mapping[str, str | bytes | None]


class BadMessage(Exception):
    """A message that is none of ours, or is damaged; `reason` says why in a few words that hold nothing of it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class KafkaMessage:
    """One message, before it has a partition: that is a matter of `stream`."""

    stream: StreamKey
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]

    @property
    def size_bytes(self) -> int:
        """What the message takes on its way."""
        return len(self.key) + len(self.value) + sum(len(name) + len(value) for name, value in self.headers)


@dataclass(frozen=True, slots=True)
class _Cut:
    """Records of one stream from number `first` of its records in the request on, and their body."""

    key: StreamKey
    first: int
    count: int
    body: bytes


def encode(
    submission: Submission, compressor: zstandard.ZstdCompressor | None = None, *, body_bytes_max: int = BODY_BYTES_MAX
) -> list[KafkaMessage]:
    """The messages of a submission: one for each of its streams, more where a body would be over `body_bytes_max`.

    Those of one stream are in its records' order. Raises `InvalidArgument` for a stream whose name can not be stored, and for a
    single record that is over the limit; ValueError for a submission whose sender chose how it is recognised (REST).
    """
    if submission.content_hash is not None or submission.dedup_window_ns is not None:
        raise ValueError("messages carry no key of a sender's own")
    compressor = compressor or records.body_compressor()
    cuts = [
        cut
        for part in submission.batches
        if len(part.batch)
        for cut in _cut(_storable(part.key), part.batch, 0, compressor, body_bytes_max)
    ]
    origin = submission.origin
    if origin is not None and origin.offset is not None:
        submission = replace(submission, origin=replace(origin, plan=_plan(cuts)))
    return [_message(submission, cut, number, len(cuts)) for number, cut in enumerate(cuts)]


def decode(value: bytes | None, headers: Headers | None) -> Submission:
    """The submission, of one stream, that a message is; its `request_hash` is that of the part. Raises `BadMessage`.

    A request's records as they were counted on the wire, and those that it lost, are told by its first part; the others' are 0.
    """
    told = _headers(headers)
    if told[SCHEMA_HEADER] != str(SCHEMA).encode():
        raise BadMessage("unknown schema: upgrade driftlock")
    if not value:
        raise BadMessage("no value")
    if told[CRC_HEADER] != _crc(value):
        raise BadMessage("the value does not match its checksum")
    key = _key(told)
    number_of_part, parts = _part(told[PART])
    first = _number(told, FIRST)
    batch = _batch(value)
    request = told.get(REQUEST)
    if request is not None and len(request) != HASH_BYTES:
        raise BadMessage(f"{REQUEST} has not {HASH_BYTES} bytes")
    received, rejected = _number(told, RECORDS, COUNT_MAX), _number(told, REJECTED, COUNT_MAX)
    if number_of_part and (received or rejected):
        raise BadMessage("only the first part tells how many records were received")
    origin = _origin(told, key, number_of_part, parts, len(batch))
    return Submission(
        tenant_id=_tenant(told[TENANT]),
        signal=key.signal,
        received_ns=_number(told, RECEIVED),
        batches=(StreamBatch(key, batch),),
        request_hash=None if request is None else part_hash(request, key, number_of_part, parts, first, len(batch)),
        received=received if origin is None else None,  # a part may be journaled without the first one
        rejected=rejected,
        origin=origin,
    )


def part_hash(request: bytes, key: StreamKey, number: int, parts: int, first: int, count: int) -> bytes:
    """Identity of a part of a request (SHA-256, its first 16 bytes).

    It says which records they are, not only the part's number: where the same request is cut otherwise the second time, because
    rules changed meanwhile, parts are journaled twice rather than taken for others and lost.
    """
    place = struct.pack("<QQQQ", number, parts, first, count)
    return sha256(request + place + key.text.encode()).digest()[:HASH_BYTES]


def _cut(
    key: StreamKey, batch: RecordBatch, first: int, compressor: zstandard.ZstdCompressor, bytes_max: int
) -> Iterator[_Cut]:
    """Halves of a batch, and halves of these, until each fits into a message."""
    small = batch.size_bytes <= BODY_RAW_BYTES_MAX // 2  # bodies hold what batches hold
    if small:
        body = records.encode(batch, compressor)
        if len(body) <= bytes_max:
            yield _Cut(key, first, len(batch), body)
            return
    if len(batch) == 1:
        raise InvalidArgument(
            f"a record is larger than {bytes_max} bytes even compressed (body_bytes_max); make it smaller",
            reason=Refusal.TOO_LARGE,
        )
    middle = len(batch) // 2
    yield from _cut(key, sliced(batch, 0, middle), first, compressor, bytes_max)
    yield from _cut(key, sliced(batch, middle, len(batch)), first + middle, compressor, bytes_max)


def _message(submission: Submission, cut: _Cut, number: int, parts: int) -> KafkaMessage:
    tenant, key = submission.tenant_id, cut.key
    told = {
        SCHEMA_HEADER: str(SCHEMA).encode(),
        TENANT: tenant.bytes,
        SIGNAL: key.signal.encode(),
        SERVICE: key.service.encode(),
        NAMESPACE: key.namespace.encode(),
        ENVIRONMENT: key.environment.encode(),
        PART: f"{number}/{parts}".encode(),
        FIRST: str(cut.first).encode(),
        RECEIVED: str(submission.received_ns).encode(),
        RECORDS: str(0 if number else submission.received_records).encode(),
        REJECTED: str(0 if number else submission.rejected).encode(),
        CRC_HEADER: _crc(cut.body),
    }
    if submission.request_hash is not None:
        told[REQUEST] = submission.request_hash
    if submission.origin is not None:
        told[SOURCE] = _source(submission.origin, cut)
    return KafkaMessage(key, f"{tenant}/{key.text}".encode(), cut.body, tuple(told.items()))


def _plan(cuts: Sequence[_Cut]) -> str:
    """Identity of the way in which a message was cut into parts: streams, and which of their records."""
    told = b"".join(struct.pack("<QQ", cut.first, cut.count) + cut.key.text.encode() + b"\0" for cut in cuts)
    return sha256(told).hexdigest()[: 2 * PLAN_BYTES]


def _source(origin: Origin, cut: _Cut) -> bytes:
    """The header: topic/partition/topic id/base/, then offset=plan, or an offset for each record as ranges."""
    if origin.offset is not None:
        what = f"{origin.offset}={origin.plan}"
    else:
        what = ranges_text(origin.offsets[cut.key][cut.first : cut.first + cut.count])
    return f"{origin.topic}/{origin.partition}/{origin.topic_id}/{origin.base}/{what}".encode()


def _origin(told: Mapping[str, bytes], key: StreamKey, part: int, parts: int, count: int) -> Origin | None:
    """What `_source` says; None where the records are of no other topic."""
    raw = told.get(SOURCE)
    if raw is None:
        return None
    try:
        topic, partition, topic_id, base, what = raw.decode("ascii").split("/")
        at, equals, plan = what.partition("=")
        if equals:
            found = Origin(topic, number(partition), topic_id, number(base), number(at), plan=plan, part=part, parts=parts)
            right = len(plan) == 2 * PLAN_BYTES
        else:
            offsets = parse_ranges(what)
            found = Origin(topic, number(partition), topic_id, number(base), offsets={key: offsets})
            right = len(offsets) == count
    except ValueError:
        raise BadMessage(f"{SOURCE} is no place") from None
    if not (right and topic and topic.isprintable() and (topic_id.isalnum() or not topic_id) and found.partition < 2**31):
        raise BadMessage(f"{SOURCE} is no place")
    return found


def _storable(key: StreamKey) -> StreamKey:
    """`key`, if the database can hold it: who journals it later can not tell the sender any more."""
    for part in (key.service, key.namespace, key.environment):
        if "\x00" in part or part.encode("utf-8", "replace").decode() != part:
            raise InvalidArgument("the data can not be stored: remove NUL characters and lone surrogates from names of streams")
    return key


def _crc(value: bytes) -> bytes:
    return b"%08x" % crc32(value)


def _headers(headers: Headers | None) -> dict[str, bytes]:
    """Our headers by name, each once; foreign ones are nothing to us."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    told: dict[str, bytes] = {}
    for name, value in pairs:
        if not name.startswith("dl-"):
            continue
        if name in told:
            raise BadMessage("a header stands twice")
        told[name] = value.encode() if isinstance(value, str) else value or b""  # clients read what is empty as nothing
    for name in REQUIRED:
        if name not in told:
            raise BadMessage(f"{name} is missing")
    return told


def _tenant(raw: bytes) -> UUID:
    if len(raw) != len(UUID(int=0).bytes):
        raise BadMessage(f"{TENANT} has not 16 bytes")
    return UUID(bytes=raw)


def _key(told: Mapping[str, bytes]) -> StreamKey:
    try:
        parts = [told[name].decode() for name in (SERVICE, NAMESPACE, ENVIRONMENT)]
        key = StreamKey(Signal(told[SIGNAL].decode()), *parts)
    except ValueError:
        raise BadMessage("the stream's name is not UTF-8, or its signal is unknown") from None
    if not key.service or any("\x00" in part for part in parts):
        raise BadMessage("the stream's name can not be stored")
    return key


def _number(told: Mapping[str, bytes], name: str, most: int = NUMBER_MAX) -> int:
    raw = told[name]
    if not (raw.isdigit() and len(raw) <= len(str(most)) and int(raw) <= most):
        raise BadMessage(f"{name} is not a number")
    return int(raw)


def _part(raw: bytes) -> tuple[int, int]:
    """Which part of how many, the first one being 0."""
    number, slash, parts = raw.partition(b"/")
    digits = slash and number.isdigit() and parts.isdigit() and max(len(number), len(parts)) <= len(str(PARTS_MAX))
    if not (digits and int(number) < int(parts) <= PARTS_MAX):
        raise BadMessage(f"{PART} is no part")
    return int(number), int(parts)


def _batch(value: bytes) -> RecordBatch:
    if records.raw_bytes(value) > BODY_RAW_BYTES_MAX:
        raise BadMessage("the value is too large when it is decompressed")
    try:
        batch = records.decode(value)
    except DriftlockError as error:
        raise BadMessage(error.message) from None
    count = len(batch)
    if not count:
        raise BadMessage("no records")
    index_right = len(batch.instance_index) in {0, count} and max(batch.instance_index, default=0) <= len(batch.instances)
    ids_right = len(batch.trace_ids) in {0, TRACE_ID_BYTES * count} and len(batch.span_ids) in {0, SPAN_ID_BYTES * count}
    if not (index_right and ids_right):
        raise BadMessage("the records' columns disagree")
    return batch
