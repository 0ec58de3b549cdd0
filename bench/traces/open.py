"""How much a process grows that holds open traces: `python -m bench.traces.open TRACES` prints bytes and spans.

The table alone is fed, in a fresh process, with spans in turn: the first of every trace, the second of every trace, and so on.
"""

import resource
import sys
from array import array
from pathlib import Path

from cbad_cy.traces import TraceTable
from driftlock.engine.limits import MINUTE_NS, Limits

TRACE_SPANS = 20
PART = 10_000
START_NS = 1_700_000_000 * 10**9


def main() -> None:
    """See the module."""
    count, limits = int(sys.argv[1]), Limits()
    table = TraceTable(
        traces_max=limits.traces_open_max,
        bytes_max=limits.traces_bytes_max,
        trace_spans_max=limits.trace_spans_max,
        idle_ns=10 * MINUTE_NS,
        linger_ns=10 * MINUTE_NS,
    )
    before = _resident()
    for number in range(1, TRACE_SPANS + 1):
        for first in range(0, count, PART):
            _feed(table, range(first, min(count, first + PART)), number)
    sys.stdout.write(f"{_resident() - before} {table.spans}\n")


def _feed(table: TraceTable, traces: range, number: int) -> None:
    size = len(traces)
    span = number.to_bytes(8, "big")
    table.feed(
        b"".join((trace + 1).to_bytes(16, "big") for trace in traces),
        span * size,
        ((number - 1) // 2).to_bytes(8, "big") * size,
        array("I", [number]) * size,
        b"\x01" * size,
        array("Q", [START_NS + number]) * size,
        array("Q", [1000]) * size,
        array("I", bytes(4 * size)),
        START_NS,
    )


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main()
