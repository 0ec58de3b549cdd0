"""Columns of records with their texts redacted. Only where there is a redactor: record by record, in Python."""

from array import array
from collections.abc import Sequence
from typing import NamedTuple

from collector.redact import Redactor
from driftlock.engine.canonical import Cuts, utf8


class Texts(NamedTuple):
    """The texts of records one after another, and the bytes of each."""

    text: bytes
    lengths: "array[int]"


def redacted_texts(text: bytes, lengths: "array[int]", redactor: Redactor, cuts: Cuts) -> Texts:
    """The same records, each text as it may be kept."""
    kept: list[bytes] = []
    position = 0
    for length in lengths:
        kept.append(utf8(redactor.redact(text[position : position + length].decode()), cuts))
        position += length
    return Texts(b"".join(kept), array("I", map(len, kept)))


class Series(NamedTuple):
    """Distinct identities of series, and the 1-based number of each record's."""

    names: tuple[str, ...]
    numbers: "array[int]"


def redacted_series(names: Sequence[str], shown: Sequence[int], index: "array[int]", redactor: Redactor) -> Series:
    """Identities of series, of which the first `shown` bytes are redacted; those that become equal are one from there on."""
    numbers: dict[str, int] = {}
    renumbered = [0]
    for name, size in zip(names, shown, strict=True):
        raw = name.encode()
        identity = redactor.redact(raw[:size].decode()) + raw[size:].decode()
        renumbered.append(numbers.setdefault(identity, len(numbers) + 1))
    return Series(tuple(numbers), array("I", map(renumbered.__getitem__, index)))
