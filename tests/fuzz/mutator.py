"""Changes a request along the messages of the protocol: fields come twice, in other places, of other types, nested deeper.

Bytes that are only flipped seldom get past the first length that no longer fits. So a request is read into its fields along the
descriptors of its messages, one or a few of them are changed, and it is written again; now and then bytes are flipped too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from tests.fuzz.fields import END_GROUP, FIXED32, FIXED64, LEN, START_GROUP, VARINT, Field, owners, read, write
from tests.fuzz.seeds import REQUESTS, signal_of

_ANY_VALUE = "opentelemetry.proto.common.v1.AnyValue"
_INTS = (0, 1, 2, 5, 127, 128, 2**14, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
_WIDE = tuple(bytes.fromhex(each) for each in (
    "0000000000000000", "0100000000000000", "ffffffffffffffff", "000000000000f07f", "000000000000f0ff", "010000000000f07f",
    "020000000000f07f", "000000000000f87f", "000000000000f03f", "0000000000000080", "9a9999999999b93f", "0000c0a4fcb4b318",
    "ffffffffffffef7f", "0080e03779c34143",
))  # fmt: skip
_TEXTS = tuple(each.encode() for each in (
    "", "a", "e=f,g{h}", "_truncated", "service.name", "host.name", "exception", "exception.type", "exception.stacktrace",
    "driftlock.stream_id", "driftlock.historical", "true", "\nCaused by: x\n", "é" * 5, "🎉" * 3, "x" * 300, "\x1f\\\"",
    "ot=p:8;th:4",
    "http://h/p?q=1 10.0.0.1 3f2504e0-4f89-11d3-9a0c-0305e82c3301 2026-01-02T03:04:05Z 0x1f",
))  # fmt: skip
_BROKEN_TEXTS = (b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xf0\x90\x80z", b"\xe0\x80\xaf" * 4, b"\xf4\x90\x80\x80")
_CHANGES_MAX = 4


class Mutator:
    """Changes files of the fuzzer; parts that it puts into requests come from `files`, too.

    Equal arguments and an equal state of `random` give an equal result.
    """

    def __init__(self, files: list[bytes]) -> None:
        self._others = {signal: [file[2:] for file in files if signal_of(file) is signal] for signal in REQUESTS}

    def change(self, data: bytes, bytes_max: int, random: Random) -> bytes:
        """A file of at most `bytes_max` bytes, which must be 2 or more; now and then for another signal or other limits."""
        head = bytearray(data[:2].ljust(2, b"\0"))
        if random.random() < 0.05:
            head[random.randrange(2)] = random.randrange(8)
        signal = signal_of(bytes(head))
        message, others = REQUESTS[signal].DESCRIPTOR, self._others[signal]
        return bytes(head) + mutate(data[2:], message, others, bytes_max - 2, random)


def mutate(data: bytes, message: Descriptor, others: list[bytes], bytes_max: int, random: Random) -> bytes:
    """A changed request of at most `bytes_max` bytes; `others` are requests of the same message to take parts from.

    Equal arguments and an equal state of `random` give an equal result.
    """
    root = Field(0, LEN, read(data, message), message)
    result = data[:bytes_max]
    for _ in range(random.randint(1, _CHANGES_MAX)):
        random.choice(_CHANGES)(random.choice(owners(root)), others, root, random)
        changed = write(root.value)
        if len(changed) <= bytes_max:
            result = changed
        else:
            root.value = read(result, message)
    if random.random() < 0.1:
        result = _flipped(result, random)[:bytes_max]
    return result


def _flipped(request: bytes, random: Random) -> bytes:
    """Damage that knows nothing of messages."""
    data = bytearray(request)
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(data) + 1)
        match random.randrange(4):
            case 0:
                data[at:] = b""
            case 1:
                data[at:at] = random.randbytes(random.randint(1, 4))
            case 2:
                data[at : at + 1] = bytes([random.randrange(256)])
            case _:
                data[at : at + random.randint(1, 8)] = b""
    return bytes(data)


# ---- changes: each puts another list of fields into a message ------------------------------------------------------------

Change = Callable[[Field, list[bytes], Field, Random], None]


def _fields(owner: Field) -> list[Field]:
    """A copy, so that what was there before can be put back."""
    assert isinstance(owner.value, list)
    return [*owner.value]


def _delete(owner: Field, others: list[bytes], root: Field, random: Random) -> None:
    fields = _fields(owner)
    if fields:
        del fields[random.randrange(len(fields))]
    owner.value = fields


def _repeat(owner: Field, others: list[bytes], root: Field, random: Random) -> None:
    """A field again, here or behind all others, once or many times."""
    fields = _fields(owner)
    if fields:
        at = random.randrange(len(fields))
        times = random.choice((1, 1, 1, 2, 5, 30, 200))
        where = random.choice((at, len(fields)))
        fields[where:where] = [fields[at]] * times
    owner.value = fields


def _reorder(owner: Field, others: list[bytes], root: Field, random: Random) -> None:
    fields = _fields(owner)
    random.shuffle(fields)
    owner.value = fields


def _split(owner: Field, others: list[bytes], root: Field, random: Random) -> None:
    """A message in two pieces, with something between them or nothing."""
    fields = _fields(owner)
    at = random.randrange(len(fields)) if fields else 0
    if fields and isinstance(inner := fields[at].value, list):
        middle = random.randint(0, len(inner))
        between = random.sample(fields, random.randint(0, 1))
        fields[at : at + 1] = [replace(fields[at], value=inner[:middle]), *between, replace(fields[at], value=inner[middle:])]
    owner.value = fields


def _renumber(owner: Field, others: list[bytes], root: Field, random: Random) -> None:
    fields = _fields(owner)
    if fields:
        at = random.randrange(len(fields))
        known = list(owner.message.fields_by_number) if owner.message else [1]
        number = random.choice([*known, *known, 0, 15, 16, 19_000, 2**29 - 1, 2**29, 2**32])
        fields[at] = replace(fields[at], number=number)
    owner.value = fields


def _retype(owner: Field, others: list[bytes], root: Field, random: Random) -> None:
    """Another wire type before the same bytes, or before some that fit."""
    fields = _fields(owner)
    if fields:
        at = random.randrange(len(fields))
        wire = random.randrange(8)
        fitting = random.random() < 0.7
        fields[at] = replace(fields[at], wire=wire, value=_fitting(wire, random) if fitting else fields[at].value)
    owner.value = fields


def _revalue(owner: Field, others: list[bytes], root: Field, random: Random) -> None:
    fields = _fields(owner)
    scalars = [at for at, field in enumerate(fields) if not isinstance(field.value, list)]
    if scalars:
        at = random.choice(scalars)
        value: int | bytes = _fitting(fields[at].wire, random)
        old = fields[at].value
        if isinstance(old, bytes) and fields[at].wire == LEN and random.random() < 0.5:  # what it was, and something
            cut = random.randint(0, len(old))
            value = old[:cut] + _fitting(LEN, random) + old[random.choice((cut, len(old))) :]
        fields[at] = replace(fields[at], value=value)
    owner.value = fields


def _pad(owner: Field, others: list[bytes], root: Field, random: Random) -> None:
    fields = _fields(owner)
    if fields:
        at = random.randrange(len(fields))
        fields[at] = replace(fields[at], padding=random.choice((1, 2, 3, 4, 5, 9, 10)))
    owner.value = fields


def _insert(owner: Field, others: list[bytes], root: Field, random: Random) -> None:
    """A field that the message knows, or a group, or one that it does not know."""
    fields = _fields(owner)
    known = list(owner.message.fields_by_number.values()) if owner.message else []
    at = random.randint(0, len(fields))
    if known and random.random() < 0.8:
        fields[at:at] = [_known(random.choice(known), random)]
    elif random.random() < 0.5:
        number = random.choice((1, 2, 5, 100))
        ends = [Field(random.choice((number, number, number, 3)), END_GROUP, b"")] * random.choice((1, 1, 1, 0, 2))
        starts = [Field(number, START_GROUP, b"")] * random.choice((1, 1, 1, 2, 70))
        fields[at:at] = [*starts, *random.sample(fields, min(len(fields), 2)), *ends * len(starts)]
    else:
        wire = random.choice((VARINT, FIXED64, LEN, FIXED32))
        fields[at:at] = [Field(random.choice((99, 20_000)), wire, _fitting(wire, random))]
    owner.value = fields


def _nest(owner: Field, others: list[bytes], root: Field, random: Random) -> None:
    """A value within lists or maps, a few levels or many."""
    if owner.message is None or owner.message.full_name != _ANY_VALUE:
        return
    array, kvlist = (owner.message.fields_by_name[name] for name in ("array_value", "kvlist_value"))
    fields = _fields(owner)
    for _ in range(random.choice((1, 2, 3, 14, 15, 16, 17, 40))):
        kind = random.choice((array, kvlist))
        inner = [Field(1, LEN, fields, owner.message)]
        if kind is kvlist:
            inner = [
                Field(
                    1,
                    LEN,
                    [Field(1, LEN, random.choice(_TEXTS)), replace(inner[0], number=2)],
                    _message(_message(kvlist).fields_by_number[1]),
                )
            ]
        fields = [Field(kind.number, LEN, inner, kind.message_type)]
    owner.value = fields


def _transplant(owner: Field, others: list[bytes], root: Field, random: Random) -> None:
    """The fields of a message of the same kind from this or another request, instead of its own or behind them."""
    assert root.message is not None
    donor = Field(0, LEN, read(random.choice(others), root.message), root.message) if others else root
    matching = [each for each in owners(donor) if each.message is owner.message]
    if matching:
        taken = _fields(random.choice(matching))
        owner.value = taken if random.random() < 0.5 else _fields(owner) + taken


def _repack(owner: Field, others: list[bytes], root: Field, random: Random) -> None:
    """Numbers of a repeated field one by one, or in one piece."""
    fields = _fields(owner)
    kinds = owner.message.fields_by_number if owner.message else {}
    numbers = [at for at, field in enumerate(fields) if (kind := kinds.get(field.number)) and _width(kind) is not None]
    if numbers:
        at = random.choice(numbers)
        field = fields[at]
        width = _width(kinds[field.number])
        if field.wire == LEN and isinstance(field.value, bytes) and width:
            items = [field.value[i : i + width] for i in range(0, len(field.value) - width + 1, width)]
            fields[at : at + 1] = [Field(field.number, FIXED64 if width == 8 else FIXED32, item) for item in items]
        elif field.wire != LEN:
            fields[at] = Field(field.number, LEN, write(field.value) * random.choice((1, 3, 20)))
    owner.value = fields


_CHANGES: tuple[Change, ...] = (
    _delete, _repeat, _repeat, _reorder, _split, _renumber, _retype, _revalue, _revalue, _revalue, _pad, _insert, _insert,
    _nest, _nest, _transplant, _repack,
)  # fmt: skip


def _fitting(wire: int, random: Random) -> int | bytes:
    """A value of a wire type, one on which something may hang."""
    if wire == VARINT:
        return random.choice(_INTS) if random.random() < 0.7 else random.getrandbits(random.randint(1, 64))
    if wire == FIXED64:
        return random.choice(_WIDE) if random.random() < 0.7 else random.randbytes(8)
    if wire == FIXED32:
        return random.randbytes(4)
    if wire == LEN:
        size = random.choice((0, 1, 7, 8, 9, 15, 16, 17, 40))
        return random.choice((*_TEXTS, *_BROKEN_TEXTS, bytes(size), random.randbytes(size)))
    return b""


def _known(kind: FieldDescriptor, random: Random) -> Field:
    if kind.message_type is not None:
        inner = list(kind.message_type.fields_by_number.values())
        chosen = [
            _known(each, random)
            for each in random.sample(inner, min(len(inner), random.randint(0, 2)))
            if random.random() < 0.7
        ]
        return Field(kind.number, LEN, chosen, kind.message_type)
    width = _width(kind)
    wire = LEN if width is None else {0: VARINT, 4: FIXED32, 8: FIXED64}[width]
    return Field(kind.number, wire, _fitting(wire, random))


def _width(kind: FieldDescriptor) -> int | None:
    """Bytes of a number, 0 = as many as it needs; None of what is no number."""
    if kind.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_MESSAGE):
        return None
    if kind.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FIXED64, FieldDescriptor.TYPE_SFIXED64):
        return 8
    return 4 if kind.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_FIXED32, FieldDescriptor.TYPE_SFIXED32) else 0


def _message(kind: FieldDescriptor) -> Descriptor:
    assert kind.message_type is not None
    return kind.message_type
