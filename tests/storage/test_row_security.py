"""The second wall: whatever a query forgets, the database shows a tenant its own rows and nothing else."""

import asyncio
from dataclasses import replace
from functools import partial
from uuid import UUID

import asyncpg
import pytest

from driftlock.accounts.keys import KeyKind, Scope, mint
from driftlock.engine.evidence import TraceExample
from driftlock.engine.evidence_bundle import Link
from driftlock.engine.ports import (
    AnchorRow,
    Checkpoint,
    DriftRow,
    FindingRow,
    IncidentRow,
    QuarantinedRow,
    RowKind,
    ServiceGraph,
    Step,
    StreamEventRow,
    StreamStatus,
)
from driftlock.engine.scores import MinuteScore, ScoreRow
from driftlock.engine.verdict import Incident, IncidentState, StreamEvent, StreamEventKind
from driftlock.errors import Internal, Unavailable
from driftlock.storage.anomalies import Anomalies, AnomalyFilter
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.dead_letters import DeadLetter, save_dead_letters
from driftlock.storage.evidence import EvidenceStore, Signed
from driftlock.storage.idempotency import IdempotentRequests, KeyedRequest
from driftlock.storage.incidents import Incidents
from driftlock.storage.journal import Journal
from driftlock.storage.keys import Keys
from driftlock.storage.pool import Database, Lane
from driftlock.storage.shard import Shard
from driftlock.storage.streams import Streams
from driftlock.storage.tenants import Tenants
from tests.conftest import Urls
from tests.storage.helpers import NOW_NS, finding, submission
from tests.storage.test_anchors import HOUR
from tests.storage.test_anchors import NOTE as ANCHOR

TABLES = """
select c.relname, c.relrowsecurity, c.relforcerowsecurity from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where n.nspname = 'driftlock' and c.relkind in ('r', 'p') and not c.relispartition
   and (c.relname = 'tenants' or exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id'))
"""


async def test_every_table_of_tenants_forces_policies_for_reading_and_writing(owner: asyncpg.Connection) -> None:
    tables = await owner.fetch(TABLES)
    assert len(tables) >= 14
    for table in tables:
        assert table["relrowsecurity"], table["relname"]
        assert table["relforcerowsecurity"], table["relname"]
        policies = await owner.fetch(
            "select * from pg_policies where schemaname = 'driftlock' and tablename = $1", table["relname"]
        )
        assert policies, table["relname"]
        for policy in policies:
            assert policy["qual"], policy
            assert policy["with_check"], policy
            assert policy["cmd"] == "ALL", policy
            (role,) = policy["roles"]
            bound = "current_tenant()" in policy["qual"] and "current_tenant()" in policy["with_check"]
            assert bound == (role == "driftlock_api"), policy


async def test_partitions_are_reached_through_their_table_alone(owner: asyncpg.Connection) -> None:
    partitions = await owner.fetch(
        "select c.relname, c.relrowsecurity and c.relforcerowsecurity as secured from pg_class c "
        "where c.relnamespace = 'driftlock'::regnamespace and c.relispartition and c.relkind = 'r'"
    )
    assert len(partitions) == 16
    assert all(row["secured"] for row in partitions)
    names = [row["relname"] for row in partitions]
    assert await owner.fetch("select * from pg_policies where tablename = any ($1)", names) == []
    granted = await owner.fetch(
        "select distinct grantee, privilege_type from information_schema.table_privileges "
        "where table_schema = 'driftlock' and table_name = any ($1) and grantee like 'driftlock\\_%' and grantee <> $2",
        names,
        "driftlock_owner",
    )
    assert [tuple(row) for row in granted] == [("driftlock_node", "TRUNCATE")]


async def test_the_api_role_may_write_few_tables_and_no_bodies(owner: asyncpg.Connection) -> None:
    writes = await owner.fetch(
        "select table_name from information_schema.table_privileges where table_schema = 'driftlock' "
        "and grantee = 'driftlock_api' and privilege_type <> 'SELECT'"
    )
    # Keys are made over REST, changes are noted, and answers are kept for an Idempotency-Key.
    assert {row["table_name"] for row in writes} == {
        "api_keys",
        "audit",
        "idempotent_requests",
        # What people say of an incident, and that they did, for those who listen.
        "incident_actions",
        "live_events",
        "live_heads",
    }
    # What a tenant has sent it may read again, to compare releases and to look at traces; its own alone, by the policy.
    for privilege, granted in (("select", True), ("insert", False), ("update", False)):
        held = await owner.fetchval("select has_column_privilege('driftlock_api', 'driftlock.journal', 'body', $1)", privilege)
        assert held is granted, privilege


async def test_no_function_is_open_to_everybody(owner: asyncpg.Connection) -> None:
    open_ones = await owner.fetch(
        "select proname from pg_proc p where pronamespace = 'driftlock'::regnamespace "
        "and has_function_privilege('public', p.oid, 'execute')"
    )
    assert open_ones == []


