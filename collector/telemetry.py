"""What receivers count. The server plugs its metrics in here; `received == accepted + rejected + refused + duplicate`."""

from typing import Protocol

from driftlock.engine.event import Signal


class IngestMeter(Protocol):
    """Counts what came in and what became of it. Reasons are a bounded set of short words, fit for labels."""

    def accepted(self, signal: Signal, records: int, request_bytes: int) -> None:
        """A request was journaled with so many records; `request_bytes` after decompression."""
        ...

    def rejected(self, signal: Signal, reason: str, records: int) -> None:
        """Records of an accepted request that will never be accepted (partial success)."""
        ...

    def refused(self, signal: Signal, reason: str) -> None:
        """A whole request was answered with an error; `reason` is an error code."""
        ...

    def duplicate(self, signal: Signal, records: int) -> None:
        """A byte-identical resend of a journaled request was answered with success and journaled nothing."""
        ...

    def altered(self, signal: Signal, what: str, count: int) -> None:
        """Accepted, but `truncated`, with `attributes_dropped` or `replaced` (not Unicode), `overflowed`, or `nameless`."""
        ...


class NullIngestMeter:
    """Counts nothing."""

    def accepted(self, signal: Signal, records: int, request_bytes: int) -> None:
        """Do nothing."""

    def rejected(self, signal: Signal, reason: str, records: int) -> None:
        """Do nothing."""

    def refused(self, signal: Signal, reason: str) -> None:
        """Do nothing."""

    def duplicate(self, signal: Signal, records: int) -> None:
        """Do nothing."""

    def altered(self, signal: Signal, what: str, count: int) -> None:
        """Do nothing."""
