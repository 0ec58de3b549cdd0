"""A tail for hours: it keeps no rows, and of ids only a byte each."""

from collections.abc import Mapping
from dataclasses import replace

from driftlock.engine.ports import JournalRow, RowKind
from driftlock.engine.records import Damaged, decode
from tests.chaos.tail import SAMPLES, Tail, Verdict


class LeanTail(Tail):
    """Its verdict is `Tail`'s; a refold of its rows is not possible."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self.counts: dict[str, bytearray] = {}  # how often the record of each number was read, by client
        self.taken = 0

    def check(self, acked: Mapping[str, int]) -> Verdict:
        """What is wrong, given the highest number that was acknowledged of each client."""
        lost, dup, records, samples = 0, 0, 0, []
        for client, last in acked.items():
            counts = self.counts.get(client, bytearray())
            records += sum(counts)
            missing = counts[1 : last + 1].count(0) + max(0, last + 1 - max(1, len(counts)))
            twice = len(counts) - counts.count(0) - counts.count(1)
            lost, dup = lost + missing, dup + twice
            if missing or twice:
                samples.append(f"{client}: {missing} lost, {twice} more than once")
        samples = [*samples[:SAMPLES], *self.gaps[:SAMPLES]]
        return Verdict(lost, dup, len(self.gaps), self.taken, records, tuple(samples), self.unreadable)

    def _take(self, row: JournalRow) -> None:
        if row.seq != self.last_seq + 1:
            self.gaps.append(f"after {self.last_seq} comes {row.seq}")
        self.taken += 1
        self.rows = [replace(row, body=b"")]  # where to go on
        if row.kind is not RowKind.RECORDS:
            return
        try:
            text = decode(row.body).text
        except Damaged:
            self.unreadable += 1
            return
        for found in self._ids.findall(text):
            client, _, number = found.decode().rpartition("-")
            self._count(client, int(number))

    def _count(self, client: str, number: int) -> None:
        counts = self.counts.setdefault(client, bytearray())
        if len(counts) <= number:
            counts.extend(bytes(number + 1024 - len(counts)))
        counts[number] = min(255, counts[number] + 1)
