"""The native reader of log records against the oracle: what is generated, what is damaged, and each edge of the wire format."""

from array import array
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from collector.otlp.envelope import read_envelope
from collector.otlp.limits import OtlpLimits
from collector.otlp.logwire import LogColumns, read_logs
from collector.otlp.reasons import READ
from driftlock.engine.canonical import CanonicalLimits
from driftlock.errors import InvalidArgument
from tests.collector.native_logs import Said, native, oracle
from tests.collector.otlp_requests import T0, any_value, log, logs, pairs, raw_logs
from tests.collector.wire_strategies import (
    FIXED64,
    LEN,
    VARINT,
    any_values,
    attributes,
    broken,
    deep,
    field,
    fields,
    fixed64,
    messages,
    padded,
    tag,
    texts,
    varints,
)

SMALL = OtlpLimits(
    text=CanonicalLimits(body_bytes_max=24, value_bytes_max=9, key_bytes_max=6, attributes_max=4, depth_max=4),
    record_elements_max=60,
)
TINY = OtlpLimits(text=CanonicalLimits(body_bytes_max=1, value_bytes_max=1, key_bytes_max=1, attributes_max=1, depth_max=2))


def answer(read: Callable[[bytes, OtlpLimits], Said], request: bytes, limits: OtlpLimits) -> Said | str:
    """What is said, or the error; where exactly bytes are damaged may be told differently."""
    try:
        return read(request, limits)
    except InvalidArgument as error:
        return error.message.partition(" (near byte")[0]


def check(*records: bytes, limits: OtlpLimits | None = None) -> Said | str:
    """The native answer, which has to be the oracle's."""
    return check_request(raw_logs(*records), limits)


def check_request(request: bytes, limits: OtlpLimits | None = None) -> Said | str:
    found, wanted = (answer(read, request, limits or OtlpLimits()) for read in (native, oracle))
    assert found == wanted
    return found


def text(record: bytes, limits: OtlpLimits | None = None) -> str:
    """The text of an accepted record."""
    said = check(record, limits=limits)
    assert isinstance(said, Said), said
    assert not said.rejected
    ((row,),) = said.streams.values()
    return row.text.decode()


def rejected(record: bytes, limits: OtlpLimits | None = None) -> dict[str, int]:
    """Why a record is rejected; the ones beside it have to be accepted."""
    beside = log("m").SerializeToString()
    said = check(beside, record, beside, limits=limits)
    assert isinstance(said, Said), said
    assert sum(map(len, said.streams.values())) == 2
    return said.rejected


def body(value: bytes) -> bytes:
    return field(5, value)


# ---- generated ------------------------------------------------------------------------------------------------------

plain_values = st.recursive(
    st.one_of(
        *(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.binary(max_size=12)),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(st.text("ab.ä", max_size=5), inner, max_size=5)),
    max_leaves=10,
)
names = st.text("abck.=ä", max_size=10)
log_records = st.builds(
    LogRecord,
    time_unix_nano=st.sampled_from([0, 1, T0, 2**64 - 1]),
    observed_time_unix_nano=st.sampled_from([0, T0]),
    severity_number=st.integers(-1, 26) | st.sampled_from([2**31 - 1, -(2**31)]),
    severity_text=st.sampled_from(["", "INFO", "ä" * 200]) | st.text(max_size=8),
    body=st.none() | plain_values.map(any_value),
    attributes=st.dictionaries(names, plain_values, max_size=8).map(pairs) | st.just(pairs({f"k{i}": i for i in range(200)})),
    trace_id=st.sampled_from([b"", bytes(16), bytes(range(16)), b"short", bytes(17)]),
    span_id=st.sampled_from([b"", bytes(8), bytes(range(8)), b"short", bytes(9)]),
    event_name=st.sampled_from(["", "login", "ß" * 300]),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(log_records, max_size=3), st.sampled_from([OtlpLimits(), SMALL, TINY]))
def test_records_as_libraries_write_them(records: list[LogRecord], limits: OtlpLimits) -> None:
    check(*(record.SerializeToString() for record in records), limits=limits)


wire_records = messages(
    fields(5, any_values),
    fields(6, attributes),
    fields(6, attributes),
    fields(3, texts),
    fields(12, texts),
    fixed64.map(lambda value: tag(1, FIXED64) + value),
    fixed64.map(lambda value: tag(11, FIXED64) + value),
    varints.map(lambda value: tag(2, VARINT) + value),
    fields(9, st.sampled_from([b"", b"\0" * 16, b"x" * 16, b"x" * 15])),
    fields(10, st.sampled_from([b"", b"\0" * 8, b"x" * 8, b"x" * 9])),
    strange_share=20,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(wire_records, min_size=1, max_size=3), st.sampled_from([OtlpLimits(), SMALL, TINY]))
