"""Columns of records with their texts and names redacted. Only where a stream has rules."""

from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from collector.redact import Redactor


class Series(NamedTuple):
    """Distinct identities of series, and the 1-based number of each record's."""

    names: tuple[str, ...]
    numbers: "array[int]"


def redacted_series(names: Sequence[str], shown: Sequence[int], index: "array[int]", redactor: Redactor) -> Series:
    """Identities of series, of which the first `shown` bytes are redacted; those that become equal are one from there on."""
    raws = [name.encode() for name in names]
    heads = [raw[:size] for raw, size in zip(raws, shown, strict=True)]
    kept = redactor.columns(b"".join(heads), array("I", map(len, heads)))
    numbers: dict[str, int] = {}
    renumbered, position = [0], 0
    for raw, size, length in zip(raws, shown, kept.lengths, strict=True):
        identity = (kept.text[position : position + length] + raw[size:]).decode()
        renumbered.append(numbers.setdefault(identity, len(numbers) + 1))
        position += length
    return Series(tuple(numbers), array("I", map(renumbered.__getitem__, index)))


def redacted_by_all(text: str, redactors: Iterable[Redactor]) -> str:
    """A name that several streams show, without what any of their rules finds."""
    for redactor in redactors:
        text = redactor.text(text)
    return text
