"""Evidence of one finding as bytes: what its verdict is a function of, in one canonical form that is signed and chained.

A verdict is a function of the state of a stream before some rows of the journal, and of these rows. A bundle holds both, and
everything else that the fold is made with: seed, limits, versions. Nothing here decides whether it reproduces its finding
(`driftlock.engine.evidence_replay`), and no signature is made or checked here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from itertools import pairwise
from uuid import UUID

from google.protobuf.message import DecodeError

from driftlock.engine.era import Change, Era
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.limits import SECOND_NS, Limits
from driftlock.engine.ports import OF_STREAMS, Checkpoint, JournalRow, RowKind
from driftlock.errors import InvalidArgument
from driftlock.v1 import evidence_pb2, records_pb2

MAGIC = b"driftlock evidence 1\n"
"""First line of a file, and what stands before the digest in what is signed."""
SCHEMA = 1
BUNDLE_BYTES_MAX = 16 * 1024 * 1024
FILE_BYTES_MAX = BUNDLE_BYTES_MAX + 1024
ROWS_MAX = 100_000
SERIES_MAX = 20_000
ERAS_MAX = 1_000
LIMIT_FACTOR_MAX = 4
"""A limit in a bundle may be so many times the one of this version: more would let a file ask for any amount of memory."""
LIMIT_NS_MAX = 7 * 24 * 3600 * SECOND_NS
"""The same of those that are times."""
MAY_LIE_BETWEEN = OF_STREAMS | {RowKind.REDACTION}
"""Kinds of rows that a stream may have; redaction rules may be a tenant's, too, and those are no rows of a stream."""
PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64
DIGEST_BYTES = 32
UUID_BYTES = 16


class BadBundle(InvalidArgument):
    """The bytes are no evidence of ours, or are damaged; the text says in which way."""


class UnknownParts(InvalidArgument):
    """The evidence is of a version that knows more than this one."""


@dataclass(frozen=True, slots=True)
class Material:
    """What a verdict is a function of, and the verdict.

    `base` is the stream's state before `rows` (None: it begins with them), `series` are states of series of a metrics stream
    as of it. `rows` are those of the stream since then; the last one, which may be a clock record, brought the finding.
    `finding` is its sorted JSON. `versions` are those that judged, as of `driftlock.engine.era.versions`.
    """

    tenant_id: UUID
    stream_id: UUID
    finding_id: UUID
    key: StreamKey
    seed: int
    limits: Limits
    versions: Mapping[str, str]
    driftlock_version: str
    eras: tuple[Era, ...]
    base: Checkpoint | None
    series: Mapping[int, bytes] = field(repr=False)
    rows: tuple[JournalRow, ...] = field(repr=False)
    finding: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Link:
    """A place in a tenant's chain: its number, the digest of the content before (b"" for the first), and when it was made."""

    number: int
    previous: bytes
    made_ns: int


@dataclass(frozen=True, slots=True)
class Sealed:
    """A bundle as it was read: what was signed, by which key, and what it says."""

    content: bytes = field(repr=False)
    public_key: bytes
    signature: bytes
    link: Link
    material: Material

    @property
    def digest(self) -> bytes:
        """What the next one of the chain calls `previous`."""
        return digest_of(self.content)


def digest_of(content: bytes) -> bytes:
    """SHA-256 of a bundle's content."""
    return sha256(content).digest()


def signed_text(content: bytes) -> bytes:
    """What is signed of a content. The first line keeps it apart from whatever else a key might sign."""
    return MAGIC + digest_of(content)


def content_of(material: Material, link: Link) -> bytes:
    """The canonical bytes of both: equal for equal values."""
    key, base = material.key, material.base
    message = evidence_pb2.EvidenceContent(
        schema=SCHEMA,
        number=link.number,
        previous=link.previous,
        made_unix_nano=link.made_ns,
        tenant_id=material.tenant_id.bytes,
        stream_id=material.stream_id.bytes,
        finding_id=material.finding_id.bytes,
        signal=key.signal.value,
        service=key.service,
        namespace=key.namespace,
        environment=key.environment,
        seed=material.seed,
        limit=[evidence_pb2.EvidenceLimit(name=name, value=value) for name, value in sorted(asdict(material.limits).items())],
        version=[evidence_pb2.EvidenceVersion(name=name, version=it) for name, it in sorted(material.versions.items())],
        driftlock_version=material.driftlock_version,
        era=[_era_message(era) for era in material.eras],
        state=None if base is None else evidence_pb2.EvidenceState(seq=base.seq, state=base.state),
        series=[evidence_pb2.EvidenceSeries(number=number, state=it) for number, it in sorted(material.series.items())],
        row=[
            evidence_pb2.EvidenceRow(seq=row.seq, kind=row.kind, received_unix_nano=row.received_ns, body=row.body)
            for row in material.rows
        ],
        finding=material.finding,
    )
    return message.SerializeToString(deterministic=True)


def pack(content: bytes, public_key: bytes, signature: bytes) -> bytes:
    """The file of a signed content."""
    message = evidence_pb2.EvidenceBundle(content=content, public_key=public_key, signature=signature)
    return MAGIC + message.SerializeToString(deterministic=True)


