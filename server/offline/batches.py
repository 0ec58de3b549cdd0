"""Records as the engine takes them, with the canonical text that they would get at a server's doors."""

from array import array
from collections.abc import Iterable, Sequence
from typing import cast

from driftlock.engine.canonical import CanonicalLimits, Cuts, Value, label, log_text, utf8
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from server.logfile.jsonlines import whole
from server.logfile.reader import Line

UNKNOWN_SERVICE = "unknown_service"


def stream_of(service: str) -> StreamKey:
    """The stream of a service's logs, as a server routes OTLP resources that name nothing else.

    >>> stream_of("shop").text
    'logs:shop'
    """
    return StreamKey(Signal.LOGS, label(whole(service)) or UNKNOWN_SERVICE)


def line_batch(lines: Sequence[Line], limits: CanonicalLimits, cuts: Cuts) -> RecordBatch:
    """Lines of a log file, as a server sees them when they are replayed."""
    texts = []
    for line in lines:
        body, attributes = cast(Value, line.body), cast("dict[str, Value]", line.attributes)
        texts.append(utf8(log_text(body, attributes=attributes, limits=limits, cuts=cuts), cuts))
    return record_batch(texts, (line.time_ns for line in lines))


def record_batch(texts: Iterable[bytes], times_ns: Iterable[int]) -> RecordBatch:
    """A batch of the past: event times count, however old they are."""
    raw = list(texts)
    return RecordBatch(b"".join(raw), array("I", map(len, raw)), array("Q", times_ns), historical=True)
