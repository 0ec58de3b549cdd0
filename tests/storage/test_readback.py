"""The journal's answers over a real journal: what OTLP brought is what is compared, put together and drawn."""

from array import array
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from driftlock.engine.event import RecordBatch, Signal, StreamKey, trace_stream_key
from driftlock.engine.ports import StreamBatch, Submission
from driftlock.errors import NotFound
from driftlock.storage.anomalies import Anomalies
from driftlock.storage.excerpts import ExcerptLimits, Excerpts
from driftlock.storage.journal import Journal
from driftlock.storage.pool import Database
from driftlock.storage.readback import Readback
from driftlock.storage.streams import StreamRow, Streams
from driftlock.storage.tenants import Tenants
from tests.engine.traces.rows import CLIENT, SERVER, START_NS, Span, batch_of
from tests.storage.helpers import NOW_NS, SECOND_NS


@pytest.fixture
async def readback(database: Database) -> AsyncIterator[Readback]:
    with ThreadPoolExecutor(1) as threads:
        yield Readback(Excerpts(database, threads, ExcerptLimits(page_rows_max=2)), Anomalies(database), threads)


def lines(version: str, *texts: str) -> RecordBatch:
    raw = [text.encode() for text in texts]
    return RecordBatch(b"".join(raw), array("I", map(len, raw)), array("Q", [0] * len(raw)), versions=(version,))


async def sent(database: Database, journal: Journal, tenant: UUID, key: StreamKey, *batches: RecordBatch) -> StreamRow:
    """Each batch is a row, a second apart; -> their stream."""
    stream_id = UUID(int=0)
    for second, batch in enumerate(batches, 1):
        received_ns = NOW_NS + second * SECOND_NS
        submission = Submission(tenant, key.signal, received_ns, (StreamBatch(key, batch),), None)
        stream_id = (await journal.submit(submission)).stream_ids[0]
    row = await Streams(database).get(tenant, stream_id)
    assert row is not None
    return row


async def test_releases(database: Database, journal: Journal, tenant: UUID, readback: Readback) -> None:
    usual = [f"user {number} logged in" for number in range(50)]
    rollout = lines("1.0", *usual, *["payment refused"] * 20)
    rollout.versions, rollout.version_index = ("1.0", "2.0"), array("I", [1] * 25 + [2] * 45)
    key = StreamKey(Signal.LOGS, "shop")
    stream = await sent(database, journal, tenant, key, lines("1.0", *usual), rollout, lines("2.0", *usual))
    found, seen, scan = await readback.releases(tenant, stream, "service.version", None, None)
    assert [(it.value, it.records) for it in found] == [(b"2.0", 95), (b"1.0", 75)]
    assert (seen.without, scan.rows, scan.records) == (0, 3, 170)
    diff, _ = await readback.diff(tenant, stream, "service.version", "1.0", "2.0", None, None)
    assert [(it.kind, it.text, it.count_to, it.significant) for it in diff.changes] == [("new", "payment refused", 20, True)]
    late, _ = await readback.diff(tenant, stream, "service.version", "1.0", "2.0", NOW_NS + 3 * SECOND_NS, None)
    assert (late.old.lines, late.new.lines) == (0, 50)
    other = (await Tenants(database).create("other")).tenant_id
    assert (await readback.releases(other, stream, "service.version", None, None))[0] == []


async def test_traces(database: Database, journal: Journal, tenant: UUID, readback: Readback) -> None:
    root = Span(7, 1, 0, "shop", "GET /", SERVER, START_NS, 100)
    call = Span(7, 2, 1, "shop", "SELECT", CLIENT, START_NS + 10, 20)
    noise = Span(8, 1, 0, "shop", "GET /", SERVER, START_NS, 100)
    key = trace_stream_key("prod")
    stream = await sent(database, journal, tenant, key, *(batch_of([it]) for it in (noise, call, root, noise)))
    found = await readback.trace(tenant, f"{7:032x}", None)
    assert [(it.depth, it.operation) for it in found.tree.spans] == [(0, "GET /"), (1, "SELECT")]
    assert (found.stream_id, found.environment) == (stream.stream_id, "prod")
    other = (await Tenants(database).create("other")).tenant_id
    for tenant_id, trace in ((tenant, 9), (other, 7)):
        with pytest.raises(NotFound):
            await readback.trace(tenant_id, f"{trace:032x}", None)


async def test_series(database: Database, journal: Journal, tenant: UUID, readback: Readback) -> None:
    def points(first: int) -> RecordBatch:
        times = array("Q", [NOW_NS + at * SECOND_NS for at in range(first, first + 5)])
        series = RecordBatch(
            lengths=array("I", [0] * 5), times_ns=times, series=("cpu\x1fid",), series_index=array("I", [1] * 5)
        )
        series.values = array("d", range(first, first + 5))
        return series

    stream = await sent(database, journal, tenant, StreamKey(Signal.METRICS, "shop"), *map(points, (0, 5, 10)))
    ((known, latest),) = (await readback.series(tenant, stream)).found
    assert latest is not None
    assert (known.of.name, known.last_ns, latest.value) == ("cpu", NOW_NS + 14 * SECOND_NS, 14.0)
    found = await readback.charts(tenant, stream, "cpu", None, None, None)
    assert [it.last for it in found.charts[0].spans] == [float(at) for at in range(15)]
    other = (await Tenants(database).create("other")).tenant_id
    with pytest.raises(NotFound):
        await readback.charts(other, stream, "cpu", None, None, None)
