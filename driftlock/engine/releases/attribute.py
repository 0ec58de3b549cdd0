"""The value of an attribute of each record: from the versions that a batch carries, or from the canonical text."""

from collections.abc import Collection, Iterator

from driftlock.engine.event import RecordBatch

VERSION_ATTRIBUTE = "service.version"
"""A resource attribute, which texts do not hold: batches carry it in a column of its own."""
ATTRIBUTE_BYTES_MAX = 256
VALUE_BYTES_MAX = 256
"""Longer values are not told apart: they count as none."""

_ENDS = (b" ", b"\n")


class Attribute:
    """An attribute by name, as it is written in canonical text: ` name=value`.

    In text a value ends at the next space or line break, and of several the last one counts, for attributes stand behind the
    body.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._mark = f" {name}=".encode()

    def split(self, line: bytes) -> tuple[bytes, bytes]:
        """The value in a line (b"" = none), and the line without the attribute, which would make it differ from all others.

        >>> Attribute("region").split(b"INFO up region=eu zone=b")
        (b'eu', b'INFO up zone=b')
        """
        at = line.rfind(self._mark)
        if at < 0:
            if not line.startswith(self._mark[1:]):
                return b"", line
            stop = _end(line, len(self._mark) - 1)
            return _value(line[len(self._mark) - 1 : stop]), line[stop:].removeprefix(b" ")
        start = at + len(self._mark)
        stop = _end(line, start)
        return _value(line[start:stop]), line[:at] + line[stop:]

    def of(self, batch: RecordBatch) -> Iterator[tuple[bytes, bytes]]:
        """Value and line of each record of a batch, in order."""
        if self.name == VERSION_ATTRIBUTE and batch.versions:
            names = [b"", *(_value(name.encode("utf-8", "replace")) for name in batch.versions)]
            numbers = batch.version_index or [1] * len(batch)
            return ((names[number], line) for number, line in zip(numbers, batch.lines(), strict=True))
        return map(self.split, batch.lines())

    def may_hold(self, batch: RecordBatch, values: Collection[bytes]) -> bool:
        """False where no record of a batch can have one of these values: then its lines need not be looked at."""
        if self.name == VERSION_ATTRIBUTE and batch.versions:
            return any(_value(name.encode("utf-8", "replace")) in values for name in batch.versions)
        return any(self._mark[1:] + value in batch.text for value in values)

    def counts(self, batch: RecordBatch) -> dict[bytes, int]:
        """How many records of a batch have each value; those without are b""."""
        if self.name == VERSION_ATTRIBUTE and len(batch.versions) == 1 and not batch.version_index:
            return {_value(batch.versions[0].encode("utf-8", "replace")): len(batch)}
        found: dict[bytes, int] = {}
        for value, _ in self.of(batch):
            found[value] = found.get(value, 0) + 1
        return found


def _end(line: bytes, start: int) -> int:
    found = [at for at in (line.find(mark, start) for mark in _ENDS) if at >= 0]
    return min(found, default=len(line))


def _value(raw: bytes) -> bytes:
    return raw if len(raw) <= VALUE_BYTES_MAX else b""