def test_records_as_they_may_be_sent(records: list[bytes], limits: OtlpLimits) -> None:
    check(*records, limits=limits)


@settings(max_examples=200, deadline=None)
@given(wire_records, st.integers(0, 2**16), st.binary(min_size=1, max_size=3) | broken, st.booleans(), st.booleans())
def test_damaged_bytes(record: bytes, place: int, patch: bytes, insert: bool, whole: bool) -> None:
    """In a record, whose frame stays right, or anywhere in a request."""
    data = raw_logs(record, log("m", attributes={"a": 1}).SerializeToString()) if whole else record
    at = place % (len(data) + 1)
    data = data[:at] + patch + data[at if insert else at + len(patch) :]
    check_request(data) if whole else check(data)


@settings(max_examples=200, deadline=None)
@given(wire_records, st.integers(0, 2**16))
def test_a_record_that_ends_early(record: bytes, place: int) -> None:
    check(record[: place % (len(record) + 1)])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(texts, min_size=20, max_size=50), st.lists(any_values, min_size=1, max_size=3), st.integers(1, 40), st.randoms()
)
def test_many_attributes(keys: list[bytes], values: list[bytes], distinct: int, chance: Random) -> None:
    """So many that they are sorted, and searched for duplicates, in another way than few are."""
    entries = [field(1, key + b"%d" % chance.randrange(distinct)) + field(2, chance.choice(values)) for key in keys * 2]
    several = field(6, b"".join(field(1, each) for each in entries))
    for limits in (OtlpLimits(), SMALL):
        check(b"".join(field(6, each) for each in entries), limits=limits)
        check(body(several), limits=limits)
        check(field(6, field(1, b"m") + field(2, several)), limits=limits)
        check(body(field(5, field(1, several))), limits=limits)


