"""Lists and single rows as REST shows them: filters, order, pages, limits."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from driftlock.accounts.keys import KeyKind, Scope, mint
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.evidence import Suspect, TraceExample
from driftlock.engine.ports import FindingRow, IncidentRow, Step
from driftlock.engine.verdict import Incident, IncidentState, Question
from driftlock.errors import Conflict, InvalidArgument, NotFound
from driftlock.storage.anomalies import LIST_OF_TRACE, Anomalies, AnomalyFilter
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.incidents import Incidents
from driftlock.storage.journal import Journal
from driftlock.storage.keys import CachedKeyDirectory, Keys
from driftlock.storage.paging import PAGE_ITEMS_MAX
from driftlock.storage.pool import Database
from driftlock.storage.shard import Shard
from driftlock.storage.streams import Streams
from driftlock.storage.tenants import Tenants
from tests.storage.helpers import finding, submission

NOW = datetime(2026, 1, 1, tzinfo=UTC)
QUESTIONS = (Question.NOVELTY, Question.LESS, Question.INSTANCE)
KEY = mint(KeyKind.LIVE, bytes(range(30)))


async def test_streams_are_listed_by_slug_in_pages(database: Database, journal: Journal, tenant: UUID) -> None:
    names = ["b", "a", "d", "c", "e"]
    for name in names:
        await journal.submit(submission(tenant, name, f"{name} 2", key=StreamKey(Signal.LOGS, name)))
    streams = Streams(database)
    seen, after = [], None
    while page := await streams.list(tenant, limit=2, after=after):
        seen += [row.slug for row in page]
        after = (page[-1].slug, page[-1].stream_id)
    assert seen == sorted(names)
    row = (await streams.list(tenant, limit=1))[0]
    assert (row.key, row.events, row.pending, row.calibration) == (StreamKey(Signal.LOGS, "a"), 0, 2, "calibrating")


async def test_a_stream_is_found_by_id_and_by_slug(database: Database, journal: Journal, tenant: UUID) -> None:
    likeness = UUID(int=5)
    for name in ("a", str(likeness)):
        await journal.submit(submission(tenant, "x", key=StreamKey(Signal.LOGS, name), hashed=False))
    streams = Streams(database)
    row = await streams.get(tenant, "a")
    assert row is not None
    assert await streams.get(tenant, row.stream_id) == row
    named = await streams.get(tenant, likeness)  # a slug that looks like an id
    assert named is not None
    assert named.slug == str(likeness)
    assert await streams.get(tenant, str(likeness)) == named
    for unknown in ("nope", "a\x00", "'; drop table driftlock.streams --", UUID(int=6)):
        found = await streams.get(tenant, unknown)
        assert found is None or unknown == "a\x00"


@pytest.fixture
async def findings(database: Database, shard: Shard, journal: Journal, tenant: UUID, owner: asyncpg.Connection) -> list[UUID]:
    """Six findings of two streams, the last three in an incident, one a minute from NOW on, two of them together."""
    streams = [
        (await journal.submit(submission(tenant, name, key=StreamKey(Signal.LOGS, name)))).stream_ids[0] for name in ("a", "b")
    ]
    rows = [
        FindingRow(
            tenant, streams[n % 2], UUID(int=n), finding(n, ncd=0.3 + n / 10, p_value=0.05 - n / 200, question=QUESTIONS[n % 3])
        )
        for n in range(6)
    ]
    incident = Incident(UUID(int=50), tuple(streams), IncidentState.OPEN, 1, 2, 3, 0.8, 0.03, "x")
    joined = tuple(row.finding_id for row in rows[3:])
    await Checkpoints(database, shard).commit(
        Step(0, 2, findings=tuple(rows), incidents=(IncidentRow(tenant, incident, joined),))
    )
    for n in range(6):
        detected_at = NOW + timedelta(minutes=min(n, 4))
        await owner.execute("update driftlock.anomalies set detected_at = $1 where id = $2", detected_at, UUID(int=n))
    return streams


async def listed(database: Database, tenant: UUID, filters: AnomalyFilter) -> list[int]:
    return [row.anomaly_id.int for row in await Anomalies(database).list(tenant, filters, limit=9)]


async def test_anomalies_are_filtered(database: Database, tenant: UUID, findings: list[UUID]) -> None:
    assert await listed(database, tenant, AnomalyFilter()) == [5, 4, 3, 2, 1, 0]
    assert await listed(database, tenant, AnomalyFilter(stream_id=findings[0])) == [4, 2, 0]
    assert await listed(database, tenant, AnomalyFilter(incident_id=UUID(int=50))) == [5, 4, 3]
    assert await listed(database, tenant, AnomalyFilter(ncd_min=0.6)) == [5, 4, 3]
    assert await listed(database, tenant, AnomalyFilter(p_value_max=0.046)) == [5, 4, 3, 2, 1]
    assert await listed(database, tenant, AnomalyFilter(since=finding(3).end_ns)) == [5, 4, 3]
    assert await listed(database, tenant, AnomalyFilter(until=finding(3).start_ns)) == [2, 1, 0]
    assert await listed(database, tenant, AnomalyFilter(question=Question.LESS)) == [4, 1]
    assert await listed(database, tenant, AnomalyFilter(question=Question.INTERACTION)) == []
    both = AnomalyFilter(stream_id=findings[1], ncd_min=0.5, until=finding(4).start_ns)
    assert await listed(database, tenant, both) == [3]


async def test_anomalies_are_found_by_the_traces_that_they_name(
    database: Database, shard: Shard, journal: Journal, tenant: UUID
) -> None:
    stream = (await journal.submit(submission(tenant, "x"))).stream_ids[0]
    one, two = "a" * 32, "b" * 32
    line = finding(0).lines[0]
    named = {1: finding(1, examples=(TraceExample(one, 1, 2, 3, "root"),), lines=(replace(line, trace_id=two),))}
    named |= {2: finding(2, lines=(line, replace(line, trace_id=one))), 3: finding(3)}
    rows = tuple(FindingRow(tenant, stream, UUID(int=n), it) for n, it in named.items())
    commits = Checkpoints(database, shard)
    await commits.commit(Step(0, 1, findings=rows))
    await commits.commit(Step(1, 1, findings=rows))
    assert await listed(database, tenant, AnomalyFilter(trace_id=one)) == [2, 1]
    assert await listed(database, tenant, AnomalyFilter(trace_id=two)) == [1]
    assert await listed(database, tenant, AnomalyFilter(trace_id="c" * 32)) == []
    assert await listed(database, tenant, AnomalyFilter(trace_id=one, until=finding(2).start_ns)) == [1]
    [newest] = await Anomalies(database).list(tenant, AnomalyFilter(trace_id=one), limit=1)
    after = (newest.detected_at, newest.finding.end_ns, newest.anomaly_id)
    [other] = await Anomalies(database).list(tenant, AnomalyFilter(trace_id=one), limit=9, after=after)
    assert (newest.anomaly_id.int, other.anomaly_id.int) == (2, 1)


async def test_the_traces_of_a_finding_are_found_by_an_index(
    database: Database, shard: Shard, journal: Journal, tenant: UUID, owner: asyncpg.Connection
) -> None:
    stream = (await journal.submit(submission(tenant, "x"))).stream_ids[0]
    rows = [
        FindingRow(tenant, stream, UUID(int=n), finding(n, examples=(TraceExample(f"{n:032x}", 1, 2, 3, "root"),)))
        for n in range(1, 1501)
    ]
    await Checkpoints(database, shard).commit(Step(0, 1, findings=tuple(rows)))
    await owner.execute("analyze driftlock.anomalies, driftlock.anomaly_traces")
    async with database.tenant(tenant) as connection:
        await connection.execute("set local plan_cache_mode = force_generic_plan")
        places = "null, null, null, null, null, null, null, null, null, null, false"
        await connection.execute(f"prepare listed as {LIST_OF_TRACE}")
        plan = await connection.fetch(f"explain execute listed (50, {places}, '{77:032x}')")
    text = "\n".join(row[0] for row in plan)
    assert "anomaly_traces_by_trace" in text
    assert "Seq Scan on anomal" not in text


async def test_pages_of_anomalies_are_stable_when_times_are_equal(
    database: Database, tenant: UUID, findings: list[UUID]
) -> None:
    seen, after = [], None
    while page := await Anomalies(database).list(tenant, AnomalyFilter(), limit=1, after=after):
        seen.append(page[0].anomaly_id.int)
        after = (page[0].detected_at, page[0].finding.end_ns, page[0].anomaly_id)
    assert seen == [5, 4, 3, 2, 1, 0]


async def test_an_incident_keeps_its_suspects_and_traces(
    database: Database, shard: Shard, journal: Journal, tenant: UUID
) -> None:
    await journal.submit(submission(tenant, "x"))
    suspects = Suspect("shop/pay@prod", 50.5, 0.75), Suspect("a \x00{},'\"\\", 16.0, 0.25)
    first = Incident(
        UUID(int=1), (UUID(int=8), UUID(int=9)), IncidentState.OPEN, 1, 2, 1, 0.5, 0.01, "x", suspects=suspects[:1]
    )
    commits = Checkpoints(database, shard)
    await commits.commit(Step(0, 1, incidents=(IncidentRow(tenant, first, ()),)))
    stored = await Incidents(database).get(tenant, first.incident_id)
    assert stored is not None
    assert stored.incident == replace(first, alerted=True)
    grown = replace(first, suspects=suspects, trace_ids=("a" * 32, "b" * 32))
    await commits.commit(Step(1, 1, incidents=(IncidentRow(tenant, first, ()), IncidentRow(tenant, grown, ()))))
    stored = await Incidents(database).get(tenant, first.incident_id)
    assert stored is not None
    assert stored.incident == replace(grown, suspects=(suspects[0], replace(suspects[1], service="a \u2400{},'\"\\")))


async def test_incidents_are_listed_newest_first_in_pages(
    database: Database, shard: Shard, journal: Journal, tenant: UUID
) -> None:
    await journal.submit(submission(tenant, "x"))
    rows = tuple(
        IncidentRow(tenant, Incident(UUID(int=n), (), IncidentState.OPEN, 10 + n // 2, 20, 1, 0.5, 0.01, f"{n}"), ())
        for n in range(5)
    )
    await Checkpoints(database, shard).commit(Step(0, 1, incidents=rows))
    seen, after = [], None
    while page := await Incidents(database).list(tenant, limit=2, after=after):
        seen += [row.incident.incident_id.int for row in page]
        after = (page[-1].incident.start_ns, page[-1].incident.incident_id)
    assert seen == [4, 3, 2, 1, 0]


@pytest.mark.parametrize("limit", [-1, 0, PAGE_ITEMS_MAX + 1, 10**9])
async def test_no_list_is_longer_than_a_page(database: Database, tenant: UUID, limit: int) -> None:
    calls = (
        Streams(database).list(tenant, limit=limit),
        Anomalies(database).list(tenant, AnomalyFilter(), limit=limit),
        Incidents(database).list(tenant, limit=limit),
        Keys(database).list(tenant, limit=limit),
        Tenants(database).list(limit=limit),
    )
    for call in calls:
        with pytest.raises(InvalidArgument, match="limit must be"):
            await call


async def test_tenants_are_made_once_and_listed_by_name(database: Database) -> None:
    tenants = Tenants(database)
    local = await tenants.ensure_local()
    assert await tenants.ensure_local() == local
    other = await tenants.create("other", plan="pro", streams_max=5)
    assert await tenants.list() == [local, other]
    assert await tenants.list(limit=1, after="local") == [other]
    assert await tenants.get(other.tenant_id) == await tenants.find("other") == other
    assert await tenants.find("nobody") is None
    with pytest.raises(Conflict, match="'other'"):
        await tenants.create("other")


@pytest.mark.parametrize("name", ["", "x" * 257, "a\x00", "a\nb", "\u202e"])
async def test_names_of_tenants_are_checked(database: Database, name: str) -> None:
    with pytest.raises(InvalidArgument, match="name"):
        await Tenants(database).create(name)


async def test_a_tenant_has_room_for_a_stream(database: Database) -> None:
    with pytest.raises(InvalidArgument, match="streams_max"):
        await Tenants(database).create("x", streams_max=0)


async def test_keys_are_stored_without_the_key(database: Database, tenant: UUID, owner: asyncpg.Connection) -> None:
    keys = Keys(database)
    made = await keys.insert(
        tenant, KEY, kind=KeyKind.LIVE, name="ci", scopes={Scope.READ, Scope.INGEST}, stream="checkout", expires_at=NOW
    )
    assert await keys.list(tenant) == [made]
    assert (made.key_id, made.scopes, made.stream, made.expires_at) == (
        KEY.key_id,
        frozenset({Scope.READ, Scope.INGEST}),
        "checkout",
        NOW,
    )
    dump = str([dict(row) for row in await owner.fetch("select * from driftlock.api_keys")])
    assert KEY.text.split("_")[3] not in dump


async def test_keys_are_checked_and_unique(database: Database, tenant: UUID) -> None:
    keys = Keys(database)
    await keys.insert(tenant, KEY, kind=KeyKind.LIVE, name="", scopes=[Scope.READ])
    with pytest.raises(Conflict):
        await keys.insert(tenant, KEY, kind=KeyKind.LIVE, name="", scopes=[Scope.READ])
    other = mint(KeyKind.TEST, bytes(30))
    with pytest.raises(InvalidArgument, match="scope"):
        await keys.insert(tenant, other, kind=KeyKind.TEST, name="", scopes=[])
    with pytest.raises(InvalidArgument, match="name"):
        await keys.insert(tenant, other, kind=KeyKind.TEST, name="x" * 257, scopes=[Scope.READ])
    with pytest.raises(NotFound):
        await keys.insert(UUID(int=1), other, kind=KeyKind.TEST, name="", scopes=[Scope.READ])


async def test_pages_of_keys(database: Database, tenant: UUID) -> None:
    keys = Keys(database)
    for number in range(3):
        await keys.insert(
            tenant, mint(KeyKind.LIVE, bytes([number]) * 30), kind=KeyKind.LIVE, name=str(number), scopes=[Scope.READ]
        )
    seen, after = [], None
    while page := await keys.list(tenant, limit=2, after=after):
        seen += [row.name for row in page]
        after = (page[-1].created_at, page[-1].key_id)
    assert seen == ["2", "1", "0"]


async def test_a_revoked_key_stops_within_the_age_of_the_cache(database: Database, tenant: UUID) -> None:
    keys, directory = Keys(database), CachedKeyDirectory(database)
    await keys.insert(tenant, KEY, kind=KeyKind.LIVE, name="", scopes=[Scope.READ])
    record = await directory.lookup(KEY.key_id, NOW)
    assert record is not None
    assert (record.tenant_id, record.digest, record.revoked) == (tenant, KEY.digest, False)
    assert await keys.revoke(tenant, KEY.key_id)
    assert await keys.revoke(tenant, KEY.key_id)
    assert await directory.lookup(KEY.key_id, NOW + timedelta(seconds=5)) == record
    for late in (NOW + timedelta(seconds=5, microseconds=1), NOW - timedelta(hours=1)):
        fresh = await directory.lookup(KEY.key_id, late)
        assert fresh is not None
        assert fresh.revoked


async def test_unknown_keys_are_remembered_too_and_memory_is_bounded(database: Database, tenant: UUID) -> None:
    directory = CachedKeyDirectory(database, entries_max=3)
    assert await directory.lookup(KEY.key_id, NOW) is None
    await Keys(database).insert(tenant, KEY, kind=KeyKind.LIVE, name="", scopes=[Scope.READ])
    assert await directory.lookup(KEY.key_id, NOW) is None
    assert await directory.lookup(KEY.key_id, NOW + timedelta(seconds=6)) is not None
    for number in range(5):
        await directory.lookup(f"{number}", NOW)
    assert len(directory) == 3
