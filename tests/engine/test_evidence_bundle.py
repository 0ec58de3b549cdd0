"""One bundle has one form, and whatever is not in that form is refused."""

from dataclasses import fields, replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.engine import evidence_bundle
from driftlock.engine.era import Change, Era
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.evidence_bundle import (
    MAGIC,
    BadBundle,
    Link,
    Material,
    UnknownParts,
    content_of,
    digest_of,
    pack,
    signed_text,
    unpack,
)
from driftlock.engine.limits import Limits
from driftlock.engine.ports import Checkpoint, JournalRow, RowKind
from driftlock.v1 import evidence_pb2

KEY = StreamKey(Signal.LOGS, "checkout", "shop", "prod")
TENANT, STREAM = UUID(int=1), UUID(int=2)
PUBLIC, SIGNATURE = bytes(range(32)), bytes(range(64))


def row(seq: int, body: bytes = b"x", kind: RowKind = RowKind.RECORDS) -> JournalRow:
    if kind is RowKind.CLOCK:
        return JournalRow(seq, kind, 5, body)
    return JournalRow(seq, kind, 5, body, TENANT, STREAM, KEY, body_bytes=len(body))


MATERIAL = Material(
    tenant_id=TENANT,
    stream_id=STREAM,
    finding_id=UUID(int=3),
    key=KEY,
    seed=2**64 - 1,
    limits=Limits(),
    versions={"algorithm": "1", "zstd": "1.5.7"},
    driftlock_version="0.0.1",
    eras=(Era(7, (Change("zstd", "1.5.4", "1.5.7"),)),),
    base=Checkpoint(6, b"state"),
    series={2**64 - 1: b"a", 1: b"b"},
    rows=(row(8), row(9, b"", RowKind.CONFIG), row(2**62, b"c", RowKind.CLOCK)),
    finding=b"{}",
)
FIRST = Link(1, b"", 5)


def packed(material: Material, link: Link = FIRST) -> bytes:
    return pack(content_of(material, link), PUBLIC, SIGNATURE)


def edited(change: dict[str, object], *, clear: str = "") -> bytes:
    """A file whose content was changed, with a signature that nobody looks at here."""
    message = evidence_pb2.EvidenceContent.FromString(content_of(MATERIAL, FIRST))
    for name, value in change.items():
        setattr(message, name, value)
    if clear:
        message.ClearField(clear)  # type: ignore[arg-type]
    return pack(message.SerializeToString(deterministic=True), PUBLIC, SIGNATURE)


@pytest.mark.parametrize("link", [FIRST, Link(2, bytes(32), 2**63)], ids=["first", "second"])
def test_what_is_packed_is_what_is_read(link: Link) -> None:
    sealed = unpack(packed(MATERIAL, link))
    assert (sealed.material, sealed.link) == (MATERIAL, link)
    assert (sealed.public_key, sealed.signature) == (PUBLIC, SIGNATURE)
    assert sealed.digest == digest_of(content_of(MATERIAL, link))
    assert content_of(sealed.material, sealed.link) == sealed.content


def test_equal_material_has_equal_bytes_whatever_order_it_came_in() -> None:
    turned = replace(MATERIAL, versions=dict(reversed(list(MATERIAL.versions.items()))), series={1: b"b", 2**64 - 1: b"a"})
    assert content_of(turned, FIRST) == content_of(MATERIAL, FIRST)


def test_what_is_signed_is_said_to_be_evidence() -> None:
    assert signed_text(b"x").startswith(MAGIC)
    assert signed_text(b"x") != signed_text(b"y")


@given(st.data())
def test_a_file_that_is_not_whole_is_refused(data: st.DataObject) -> None:
    whole = packed(MATERIAL)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(BadBundle):
        unpack(whole[:cut])


@given(st.binary(min_size=1, max_size=40))
def test_nothing_can_be_added_to_a_file(tail: bytes) -> None:
    with pytest.raises(BadBundle):
        unpack(packed(MATERIAL) + tail)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_says_something_else(place: int, change: int) -> None:
    whole = bytearray(packed(MATERIAL))
    whole[place % len(whole)] ^= change
    try:
        sealed = unpack(bytes(whole))
    except (BadBundle, UnknownParts):
        return
    assert (sealed.content, sealed.public_key, sealed.signature) != (content_of(MATERIAL, FIRST), PUBLIC, SIGNATURE)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"number": 0}, "place in the chain"),
        ({"previous": bytes(32)}, "place in the chain"),
        ({"number": 2}, "place in the chain"),
        ({"tenant_id": b"x"}, "does not exist"),
        ({"signal": "smoke"}, "does not exist"),
    ],
    ids=["number", "previous", "second", "tenant", "signal"],
)
def test_values_that_can_not_be_are_refused(change: dict[str, object], told: str) -> None:
    with pytest.raises(BadBundle, match=told):
        unpack(edited(change))


def test_rows_are_needed_and_in_order() -> None:
    with pytest.raises(BadBundle, match="no rows"):
        unpack(edited({}, clear="row"))
    for rows in ((row(8), row(8)), (row(9), row(8)), (row(6),)):
        with pytest.raises(BadBundle, match="ascending"):
            unpack(packed(replace(MATERIAL, rows=rows)))
    for rows in ((row(8, kind=RowKind.CLOCK), row(9)), (row(8, kind=RowKind.BUDGET),), (row(8, kind=RowKind.ERA),)):
        with pytest.raises(BadBundle, match="not those of a stream"):
            unpack(packed(replace(MATERIAL, rows=rows)))


@pytest.mark.parametrize("name", [it.name for it in fields(Limits)])
def test_limits_that_ask_for_any_amount_are_refused(name: str) -> None:
    usual = int(getattr(Limits(), name))
    assert unpack(packed(replace(MATERIAL, limits=replace(Limits(), **{name: 2 * usual})))).material.limits != Limits()
    for hostile in (0, 2**63):
        with pytest.raises(BadBundle, match=name):
            unpack(packed(replace(MATERIAL, limits=replace(Limits(), **{name: hostile}))))


def test_what_a_later_version_wrote_is_said_to_be_so() -> None:
    with pytest.raises(UnknownParts, match="newer driftlock"):
        unpack(edited({"schema": 2}))
    message = evidence_pb2.EvidenceContent.FromString(content_of(MATERIAL, FIRST))
    message.limit.add(name="moons_max", value=3)
    with pytest.raises(UnknownParts, match="moons_max"):
        unpack(pack(message.SerializeToString(deterministic=True), PUBLIC, SIGNATURE))


def test_sizes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadBundle, match="FILE_BYTES_MAX"):
        unpack(bytes(evidence_bundle.FILE_BYTES_MAX + 1))
    for name in ("ROWS_MAX", "SERIES_MAX", "ERAS_MAX"):
        with monkeypatch.context() as patch:
            patch.setattr(evidence_bundle, name, 0)
            with pytest.raises(BadBundle, match="more than"):
                unpack(packed(MATERIAL))


def test_a_file_of_something_else_is_said_to_be_so() -> None:
    with pytest.raises(BadBundle, match="no evidence of Driftlock"):
        unpack(b"PK\x03\x04")
    with pytest.raises(BadBundle, match="Ed25519"):
        unpack(pack(content_of(MATERIAL, FIRST), b"short", SIGNATURE))