# ---- the wire, rule by rule ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        pytest.param(field(3, b"A") + field(3, b"B") + body(b"\x0a\x01m"), "B m", id="the last scalar counts"),
        pytest.param(tag(2, VARINT) + b"\x09" + tag(2, VARINT) + b"\x11" + body(b"\x0a\x01m"), "ERROR m", id="the last number"),
        pytest.param(tag(2, VARINT) + padded(2**32 + 9) + body(b"\x0a\x01m"), "INFO m", id="an enum has 32 bits"),
        pytest.param(tag(2, VARINT) + padded(2**63 + 9) + body(b"\x0a\x01m"), "INFO m", id="an enum of 64 bits"),
        pytest.param(tag(2, VARINT) + padded(9, 9) + body(b"\x0a\x01m"), "INFO m", id="a varint of ten bytes"),
        pytest.param(tag(3, LEN, 4) + b"\x01A" + body(b"\x0a\x01m"), "A m", id="a tag of five bytes"),
        pytest.param(tag(3, LEN) + padded(1, 4) + b"A" + body(b"\x0a\x01m"), "A m", id="a length of five bytes"),
        pytest.param(body(b"\x10" + padded(2**32)), "true", id="a bool is any bit of 64"),
        pytest.param(body(b"\x10\x80\x00"), "false", id="a long zero is false"),
        pytest.param(body(b"\x18" + padded(2**64 - 1)), "-1", id="an integer has 64 bits"),
        pytest.param(body(b"\x0a\x01a") + body(b"\x18\x05"), "5", id="merged bodies, the last case"),
        pytest.param(body(b"\x18\x05") + body(b""), "5", id="merged with nothing"),
        pytest.param(body(b"\x2a\x05\x0a\x03\x0a\x01a") + body(b"\x2a\x05\x0a\x03\x0a\x01b"), "[a,b]", id="merged arrays"),
        pytest.param(body(b"\x2a\x04\x0a\x02\x18\x01" * 2), "[1,1]", id="an array twice is one"),
        pytest.param(
            body(b"\x2a\x04\x0a\x02\x18\x01" + b"\x0a\x01x" + b"\x2a\x04\x0a\x02\x18\x02"),
            "[2]",
            id="another case between is a new one",
        ),
        pytest.param(
            body(b"\x2a\x04\x0a\x02\x18\x01" + b"\xf8\x06\x01" + b"\x28\x01" + b"\x2a\x04\x0a\x02\x18\x02"),
            "[1,2]",
            id="strange ones between",
        ),
        pytest.param(body(b"\x2a\x04\x0a\x02\x18\x01" + b"\x32\x00" + b"\x2a\x00"), "[]", id="array, map, array"),
        pytest.param(body(b"\x0a\x01x\x40\x07"), "", id="an index into a dictionary is nothing"),
        pytest.param(body(b"\x0a\x01x\x0a\x00"), "", id="an empty string is a string"),
        pytest.param(body(b"\x0a\x01x\x08\x05\x12\x00\x22\x01a"), "x", id="cases of another wire type are none"),
        pytest.param(
            field(6, field(1, b"a") + field(2, b"\x18\x01") + field(1, b"b") + field(2, b"\x0a\x01z")),
            "b=z",
            id="key and value twice",
        ),
        pytest.param(
            field(6, field(1, b"k") + field(2, b"\x2a\x04\x0a\x02\x18\x01") * 2), "k=[1,1]", id="merged values of an attribute"
        ),
        pytest.param(field(6, field(2, b"\x18\x01") + field(1, b"k")), "k=1", id="the value before the key"),
        pytest.param(
            body(field(6, field(1, field(1, b"a") + field(2, b"\x18\x01")))) + body(field(6, field(1, field(1, b"a")))),
            "a=",
            id="merged maps: the last value of a key",
        ),
        pytest.param(
            field(6, field(1, b"k") + 2 * field(2, 2 * field(5, field(1, 2 * field(5, field(1, b"\x18\x01")))))),
            f"k=[{','.join(['[1,1]'] * 4)}]",
            id="arrays merged in merged values",
        ),
        pytest.param(field(6, b""), "=", id="an attribute of nothing"),
        pytest.param(field(6, field(1, b"k")), "k=", id="an attribute without a value"),
        pytest.param(
            field(6, field(1, b"a") + field(2, b"\x18\x01"))
            + field(6, field(1, b"b"))
            + field(6, field(1, b"a") + field(2, b"\x18\x02")),
            "a=2 b=",
            id="a key twice: the last value",
        ),
        pytest.param(
            tag(5, VARINT) + b"\x01" + tag(6, FIXED64) + bytes(8) + body(b"\x0a\x01m"), "m", id="other wire types are skipped"
        ),
        pytest.param(tag(3, 3) + b"\x0a\x05other" + tag(3, 4) + body(b"\x0a\x01m"), "m", id="a group instead of a string"),
        pytest.param(b"\xa3\x06\x00\x01\xa4\x06" + body(b"\x0a\x01m"), "m", id="a field 0 in a group"),
        pytest.param(b"\x0b" * 64 + b"\x0c" * 64 + body(b"\x0a\x01m"), "m", id="64 groups in each other"),
        pytest.param(body(field(7, b"\x00\xab\xff")), "00abff", id="bytes are hexadecimal"),
    ],
)
def test_wire_rules(record: bytes, expected: str) -> None:
    assert text(record) == expected


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(b"\x00\x01", id="field 0"),
        pytest.param(b"\x0c", id="an end without a start"),
        pytest.param(b"\x0b", id="a start without an end"),
        pytest.param(b"\x0b\x14", id="another's end"),
        pytest.param(b"\x0b" * 65 + b"\x0c" * 65, id="65 groups in each other"),
        pytest.param(b"\x0e", id="wire type 6"),
        pytest.param(b"\x0f", id="wire type 7"),
        pytest.param(b"\x1a", id="no length"),
        pytest.param(b"\x1a\x02a", id="too few bytes"),
        pytest.param(b"\x09\x01", id="half a number of 64 bits"),
        pytest.param(b"\x45\x01", id="half a number of 32 bits"),
        pytest.param(b"\x10\x80", id="half a varint"),
        pytest.param(b"\x10" + b"\x80" * 10 + b"\x00", id="a varint of 11 bytes"),
        pytest.param(b"\x90\x80\x80\x80\x80\x00\x01", id="a tag of 6 bytes"),
        pytest.param(b"\x92\x80\x80\x80\x10\x00", id="a tag of 33 bits"),
        pytest.param(b"\x1a\x81\x80\x80\x80\x80\x00a", id="a length of 6 bytes"),
        pytest.param(body(b"\x0a\x05a"), id="in a body"),
        pytest.param(body(b"\x2a\x03\x0a\x05a"), id="in an array"),
        pytest.param(body(b"\x0a\x01a") + body(b"\x00\x00"), id="in a second body"),
        pytest.param(body(field(5, b"\x08") + b"\x0a\x01x"), id="in an array that does not count"),
        pytest.param(field(6, b"\x00\x01"), id="in an attribute"),
        pytest.param(
            b"".join(field(6, b"") for _ in range(200)) + field(6, field(2, b"\x0c")), id="in an attribute over the limit"
        ),
    ],
)
def test_damage_refuses_the_request(damage: bytes) -> None:
    said = check(log("good").SerializeToString(), damage + log("m").SerializeToString())
    assert isinstance(said, str)
    assert "not a valid OTLP protobuf message" in said


