"""Room for requests that are on their way into the journal's queue: they wait for ids of streams, or to be compressed."""

import contextlib
from collections.abc import Iterator

from driftlock.errors import Unavailable
from driftlock.storage.faults import RETRY_AFTER_MS


class Room:
    """Bounds what is in it at a time to `requests_max` requests and `bytes_max` bytes. Event loop only."""

    def __init__(self, *, requests_max: int, bytes_max: int) -> None:
        """Starts empty."""
        self._requests_max = requests_max
        self._bytes_max = bytes_max
        self._requests = 0
        self._bytes = 0

    @property
    def requests(self) -> int:
        """Requests in it."""
        return self._requests

    @property
    def bytes(self) -> int:
        """Bytes in it."""
        return self._bytes

    @contextlib.contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Room for a request of `size` bytes while entered; raises `Unavailable` when there is none."""
        if self._requests >= self._requests_max or (self._requests and self._bytes + size > self._bytes_max):
            raise Unavailable("too much waits for the database; retry", retry_after_ms=RETRY_AFTER_MS)
        self._requests += 1
        self._bytes += size
        try:
            yield
        finally:
            self._requests -= 1
            self._bytes -= size
