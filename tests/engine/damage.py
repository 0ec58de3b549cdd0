"""Messages with something wrong in them, for the tests of who reads them: seeded, so that a case can be had again."""

import random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

FLIPS_MAX = 4
INTEGERS = (0, 1, 2, 3, 7, 63, 255, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1, -1, -(2**31), -(2**63))
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e308, float("inf"), float("-inf"), float("nan"))
_WHOLE = {
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_UINT32,
    FieldDescriptor.CPPTYPE_UINT64,
    FieldDescriptor.CPPTYPE_ENUM,
}
_BROKEN = {FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE}


def damaged(message: Message, seed: int) -> bytes:
    """The bytes of a message of which a few values are others, that has lost some, or of which bytes are others."""
    rng = random.Random(seed)
    other = type(message)()
    other.CopyFrom(message)
    if rng.random() < 0.2:
        return _flipped(message.SerializeToString(deterministic=True), rng)
    for _ in range(rng.randint(1, FLIPS_MAX)):
        _change(other, rng)
    return other.SerializeToString(deterministic=True)


def _change(message: Any, rng: random.Random) -> None:
    """Change one value, in the message or in one of those in it."""
    held = message.ListFields()
    if not held:
        return
    field, value = rng.choice(held)
    if field.is_repeated:
        _change_list(message, field, value, rng)
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        if rng.random() < 0.1:
            message.ClearField(field.name)
        else:
            _change(value, rng)
    elif rng.random() < 0.1:
        message.ClearField(field.name)
    else:
        _set(message, field, value, rng)


def _set(message: Any, field: Any, value: Any, rng: random.Random) -> None:
    try:
        setattr(message, field.name, _other(field, value, rng))
    except (ValueError, TypeError):  # it has no room for that number
        return


def _change_list(message: Any, field: Any, values: Any, rng: random.Random) -> None:
    at, what = rng.randrange(len(values)), rng.random()
    if what < 0.2:
        del values[at]
    elif what < 0.3:
        del values[rng.randrange(len(values) + 1) :]
    elif what < 0.4 and field.type != FieldDescriptor.TYPE_MESSAGE:
        values.append(values[at])
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        _change(values[at], rng)
    else:
        try:
            values[at] = _other(field, values[at], rng)
        except (ValueError, TypeError):
            message.ClearField(field.name)


def _other(field: Any, value: Any, rng: random.Random) -> Any:
    if field.cpp_type in _WHOLE:
        return rng.choice((*INTEGERS, value + 1, value - 1, value ^ 1 << rng.randrange(32)))
    if field.cpp_type in _BROKEN:
        return rng.choice((*FLOATS, value * 2, -value))
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return not value
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _flipped(value, rng)
    return value + "x"


def _flipped(raw: bytes, rng: random.Random) -> bytes:
    """Other bytes here and there, of which some are where lengths and counts stand: early, in fours and eights."""
    text = bytearray(raw)
    for _ in range(rng.randint(1, FLIPS_MAX)):
        if not text:
            return b"\0"
        at = rng.randrange(min(64, len(text))) if rng.random() < 0.3 else rng.randrange(len(text))
        what = rng.random()
        if what < 0.5:
            text[at] ^= 1 << rng.randrange(8)
        elif what < 0.7:
            text[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4)))
        elif what < 0.8:
            text[at : at + 8] = rng.choice((b"\xff" * 8, b"\0\0\0\0\0\0\xf8\x7f", b"\xff" * 7 + b"\x7f"))
        elif what < 0.9:
            del text[at : at + rng.randint(1, 16)]
        else:
            text[at:at] = text[at : at + 8]
    return bytes(text)