def test_unknown_fields_are_not_looked_into() -> None:
    assert text(field(100, b"\x0a\x05a") + field(9, b"\x0f") + body(b"\x0a\x01m" + field(9, b"\x00"))) == "m"


# ---- limits --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", [lambda _: 5, lambda _: 6, lambda level: 5 + level % 2], ids=["arrays", "maps", "both"])
@pytest.mark.parametrize("depth_max", [1, 4, 16])
def test_depth_max(kinds: Callable[[int], int], depth_max: int) -> None:
    limits = OtlpLimits(text=CanonicalLimits(depth_max=depth_max))
    for core in (b"\x0a\x01x", b"", b"\x2a\x00", b"\x32\x00"):
        fits, deeper = deep(depth_max, kinds, core), deep(depth_max + 1, kinds, core)
        text(body(fits) + field(6, field(1, b"k") + field(2, fits)), limits)
        assert rejected(body(deeper), limits) == {"too_deep": 1}
        assert rejected(field(6, field(1, b"k") + field(2, deeper)), limits) == {"too_deep": 1}


def test_the_depth_ceiling_is_read() -> None:
    limits = OtlpLimits(text=CanonicalLimits(depth_max=64))
    for kinds in (lambda _: 5, lambda _: 6, lambda level: 5 + level % 2):
        said = native(raw_logs(body(deep(64, kinds)), field(6, field(1, b"k") + field(2, deep(64, kinds)))), limits)
        assert sum(map(len, said.streams.values())) == 2
        assert native(raw_logs(body(deep(65, kinds))), limits).rejected == {"too_deep": 1}


def test_values_deeper_than_any_stack_are_rejected() -> None:
    assert native(raw_logs(body(deep(5000, lambda level: 5 + level % 2)))).rejected == {"too_deep": 1}


@pytest.mark.parametrize("size", [10, 60 * 1024, 100_000])
def test_record_elements_max_holds_whatever_the_size(size: int) -> None:
    limits = OtlpLimits(record_elements_max=100)
    padding = field(100, bytes(size))  # one field
    assert text(padding + b"\x18\x01" * 99, limits) == ""
    assert rejected(padding + b"\x18\x01" * 100, limits) == {"too_many_elements": 1}


@pytest.mark.parametrize(
    ("record", "elements"),
    [
        (body(b"\x0a\x01m"), 2),
        (field(6, field(1, b"k") + field(2, b"\x0a\x01v")), 4),
        (field(6, field(1, b"k") + field(2, b"")), 3),
        (field(6, field(1, b"k") + field(2, field(5, field(1, b"\x18\x01") * 3))), 10),
        (field(6, field(2, b"\x18\x01") + field(1, b"k")), 4),
        (b"\xa3\x06\x08\x01\x08\x02\xa4\x06", 1),
        (field(9, bytes(16)) + field(100, bytes(800)), 2),
    ],
)
def test_what_an_element_is(record: bytes, elements: int) -> None:
    others = b"\x18\x01" * (20 - elements)
    text(others + record, OtlpLimits(record_elements_max=20))
    assert rejected(others + record, OtlpLimits(record_elements_max=19)) == {"too_many_elements": 1}


def test_of_two_faults_the_first_counts() -> None:
    limits = OtlpLimits(record_elements_max=40)
    too_deep, too_many, damaged = body(deep(17, lambda _: 5)), b"\x18\x01" * 41, b"\x00\x00"
    assert rejected(too_many + too_deep + damaged, limits) == {"too_many_elements": 1}
    assert rejected(too_deep + too_many + damaged, limits) == {"too_deep": 1}
    assert isinstance(check(damaged + too_deep + too_many, limits=limits), str)


