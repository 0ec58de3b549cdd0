"""What simulated clients send: few records, of which each is told apart by a number, and now and then something new."""

import hashlib
import random
from array import array
from dataclasses import dataclass
from uuid import UUID

from driftlock.engine.event import RecordBatch, Signal, StreamKey, trace_stream_key
from driftlock.engine.ports import StreamBatch, Submission
from driftlock.engine.records import encode

PACE_NS = 250_000_000
SERIES = ("cpu load", "queue length")
SPANS = ("web\x1fGET /\x1f2", "db\x1fselect\x1f3")


@dataclass(frozen=True, slots=True)
class Request:
    """A request with its identity, and the journal bodies by which it is found again."""

    name: str
    tenant_id: UUID
    signal: Signal
    batches: tuple[StreamBatch, ...]
    request_hash: bytes
    bodies: tuple[bytes, ...]
    rejected: int = 0
    content_hash: bytes | None = None  # where the hash is that of a key that the sender chose

    @property
    def records(self) -> int:
        return sum(part.records for part in self.batches)

    def submission(self, now_ns: int, *, deduplicates: bool) -> Submission:
        """As it comes out of a door at that time."""
        return Submission(
            self.tenant_id,
            self.signal,
            now_ns,
            self.batches,
            self.request_hash if deduplicates else None,
            received=self.records + self.rejected if self.rejected else None,
            rejected=self.rejected,
            content_hash=self.content_hash,
        )


class Traffic:
    """Makes requests; `first` is the number of the first record, `base_ns` its time, `odd_rate` the share of new things.

    `pace_ns` lies between two records, in event time.
    """

    def __init__(self, rng: random.Random, first: int, base_ns: int, odd_rate: float, pace_ns: int = PACE_NS) -> None:
        self._rng = rng
        self._odd_rate = odd_rate
        self._number = first
        self._base_ns = base_ns + first * (PACE_NS - pace_ns)  # where the past ends, another pace begins
        self._pace_ns = pace_ns

    @property
    def last(self) -> int:
        return self._number

    def lines(self, name: str, tenant_id: UUID, streams: int, records: int) -> Request:
        parts = []
        for stream in sorted(self._rng.sample(range(streams), self._rng.randint(1, min(2, streams)))):
            odd = self._rng.random() < self._odd_rate
            lines = [self._line(odd) for _ in range(self._rng.randint(1, records))]
            times = array("Q", [self._base_ns + (self._number - len(lines) + at) * self._pace_ns for at in range(len(lines))])
            batch = RecordBatch(b"".join(lines), array("I", map(len, lines)), times)
            parts.append(StreamBatch(StreamKey(Signal.LOGS, f"service-{stream}"), batch))
        return _request(name, tenant_id, Signal.LOGS, parts)

    def _line(self, odd: bool) -> bytes:
        self._number += 1
        if odd:
            return b"panic%d: segfault at %x" % (self._number, self._rng.getrandbits(60))
        return b"user %d logged in from host%d as request %d" % (
            self._rng.randrange(9),
            self._rng.randrange(3),
            self._number,
        )

    def numbers(self, name: str, tenant_id: UUID) -> Request:
        self._number += 2
        batch = RecordBatch(
            lengths=array("I", [0, 0]),
            times_ns=array("Q", [self._base_ns + self._number * self._pace_ns] * 2),
            series=SERIES,
            series_index=array("I", [1, 2]),
            values=array("d", [self._number + 0.5, self._rng.gauss(5, 1)]),
        )
        return _request(name, tenant_id, Signal.METRICS, [StreamBatch(StreamKey(Signal.METRICS, "service-0"), batch)])

    def spans(self, name: str, tenant_id: UUID) -> Request:
        """A trace of two spans, once as lines of their services and once to be put together."""
        self._number += 2
        trace = self._number.to_bytes(16, "big")
        ids = [(2 * self._number + at).to_bytes(8, "big") for at in range(2)]
        start_ns = self._base_ns + self._number * self._pace_ns
        texts = [b"GET / %d" % self._number]
        lines = RecordBatch(texts[0], array("I", [len(texts[0])]), array("Q", [start_ns]))
        spans = RecordBatch(
            lengths=array("I", [0, 0]),
            times_ns=array("Q", [start_ns, start_ns + 1000]),
            trace_ids=trace * 2,
            span_ids=b"".join(ids),
            parent_ids=bytes(8) + ids[0],
            series=SPANS,
            series_index=array("I", [1, 2]),
            durations_ns=array("Q", [self._rng.randrange(10**6, 10**7), self._rng.randrange(10**5, 10**6)]),
            span_marks=bytes([2, 3 | (8 if self._rng.random() < 0.3 else 0)]),
        )
        parts = [StreamBatch(StreamKey(Signal.TRACES, "web"), lines), StreamBatch(trace_stream_key(""), spans)]
        return _request(name, tenant_id, Signal.TRACES, parts)


def _request(name: str, tenant_id: UUID, signal: Signal, parts: list[StreamBatch]) -> Request:
    bodies = tuple(encode(part.batch) for part in parts)
    digest = hashlib.blake2b(b"".join(bodies), digest_size=16).digest()
    return Request(name, tenant_id, signal, tuple(parts), digest, bodies)
