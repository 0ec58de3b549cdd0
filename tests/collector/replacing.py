"""A redactor whose work can be seen: one text becomes another, in every stream."""

from array import array
from dataclasses import dataclass

from collector.redact import Texts
from driftlock.engine.event import StreamKey


@dataclass(frozen=True)
class Replacing:
    """Rules of one redactor that says `new` for `old`."""

    old: str
    new: str = "***"

    def of(self, stream: StreamKey) -> "Replacing":  # noqa: ARG002
        return self

    def columns(self, text: bytes, lengths: "array[int]") -> Texts:
        kept: list[bytes] = []
        position = 0
        for length in lengths:
            kept.append(self.text(text[position : position + length].decode()).encode())
            position += length
        return Texts(b"".join(kept), array("I", map(len, kept)), sum(self.new.encode() in line for line in kept))

    def text(self, text: str) -> str:
        return text.replace(self.old, self.new)