def test_attributes_max() -> None:
    limits = OtlpLimits(text=CanonicalLimits(attributes_max=3))
    four = {name: {"x": 1, "y": 2} for name in "dcba"}
    said = check(log("m", attributes=four).SerializeToString(), limits=limits)
    assert isinstance(said, Said)
    assert said.streams["logs:shop"][0].text == b"m c.x=1 d.x=1 d.y=2"
    assert said.cuts == (0, 3, 0)  # of the four on the wire one, of the pairs one, and what came after them


@pytest.mark.parametrize(
    ("attributes", "expected", "truncated"),
    [
        ({"key-of-9b": 1}, "_truncated=true key-of=1", 1),
        ({"k": "ääääää"}, "_truncated=true k=ääää", 1),
        ({"k": ["abc", "defghi", "never"]}, "_truncated=true k=[abc,defg", 1),
        ({"k": b"\x01\x02\x03\x04\x05"}, "_truncated=true k=010203040", 1),
        ({"long-prefix": {"a": 1, "b": {}}}, "_truncated=true long-p=1 long-p={}", 3),
        ({"ääää": {"a": 1}}, "_truncated=true äää=1", 2),
        ({"k": {"": "0123456789"}}, "_truncated=true k.=012345678", 1),
    ],
)
def test_keys_and_values_are_cut(attributes: dict[str, object], expected: str, truncated: int) -> None:
    said = check(log(None, attributes=attributes).SerializeToString(), limits=SMALL)
    assert isinstance(said, Said)
    assert said.streams["logs:shop"][0].text.decode() == expected
    assert said.cuts == (truncated, 0, 0)


@pytest.mark.parametrize(
    "value",
    [
        *("x" * 24, "x" * 25, "x" * 22 + "😀", {"a": "x" * 9, "b": "y" * 9}, {"a": "x" * 9, "b": "y" * 9, "c": 1}),
        *(
            [["x" * 30], "never"],
            {"k": [["x" * 30], 2]},
            b"x" * 12,
            b"x" * 13,
            [{"k": "ä" * 20}],
            {"a": {"b": {}}},
            {},
            [],
            [None] * 30,
        ),
    ],
)
def test_bodies_are_cut(value: object) -> None:
    assert text(body(any_value(value).SerializeToString()), SMALL)[:24] or value == {}


@pytest.mark.parametrize("size", [250, 351])
def test_text_bytes_max(size: int) -> None:
    """The record that does not fit is rejected alone; smaller ones behind it may fit."""
    records = [log("x" * 100).SerializeToString(), log("y" * size).SerializeToString(), log("z" * 100).SerializeToString()]
    said = check(*records, limits=OtlpLimits(text_bytes_max=450))
    assert isinstance(said, Said)
    assert [len(row.text) for row in said.streams["logs:shop"]] == ([100, 250, 100] if size == 250 else [100, 100])
    assert said.rejected == ({} if size == 250 else {"too_much_text": 1})


def test_text_bytes_max_is_for_all_streams_of_a_request() -> None:
    request = b"".join(
        logs(log("x" * 100), resource={"service.name": name}).SerializeToString() for name in ("a", "b", "c", "a", "d")
    )
    said = check_request(request, OtlpLimits(text_bytes_max=399))
    assert isinstance(said, Said)
    assert {name: len(rows) for name, rows in said.streams.items()} == {"logs:a": 1, "logs:b": 1, "logs:c": 1}
    assert said.rejected == {"too_much_text": 2}


def test_a_map_under_long_keys_is_bounded() -> None:
    """The text may be many times as long as what was sent."""
    leaves = b"".join(field(1, field(1, b"%x" % number)) for number in range(6000))
    value = field(6, field(1, field(1, b"k" * 250) + field(2, field(6, leaves))))
    record = body(value)
    assert len(text(record)) == 256 * 1024 + len(" _truncated=true")
    said = native(raw_logs(*[record] * 20), OtlpLimits(text_bytes_max=2**20))
    assert said.rejected == {"too_much_text": 17}


def test_what_is_cut_from_a_rejected_record_is_counted() -> None:
    record = field(3, b"\xff") + field(6, field(1, b"\xff" * 300)) + body(deep(17, lambda _: 5))
    said = check(record)
    assert isinstance(said, Said)
    assert said.cuts == (0, 0, 2)


