"""Lists are read along an index in their order, whatever they are narrowed by, as the role that serves requests."""

from uuid import UUID

import asyncpg
import pytest

from driftlock.engine.ports import FindingRow, Step
from driftlock.engine.verdict import Question
from driftlock.storage.anomalies import LIST, Anomalies, AnomalyFilter, _arguments
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.journal import Journal
from driftlock.storage.paging import IN_ORDER
from driftlock.storage.pool import Database
from driftlock.storage.shard import Shard
from tests.storage.helpers import finding, submission

STREAM = UUID(int=7)
FILTERS = {
    "all": (AnomalyFilter(), "anomalies_in_order"),
    "stream": (AnomalyFilter(stream_id=STREAM), "anomalies_in_order_of_stream"),
    "incident": (AnomalyFilter(incident_id=STREAM), "anomalies_of_incident"),
    "ncd": (AnomalyFilter(ncd_min=0.9), "anomalies_in_order"),
    "p_value": (AnomalyFilter(p_value_max=0.01), "anomalies_in_order"),
    "since": (AnomalyFilter(since=5), "anomalies_in_order"),
    "until": (AnomalyFilter(until=5), "anomalies_in_order"),
    "question": (AnomalyFilter(question=Question.ORDER), "anomalies_in_order_of_question"),
}


@pytest.fixture
async def listed(
    database: Database, shard: Shard, journal: Journal, tenant: UUID, owner: "asyncpg.Connection[asyncpg.Record]"
) -> UUID:
    """A tenant with some hundred findings; returns its stream."""
    stream = (await journal.submit(submission(tenant, "x"))).stream_ids[0]
    rows = tuple(FindingRow(tenant, stream, UUID(int=n), finding(n)) for n in range(1, 601))
    await Checkpoints(database, shard).commit(Step(0, 1, findings=rows))
    await owner.execute("analyze driftlock.anomalies")
    return stream


@pytest.mark.usefixtures("listed")
async def test_every_filter_has_an_index_in_the_order_of_the_list(database: Database, tenant: UUID) -> None:
    async with database.tenant(tenant) as connection:
        await connection.execute(IN_ORDER)
        for name, (filters, index) in FILTERS.items():
            plan = await connection.fetch(f"explain {LIST}", *_arguments(50, filters, None))
            text = "\n".join(row[0] for row in plan)
            assert f"using {index} on anomalies" in text, (name, text)
            assert "Sort" not in text, (name, text)
            assert "Seq Scan on anomalies a_1" not in text, (name, text)  # whose rows are passed over


async def test_pages_of_a_filtered_list_join_without_a_gap(database: Database, tenant: UUID, listed: UUID) -> None:
    repository, filters = Anomalies(database), AnomalyFilter(stream_id=listed, ncd_min=0.0)
    seen: list[UUID] = []
    after = None
    while page := await repository.list(tenant, filters, limit=200, after=after):
        seen += [row.anomaly_id for row in page]
        after = (page[-1].detected_at, page[-1].finding.end_ns, page[-1].anomaly_id)
    assert len(seen) == len(set(seen)) == 600
    end = await repository.place(tenant, filters, rows=250)
    assert end is not None
    assert end[2] == seen[249]
    assert await repository.place(tenant, filters, rows=600) is None