async def test_the_login_role_by_itself_sees_nothing(database_urls: Urls, tenant: UUID) -> None:
    connection = await asyncpg.connect(database_urls.app)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("select * from driftlock.tenants")
    finally:
        await connection.close()


async def sealed(link: Link) -> Signed:
    return Signed(bytes(32), "0" * 16, bytes([link.number]))


@pytest.fixture
async def two_tenants(
    database: Database, shard: Shard, journal: Journal, tenant: UUID, owner: asyncpg.Connection
) -> tuple[UUID, UUID]:
    """Two tenants with one row each in every table."""
    other = (await Tenants(database).create("other")).tenant_id
    for number, each in enumerate((tenant, other)):
        # A new key is noted in the audit log.
        await Keys(database).insert(each, mint(KeyKind.LIVE, bytes([number]) * 30), kind=KeyKind.LIVE, name="k", scopes=Scope)
        stream = (await journal.submit(submission(each, "x"))).stream_ids[0]
        incident = Incident(UUID(int=70 + number), (stream,), IncidentState.OPEN, 1, 2, 1, 0.5, 0.01, "x")
        saved = Checkpoint(number + 1, b"s")
        found = finding(1, examples=(TraceExample("a" * 32, 1, 2, 3, "root"),))
        await Checkpoints(database, shard, evidence=True).commit(
            Step(
                number,
                number + 1,
                findings=(FindingRow(each, stream, UUID(int=90 + number), found, number + 1),),
                incidents=(IncidentRow(each, incident, (UUID(int=90 + number),)),),
                streams=(StreamStatus(each, stream, 1, 1, NOW_NS, NOW_NS, "ok", 0),),
                events=(StreamEventRow(each, stream, StreamEvent(StreamEventKind.CALIBRATED, 1, 1, NOW_NS, "x")),),
                stream_checkpoints={(each, stream): saved},
                series_checkpoints={(each, stream, 1): saved},
                tenant_checkpoints={each: saved},
                graphs={(each, stream): ServiceGraph(1, NOW_NS, ())},
                anchors=(AnchorRow(each, stream, replace(ANCHOR, anchor_id=UUID(int=50 + number))),),
                drift=(DriftRow(each, stream, replace(HOUR, anchor_id=UUID(int=50 + number))),),
                scores=(ScoreRow(each, stream, MinuteScore(1)),),
                quarantined=(QuarantinedRow(number + 1, RowKind.RECORDS, "x", each, stream, 1),),
            )
        )
        await owner.execute("insert into driftlock.journal_removed values ($1, 'logs', 1)", each)  # as retention does
        await owner.execute(
            "insert into driftlock.tuning (stream_id, n, tenant_id, after) values ($1, 1, $2, '{}')", stream, each
        )
        await owner.execute(
            "insert into driftlock.feedback (anomaly_id, tenant_id, stream_id, verdict, seq, question, ncd, p_value, "
            "ncd_threshold, p_value_threshold) values ($1, $2, $3, 'expected', 1, 'novelty', 0, 0, 0, 0)",
            UUID(int=90 + number),
            each,
            stream,
        )
        await owner.execute("delete from driftlock.live_events where kind = 'anomaly'")  # that of the incident stays
        await owner.execute(
            "insert into driftlock.incident_actions (incident_id, tenant_id, version, status, findings, actor_kind, actor_id, "
            "actor_name) values ($1, $2, 1, 'open', 1, 'local', '', '')",
            incident.incident_id,
            each,
        )
        person = await owner.fetchval(
            "insert into driftlock.users (issuer, subject, email, name) values ('i', $1, '', '') returning id", f"user {number}"
        )
        await owner.execute("insert into driftlock.members (tenant_id, user_id, role) values ($1, $2, 'owner')", each, person)
        invited = (each, bytes([number]) * 32)
        await owner.execute(
            "insert into driftlock.invitations (tenant_id, digest, email, role, invited_by, created_at, expires_at) "
            "values ($1, $2, 'a@b.c', 'viewer', '', now(), now())",
            *invited,
        )
        await owner.execute(  # as a change of the settings does, through the journal
            "insert into driftlock.anchor_settings (stream_id, tenant_id, seq, drift_ncd_threshold, reset_on_drift) "
            "values ($1, $2, 1, 0.5, false)",
            stream,
            each,
        )
        assert await EvidenceStore(database).append(each, UUID(int=90 + number), NOW_NS, sealed, 1_000)
        await owner.execute("insert into driftlock.redaction_rules (tenant_id, seq, rules) values ($1, 1, '[]')", each)
        await owner.execute("insert into driftlock.derived values (1, 2, 1, $1, 0, '')", each)
        await owner.execute("insert into driftlock.relay_checkpoints values ($1, 2, 1, 0, '')", each)
        await owner.execute("insert into driftlock.redaction_keys (tenant_id, key) values ($1, $2)", each, bytes(32))
        letter = DeadLetter("t", number, 1, "x", b"k", b"v", (("h", b"1"),), each)
        await database.node(partial(save_dead_letters, letters=[letter]))
        keyed = KeyedRequest("createApiKey", bytes(16), bytes(16))
        assert await IdempotentRequests(database).claim(each, keyed, UUID(int=110 + number)) is None
    return tenant, other


