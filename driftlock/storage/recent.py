"""Batches that this process has just journaled: the applier reads their rows, and need not fetch and parse their bodies."""

from collections import OrderedDict
from itertools import islice

from driftlock.engine.event import RecordBatch

BATCH_BYTES = 2048
"""What a batch takes beside its records: objects, headers of columns, places in tables."""


class RecentBatches:
    """Committed batches by position, as far as `bytes_max` goes. What does not fit is read from the database as ever.

    Not thread-safe: event loop only. The oldest stay when there is no room, for they are read first.
    """

    def __init__(self, bytes_max: int) -> None:
        """Starts empty; 0 switches it off."""
        self._bytes_max = bytes_max
        self._bytes = 0
        self._batches: OrderedDict[int, RecordBatch] = OrderedDict()

    @property
    def bytes(self) -> int:
        """About what the batches take."""
        return self._bytes

    def add(self, seq: int, batch: RecordBatch) -> None:
        """Keep the batch of the row `seq`, which was committed after all that are here."""
        size = BATCH_BYTES + batch.size_bytes
        if self._bytes + size <= self._bytes_max:
            self._batches[seq] = batch
            self._bytes += size

    def after(self, seq: int, rows_max: int) -> dict[int, RecordBatch]:
        """Those among the `rows_max` positions after `seq`; what lies before is let go."""
        while self._batches and next(iter(self._batches)) <= seq:
            _, batch = self._batches.popitem(last=False)
            self._bytes -= BATCH_BYTES + batch.size_bytes
        return {at: batch for at, batch in islice(self._batches.items(), rows_max) if at <= seq + rows_max}