def test_sorting_is_by_code_points() -> None:
    keys = ["", "a", "a\x00", "aa", "B", "ä", "z", "😀", "\ufb01", "longer than eight", "longer th", "longer t", "\x7f"]
    expected = " ".join(f"{key}=1" for key in sorted(keys))
    assert text(log(None, attributes=dict.fromkeys(reversed(keys), 1)).SerializeToString()) == expected
    many = [f"key number {number * 7919 % 100:03}" for number in range(100)]
    assert text(log(None, attributes=dict.fromkeys(many, 1)).SerializeToString()) == " ".join(
        f"{key}=1" for key in sorted(many)
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from(["samesame", "other", "\0", "a", ""]), max_size=5), max_size=300), st.booleans())
def test_many_long_keys_are_sorted(parts: list[list[str]], nested: bool) -> None:
    keys = {"".join(each): str(number % 3) for number, each in enumerate(parts)}
    record = log({"root of all of them": keys} if nested else keys).SerializeToString()
    prefix = "root of all of them." if nested and keys else ""
    expected = [f"{prefix}{key}={keys[key]}" for key in sorted(keys)]
    assert text(record) == (" ".join(expected) if keys or not nested else "root of all of them={}")


def test_keys_that_become_equal_are_sorted_by_text() -> None:
    assert text(log(None, attributes={"a.b": 2, "a": {"b": 1}}).SerializeToString()) == "a.b=1 a.b=2"


# ---- columns -------------------------------------------------------------------------------------------------------------


def columns(request: bytes | bytearray | memoryview, streams: list[int], instances: list[int], count: int) -> list[LogColumns]:
    envelope = read_envelope(request, records_max=100, containers_max=100, what="log records")
    return read_logs(request, envelope, array("i", streams), array("I", instances), count, OtlpLimits()).columns


def test_streams_and_instances() -> None:
    trace, span = bytes(range(16)), bytes(range(8))
    request = b"".join(
        logs(*records).SerializeToString()
        for records in ([log("1"), log("2", trace_id=trace)], [log("left out")], [log("x", span_id=span)], [log("3")])
    )
    first, second, third = columns(request, [0, -1, 1, 0], [1, 9, 0, 2], 3)
    assert first == LogColumns(
        b"123", array("I", [1, 1, 1]), array("Q", [T0] * 3), array("I", [1, 1, 2]), bytes(16) + trace + bytes(16), b""
    )
    assert second == LogColumns(b"x", array("I", [1]), array("Q", [T0]), array("I", [0]), b"", span)
    assert third == LogColumns(b"", array("I"), array("Q"), array("I"), b"", b"")


def test_records_that_are_left_out_are_not_read() -> None:
    assert columns(raw_logs(b"\x00"), [-1], [0], 0) == []


def test_nothing() -> None:
    said = native(b"")
    assert said == Said({}, {}, (0, 0, 0), True)


def test_a_request_may_be_any_buffer() -> None:
    request = logs(log("m")).SerializeToString()
    assert (
        columns(bytearray(request), [0], [0], 1) == columns(memoryview(request), [0], [0], 1) == columns(request, [0], [0], 1)
    )


@pytest.mark.parametrize(
    ("streams", "instances", "counts", "places", "problem"),
    [
        ([], [], [1], [0, 1], "one stream and one instance"),
        ([0], [], [1], [0, 1], "one stream and one instance"),
        ([1], [0], [1], [0, 1], "a stream that there is not"),
        ([-2], [0], [1], [0, 1], "a stream that there is not"),
        ([0], [0], [2], [0, 1], "more records than places"),
        ([0], [0], [1], [0, 99], "outside of its request"),
        ([0], [0], [1], [-1, 1], "outside of its request"),
        ([0], [0], [1], [2, 1], "outside of its request"),
    ],
)
def test_arguments_that_do_not_belong_together(
    streams: list[int], instances: list[int], counts: list[int], places: list[int], problem: str
) -> None:
    request = logs(log("m")).SerializeToString()
    envelope = read_envelope(request, records_max=9, containers_max=9, what="log records")
    envelope = envelope._replace(counts=array("I", counts), places=array("q", places))
    with pytest.raises(ValueError, match=problem):
        read_logs(request, envelope, array("i", streams), array("I", instances), 1, OtlpLimits())


def test_reasons_are_counted_by_their_number() -> None:
    request = raw_logs(body(deep(17, lambda _: 5)), b"\x18\x01" * 30_000)
    envelope = read_envelope(request, records_max=9, containers_max=9, what="log records")
    read = read_logs(request, envelope, array("i", [0]), array("I", [0]), 1, OtlpLimits())
    assert dict(zip(READ, read.rejected, strict=True)) == {
        "too_deep": 1,
        "too_many_elements": 1,
        "bad_id": 0,
        "bad_buckets": 0,
        "too_much_text": 0,
    }