async def test_a_tenant_sees_its_own_rows_only(
    database: Database, two_tenants: tuple[UUID, UUID], owner: asyncpg.Connection
) -> None:
    for table in [row["relname"] for row in await owner.fetch(TABLES)]:
        assert await owner.fetchval(f"select count(*) from driftlock.{table}") == 2, table  # noqa: S608  # from the catalog
        column = "id" if table == "tenants" else "tenant_id"
        if not await owner.fetchval(
            "select has_column_privilege('driftlock_api', $1, $2, 'select')", f"driftlock.{table}", column
        ):
            continue
        for each in two_tenants:
            async with database.tenant(each) as connection:
                rows = await connection.fetch(f"select {column} from driftlock.{table}")  # noqa: S608
                assert [row[0] for row in rows] == [each], table


async def test_repositories_do_not_find_what_is_anothers(database: Database, two_tenants: tuple[UUID, UUID]) -> None:
    mine, _ = two_tenants
    assert len(await Streams(database).list(mine, limit=9)) == 1
    assert len(await Anomalies(database).list(mine, AnomalyFilter(), limit=9)) == 1
    assert len(await Anomalies(database).list(mine, AnomalyFilter(trace_id="a" * 32), limit=9)) == 1
    assert len(await Incidents(database).list(mine, limit=9)) == 1
    assert len(await Keys(database).list(mine)) == 1
    assert await Anomalies(database).get(mine, UUID(int=91)) is None
    assert await EvidenceStore(database).bundle(mine, UUID(int=90)) is not None
    assert await EvidenceStore(database).bundle(mine, UUID(int=91)) is None
    assert await EvidenceStore(database).status(mine, UUID(int=91)) is None
    assert await Incidents(database).get(mine, UUID(int=71)) is None
    assert not await Keys(database).revoke(mine, mint(KeyKind.LIVE, b"\x01" * 30).key_id)


async def test_a_row_of_another_tenant_can_not_be_written(database: Database, two_tenants: tuple[UUID, UUID]) -> None:
    mine, other = two_tenants
    with pytest.raises(Internal, match="42501"):
        async with database.tenant(mine, read_only=False) as connection:
            await connection.execute(
                "insert into driftlock.api_keys (id, tenant_id, kind, digest, name, scopes) "
                "values ('aaaaaaaaaaaaaaaa', $1, 'live', $2, '', '{read}')",
                other,
                bytes(32),
            )


async def test_the_tenant_of_one_call_is_gone_in_the_next(database: Database, two_tenants: tuple[UUID, UUID]) -> None:
    async with database.tenant(two_tenants[0]):
        pass
    async with database._connection(Lane.API) as connection:
        assert await connection.fetch("select * from driftlock.streams") == []

    async def seen(each: UUID) -> UUID:
        async with database.tenant(each) as connection:
            await asyncio.sleep(0.001)
            tenant_id: UUID = await connection.fetchval("select id from driftlock.tenants")
            return tenant_id

    asked = [two_tenants[number % 2] for number in range(40)]
    assert await asyncio.gather(*map(seen, asked)) == asked


async def test_a_tenant_sees_people_who_are_its_members_and_nobody_else(
    database: Database, two_tenants: tuple[UUID, UUID], owner: asyncpg.Connection
) -> None:
    secured = "select relrowsecurity and relforcerowsecurity from pg_class where oid = 'driftlock.users'::regclass"
    assert await owner.fetchval(secured)
    assert await owner.fetchval("select count(*) from driftlock.users") == 2
    for number, each in enumerate(two_tenants):
        async with database.tenant(each) as connection:
            assert [it["subject"] for it in await connection.fetch("select subject from driftlock.users")] == [f"user {number}"]


async def test_reading_calls_can_not_write(database: Database, tenant: UUID) -> None:
    with pytest.raises(Unavailable, match="read-only"):
        async with database.tenant(tenant) as connection:
            await connection.execute("update driftlock.api_keys set revoked_at = now()")


async def test_deleting_a_tenant_leaves_nothing_of_it(
    database: Database, two_tenants: tuple[UUID, UUID], owner: asyncpg.Connection
) -> None:
    mine, other = two_tenants
    assert await Tenants(database).delete(other)
    assert not await Tenants(database).delete(other)
    for table in [row["relname"] for row in await owner.fetch(TABLES)]:
        column = "id" if table == "tenants" else "tenant_id"
        left = await owner.fetch(f"select {column} from driftlock.{table} where {column} is not null")  # noqa: S608
        assert [row[0] for row in left] == [mine], table
    assert await owner.fetchval("select sum(octet_length(body)) from driftlock.journal where seq = 2") == 0
