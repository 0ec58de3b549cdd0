"""What the machine has, as far as defaults depend on it."""

import os
from pathlib import Path

from driftlock.engine.residents import STREAM_BYTES

CGROUP_MEMORY = Path("/sys/fs/cgroup/memory.max")
STREAMS_SHARE = 0.25  # of the memory, for streams
STREAMS_LEAST, STREAMS_MOST = 500, 10_000
WORKER_THREADS_MOST = 8


def worker_threads() -> int:
    """One detection thread for each processor, but not endlessly many."""
    return min(os.cpu_count() or 1, WORKER_THREADS_MOST)


def memory_bytes(limit: Path = CGROUP_MEMORY) -> int:
    """The machine's memory, or what its control group may use of it (cgroup v2, memory.max)."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(total, int(limit.read_text("ascii")))
    except (OSError, ValueError):  # no control group, or "max"
        return total


def resident_streams(memory: int) -> int:
    """How many streams should be kept in so many bytes of memory.

    >>> resident_streams(1 << 30), resident_streams(1 << 36)
    (1024, 10000)
    """
    return min(max(STREAMS_LEAST, int(memory * STREAMS_SHARE) // STREAM_BYTES), STREAMS_MOST)
