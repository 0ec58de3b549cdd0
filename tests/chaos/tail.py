"""Reads the journal all the time and keeps every row: what was acknowledged has to be there, once."""

import asyncio
import re
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from driftlock.engine.ports import JournalRow, RowKind
from driftlock.engine.records import Damaged, decode
from driftlock.errors import Unavailable
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.pool import Database
from tests.chaos.workload import IDS

POLL_S, PAGE_BYTES, JOIN_S, SAMPLES = 0.1, 4 * 1024 * 1024, 60.0, 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """Acknowledged records that are not in the journal, ids that are there more than once, positions that are missing."""

    lost: int
    dup: int
    gaps: int
    rows: int
    records: int
    samples: tuple[str, ...] = ()
    unreadable: int = 0

    @property
    def clean(self) -> bool:
        """Is all well?"""
        return not (self.lost or self.dup or self.gaps)

    @property
    def line(self) -> str:
        """As it is printed."""
        return f"LOST={self.lost} DUP={self.dup} GAPS={self.gaps}"


class Tail:
    """Reads through `dsn`, the application's and straight to the cluster, on a thread of its own. A context manager.

    It has to keep up: rows leave the journal some time after they are applied, and rows that are gone count as gaps.
    """

    def __init__(self, dsn: str) -> None:
        self.rows: list[JournalRow] = []
        self.seen: Counter[str] = Counter()
        self.gaps: list[str] = []
        self.unreadable = 0
        self._dsn = dsn
        self._ids = re.compile(IDS)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._read_for_ever()), name="tail", daemon=True)
        self._target: int | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(JOIN_S)

    @property
    def last_seq(self) -> int:
        """The position up to which the journal is read."""
        return self.rows[-1].seq if self.rows else 0

    def finish(self, until_seq: int, timeout_s: float = JOIN_S) -> None:
        """Return when the journal is read up to a position, and stop."""
        self._target = until_seq
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), f"the journal is read up to {self.last_seq}, not {until_seq}, in {timeout_s} s"

    def check(self, acked: Mapping[str, int]) -> Verdict:
        """What is wrong, given the highest number that was acknowledged of each client."""
        missing = [
            f"lost {client}-{number}"
            for client, last in acked.items()
            for number in range(1, last + 1)
            if f"{client}-{number}" not in self.seen
        ]
        twice = [f"{count} times {name}" for name, count in self.seen.items() if count > 1]
        samples = (*missing[:SAMPLES], *twice[:SAMPLES], *self.gaps[:SAMPLES])
        records = sum(self.seen.values())
        return Verdict(len(missing), len(twice), len(self.gaps), len(self.rows), records, samples, self.unreadable)

    async def _read_for_ever(self) -> None:
        try:
            await self._read()
        except Exception as error:  # a tail that has ended has seen nothing of what came after
            self.gaps.append(f"after {self.last_seq} the tail ended: {error!r}")

    async def _read(self) -> None:
        async with Database(self._dsn) as database:
            reader = JournalRows(database)
            while not self._stop.is_set():
                try:
                    found = list(await reader.read(self.last_seq, PAGE_BYTES))
                except Unavailable:
                    found = []
                for row in found:
                    self._take(row)
                if self._target is not None and self.last_seq >= self._target:
                    return
                if not found:
                    await asyncio.sleep(POLL_S)

    def _take(self, row: JournalRow) -> None:
        if row.seq != self.last_seq + 1:
            self.gaps.append(f"after {self.last_seq} comes {row.seq}")
        self.rows.append(row)
        if row.kind is RowKind.RECORDS:
            try:
                text = decode(row.body).text
            except Damaged:
                self.unreadable += 1
                return
            self.seen.update(name.decode() for name in self._ids.findall(text))
