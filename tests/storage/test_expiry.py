"""Findings leave when their stream, or the plan, keeps them no longer."""

from dataclasses import replace
from uuid import UUID

import asyncpg
import pytest

from driftlock.accounts.actor import SYSTEM
from driftlock.engine.ports import FindingRow, IncidentRow, Step
from driftlock.engine.verdict import Incident, IncidentState
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.expiry import ExpiryLimits, FindingExpiry
from driftlock.storage.journal import Journal
from driftlock.storage.pool import Database
from driftlock.storage.shard import Shard
from driftlock.storage.stream_settings import StreamSettings
from driftlock.storage.tenants import Tenants
from tests.storage.helpers import CHECKOUT, finding, submission

AGE = "update driftlock.anomalies set detected_at = now() - make_interval(days => window_no::integer) where stream_id = $1"


async def windows(owner: asyncpg.Connection, stream: UUID) -> list[int]:
    rows = await owner.fetch("select window_no from driftlock.anomalies where stream_id = $1 order by 1", stream)
    return [row["window_no"] for row in rows]


@pytest.mark.parametrize(
    ("plan", "days", "kept"), [("free", None, 14), ("free", 3, 3), ("enterprise", None, 20), ("enterprise", 9, 9)]
)
async def test_days_of_the_stream_within_those_of_the_plan(
    database: Database, shard: Shard, journal: Journal, owner: asyncpg.Connection, plan: str, days: int | None, kept: int
) -> None:
    tenant = (await Tenants(database).create("some", plan=plan)).tenant_id
    stream = (await journal.submit(submission(tenant, "a"))).stream_ids[0]
    other = (await journal.submit(submission(tenant, "a", key=replace(CHECKOUT, service="x"), hashed=False))).stream_ids[0]
    found = [FindingRow(tenant, stream, UUID(int=900 + n), finding(n)) for n in range(1, 21)]
    of_other = FindingRow(tenant, other, UUID(int=800), finding(1))
    await Checkpoints(database, shard).commit(Step(0, 2, findings=(*found, of_other)))
    await owner.execute(AGE, stream)
    await StreamSettings(database, journal).change(tenant, stream, {"retention_days": days}, SYSTEM)
    assert await FindingExpiry(database, ExpiryLimits(bite_rows_max=3)).expire() == max(0, 20 - kept + (kept < 20))
    assert await windows(owner, stream) == list(range(1, min(kept, 21) if kept < 20 else 21))
    assert await windows(owner, other) == [1]


async def test_incidents_go_with_their_last_finding(
    database: Database, shard: Shard, journal: Journal, owner: asyncpg.Connection
) -> None:
    tenant = (await Tenants(database).create("some", plan="free")).tenant_id
    stream = (await journal.submit(submission(tenant, "a"))).stream_ids[0]
    states = {1: IncidentState.CLOSED, 20: IncidentState.CLOSED, 30: IncidentState.OPEN, 40: IncidentState.CLOSED}
    made = {n: Incident(UUID(int=n), (stream,), state, 1, 2, 1, 0.5, 0.01, "x") for n, state in states.items()}
    await Checkpoints(database, shard).commit(
        Step(
            0,
            1,
            findings=tuple(FindingRow(tenant, stream, UUID(int=900 + n), finding(n)) for n in (1, 20, 30)),
            incidents=tuple(IncidentRow(tenant, it, (UUID(int=900 + n),)) for n, it in made.items()),
        )
    )
    await owner.execute(AGE, stream)
    await owner.execute("update driftlock.incidents set updated_at = now() - interval '30 days' where id <> $1", UUID(int=40))
    await FindingExpiry(database).expire()
    left = {row["id"].int for row in await owner.fetch("select id from driftlock.incidents")}
    assert left == {1, 30, 40}  # it has a finding; it is open; it is young
    assert await windows(owner, stream) == [1]


async def test_a_round_of_one_tenant_is_bounded(
    database: Database, shard: Shard, journal: Journal, owner: asyncpg.Connection, tenant: UUID
) -> None:
    stream = (await journal.submit(submission(tenant, "a"))).stream_ids[0]
    found = tuple(FindingRow(tenant, stream, UUID(int=900 + n), finding(n)) for n in range(1, 11))
    await Checkpoints(database, shard).commit(Step(0, 1, findings=found))
    await owner.execute(AGE, stream)
    await StreamSettings(database, journal).change(tenant, stream, {"retention_days": 1}, SYSTEM)
    expiry = FindingExpiry(database, ExpiryLimits(bite_rows_max=2, bites_max=2))
    assert await expiry.expire() == 4
    assert [await expiry.expire(), await expiry.expire(), await expiry.expire()] == [4, 2, 0]
