"""The load that `make bench-ingest` sends, and the journal that it measures ours against."""

import random
from array import array
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from bench.ingest.open_loop import OpenLoop
from bench.ingest.requests import SHAPES, SPACING_NS, TIME_BASE, Shape, templates
from bench.ingest.segments import SegmentJournal
from driftlock.engine import records
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.ports import StreamBatch, Submission

NOW_NS = 1_790_000_000_000_000_000
TENANT = UUID(int=7)


@pytest.mark.parametrize("shape", SHAPES)
def test_templates_carry_the_given_services_and_times(shape: str) -> None:
    template = templates(shape, 20, resources=2)[0]
    request = template.stamped((3, 41), NOW_NS)
    for service in (b"bench-service-00003", b"bench-service-00041"):
        assert request.count(service) == 1
    for record in range(20):
        assert (NOW_NS - SPACING_NS * record).to_bytes(8, "little") in request
        assert (TIME_BASE + record).to_bytes(8, "little") not in request


def test_logs_are_as_the_benchmark_says() -> None:
    request = templates("logs", 100)[0].stamped((0,), NOW_NS)
    (group,) = ExportLogsServiceRequest.FromString(request).resource_logs
    (scope,) = group.scope_logs
    assert {len(record.body.string_value) for record in scope.log_records} == {120}
    assert {len(record.attributes) for record in scope.log_records} == {5}
    assert [record.time_unix_nano for record in scope.log_records][-1] == NOW_NS
    assert 258 <= len(request) / 100 <= 261


def test_records_are_shared_out_evenly() -> None:
    assert Shape(random.Random(1), 10, 3).parts() == [range(3), range(3, 6), range(6, 9)]


class _Call:
    def __init__(self, status: str) -> None:
        self._status = status

    def code(self) -> Any:
        return type("Code", (), {"name": self._status})

    def trailing_metadata(self) -> tuple[()]:
        return ()

    def add_done_callback(self, done: Any) -> None:
        done(self)


class _Server:
    """Answers at once: refuses the first time, takes a request the second time."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def future(self, request: bytes, timeout: float) -> _Call:
        assert timeout == 1
        self.seen.append(request)
        return _Call("OK" if self.seen.count(request) > 1 else "UNAVAILABLE")


def test_what_is_refused_is_sent_again_and_counted_once() -> None:
    server, numbers = _Server(), iter(range(10_000))
    loop = OpenLoop([server], lambda: b"%d" % next(numbers), honour=False, in_flight_max=1000, timeout_s=1)
    loop.run(rate=100, seconds=0.3)
    assert loop.acknowledged == loop.statuses["OK"] == len(loop.latencies) > 5
    assert loop.given_up == loop.skipped == 0
    assert min(loop.latencies) >= 0.05  # the first answer was a refusal


def submission(number: int, request_hash: bytes) -> Submission:
    batch = RecordBatch(b"line %d" % number, array("I", [len(b"line %d" % number)]), array("Q", [NOW_NS]))
    key = StreamKey(Signal.LOGS, f"s{number % 3}")
    return Submission(TENANT, Signal.LOGS, NOW_NS, (StreamBatch(key, batch),), request_hash)


async def test_a_segment_journal_gives_back_what_it_acknowledged(tmp_path: Path) -> None:
    async with SegmentJournal(tmp_path) as journal:
        receipts = [await journal.submit(submission(number, number.to_bytes(16, "big"))) for number in range(10)]
        assert [receipt.seq for receipt in receipts] == list(range(1, 11))
        again = await journal.submit(submission(4, (4).to_bytes(16, "big")))
        assert (again.duplicate, again.records) == (True, 0)
        rows, after = [], 3
        while found := await journal.read(after, 1):
            rows += found
            after = found[-1].seq
    assert [row.seq for row in rows] == list(range(4, 11))
    assert [records.decode(row.body).text for row in rows] == [b"line %d" % number for number in range(3, 10)]
    assert {row.stream_key.service for row in rows if row.stream_key} == {"s0", "s1", "s2"}