def unpack(data: bytes) -> Sealed:
    """What a file says; the signature is not looked at.

    Raises `BadBundle` for whatever is not exactly what `pack` writes, `UnknownParts` for what a later version wrote.
    """
    if len(data) > FILE_BYTES_MAX:
        raise BadBundle(f"it has {len(data)} bytes, more than {FILE_BYTES_MAX} (FILE_BYTES_MAX)")
    if not data.startswith(MAGIC):
        raise BadBundle("it is no evidence of Driftlock: its first line is another one")
    message = evidence_pb2.EvidenceBundle()
    _parse(message, data[len(MAGIC) :], "the file")
    if len(message.public_key) != PUBLIC_KEY_BYTES or len(message.signature) != SIGNATURE_BYTES:
        raise BadBundle("it has no Ed25519 key and signature of 32 and 64 bytes")
    return Sealed(message.content, message.public_key, message.signature, *_read(message.content))


def _read(content: bytes) -> tuple[Link, Material]:
    message = evidence_pb2.EvidenceContent()
    try:
        message.ParseFromString(content)
    except DecodeError:
        raise BadBundle("its content can not be parsed") from None
    if message.schema > SCHEMA:
        raise UnknownParts(f"it has schema {message.schema}, this version reads up to {SCHEMA}: use a newer driftlock")
    _check_canonical(message, content, "its content")
    if not (0 < len(message.row) <= ROWS_MAX and len(message.series) <= SERIES_MAX and len(message.era) <= ERAS_MAX):
        raise BadBundle(f"it has no rows, or more than {ROWS_MAX} rows, {SERIES_MAX} series or {ERAS_MAX} eras")
    if message.number < 1 or len(message.previous) != (DIGEST_BYTES if message.number > 1 else 0):
        raise BadBundle("its place in the chain is none")
    try:
        material = _material(message)
    except ValueError as error:  # ids, signals and kinds that do not exist
        raise BadBundle(f"it holds a value that does not exist: {error}") from None
    return Link(message.number, message.previous, message.made_unix_nano), material


def _material(message: evidence_pb2.EvidenceContent) -> Material:
    tenant_id, stream_id, finding_id = (UUID(bytes=raw) for raw in (message.tenant_id, message.stream_id, message.finding_id))
    key = StreamKey(Signal(message.signal), message.service, message.namespace, message.environment)
    base = Checkpoint(message.state.seq, message.state.state) if message.HasField("state") else None
    _check_ascending([0 if base is None else base.seq, *(row.seq for row in message.row)], "rows")
    _check_ascending([-1, *(it.number for it in message.series)], "series")
    rows = tuple(_row(row, tenant_id, stream_id, key) for row in message.row)
    if any(row.kind not in MAY_LIE_BETWEEN for row in rows[:-1]) or rows[-1].kind not in {*MAY_LIE_BETWEEN, RowKind.CLOCK}:
        raise BadBundle("its rows are not those of a stream, with a clock record at the end at most")
    return Material(
        tenant_id=tenant_id,
        stream_id=stream_id,
        finding_id=finding_id,
        key=key,
        seed=message.seed,
        limits=_limits(message.limit),
        versions={it.name: it.version for it in message.version},
        driftlock_version=message.driftlock_version,
        eras=tuple(
            Era(it.since_seq, tuple(Change(change.name, change.old, change.new) for change in it.change)) for it in message.era
        ),
        base=base,
        series={it.number: it.state for it in message.series},
        rows=rows,
        finding=message.finding,
    )


def _row(row: evidence_pb2.EvidenceRow, tenant_id: UUID, stream_id: UUID, key: StreamKey) -> JournalRow:
    kind = RowKind(row.kind)
    if kind is RowKind.CLOCK:
        return JournalRow(row.seq, kind, row.received_unix_nano, row.body)
    size = len(row.body)
    return JournalRow(row.seq, kind, row.received_unix_nano, row.body, tenant_id, stream_id, key, body_bytes=size)


def _limits(written: Sequence[evidence_pb2.EvidenceLimit]) -> Limits:
    values = {it.name: it.value for it in written}
    known = {it.name: int(getattr(Limits(), it.name)) for it in fields(Limits)}
    unknown = sorted(values.keys() - known.keys())
    if unknown:
        raise UnknownParts(
            f"it was made with limits that this version does not have ({', '.join(unknown)}): use a newer driftlock"
        )
    most = {name: LIMIT_NS_MAX if name.endswith("_ns") else LIMIT_FACTOR_MAX * value for name, value in known.items()}
    beyond = sorted(name for name, value in values.items() if not 0 < value <= most[name])
    if beyond:
        raise BadBundle(f"it asks for limits that are far beyond those of this version: {', '.join(beyond)}")
    return Limits(**(known | values))


def _check_ascending(numbers: Sequence[int], what: str) -> None:
    if any(left >= right for left, right in pairwise(numbers)):
        raise BadBundle(f"its {what} are not in ascending order")


def _parse(message: evidence_pb2.EvidenceBundle, raw: bytes, what: str) -> None:
    try:
        message.ParseFromString(raw)
    except DecodeError:
        raise BadBundle(f"{what} can not be parsed: it is cut off or damaged") from None
    _check_canonical(message, raw, what)


def _check_canonical(message: evidence_pb2.EvidenceBundle | evidence_pb2.EvidenceContent, raw: bytes, what: str) -> None:
    """One message has one form: nothing can be hidden in fields that nobody reads, or said twice."""
    message.DiscardUnknownFields()
    if message.SerializeToString(deterministic=True) != raw:
        raise BadBundle(f"{what} is not in canonical form: something was added to it, or it is damaged")


def _era_message(era: Era) -> records_pb2.Era:
    made = [records_pb2.VersionChange(name=it.name, old=it.old, new=it.new) for it in era.changes]
    return records_pb2.Era(since_seq=era.since_seq, change=made)
