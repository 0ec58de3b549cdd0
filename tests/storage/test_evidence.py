"""Evidence in the database: what is noted with a step, what stays for it, and a chain that only grows."""

import asyncio
import dataclasses
import zlib
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from driftlock.engine.evidence_bundle import Link
from driftlock.engine.limits import Limits
from driftlock.engine.ports import Checkpoint, FindingRow, IncidentRow, RowKind, Step
from driftlock.engine.verdict import Incident, IncidentState
from driftlock.storage import evidence_material, evidence_wanted
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.evidence import EvidenceStore, Signed
from driftlock.storage.evidence_material import EvidenceMaterial, Gone, Versions
from driftlock.storage.journal import Journal
from driftlock.storage.pool import Database
from driftlock.storage.shard import Shard
from driftlock.storage.tenants import Tenants
from tests.storage.helpers import NOW_NS, finding, submission

ROWS = 6
JUDGING = Versions(7, Limits(), {"algorithm": "1"}, "0.0.1")
Owner = asyncpg.Connection


@pytest.fixture
def checkpoints(database: Database, shard: Shard) -> Checkpoints:
    return Checkpoints(database, shard, evidence=True)


@pytest.fixture
def store(database: Database) -> EvidenceStore:
    return EvidenceStore(database)


@pytest.fixture
def material(database: Database) -> EvidenceMaterial:
    return EvidenceMaterial(database, JUDGING)


@pytest_asyncio.fixture
async def stream(journal: Journal, tenant: UUID) -> UUID:
    """A stream whose rows are at the positions 1 to `ROWS`."""
    for number in range(ROWS):
        receipt = await journal.submit(submission(tenant, f"line {number}"))
    return receipt.stream_ids[0]


def found(tenant: UUID, stream: UUID, seq: int, number: int = 0) -> FindingRow:
    return FindingRow(tenant, stream, UUID(int=1000 + 100 * number + seq), finding(seq + 100 * number), seq)


def step(ids: tuple[UUID, UUID], seq: int, *rows: FindingRow, saved: bool = True) -> Step:
    """The step of one row, with a checkpoint after it."""
    states = {ids: Checkpoint(seq, b"state %d" % seq)} if saved else {}
    return Step(seq - 1, seq, findings=rows, stream_checkpoints=states)


async def kept(owner: Owner) -> list[int]:
    return [row["seq"] for row in await owner.fetch("select seq from driftlock.stream_checkpoints order by seq")]


async def states(owner: Owner) -> dict[UUID, tuple[str, int]]:
    rows = await owner.fetch("select anomaly_id, state, base_seq from driftlock.evidence")
    return {row["anomaly_id"]: (row["state"], row["base_seq"]) for row in rows}


async def test_the_checkpoint_before_a_finding_stays_until_its_evidence_is_made(
    checkpoints: Checkpoints, store: EvidenceStore, owner: Owner, tenant: UUID, stream: UUID
) -> None:
    ids, row = (tenant, stream), found(tenant, stream, 3)
    for seq in range(1, 6):
        await checkpoints.commit(step(ids, seq, *([row] if seq == 3 else [])))
    assert await states(owner) == {row.finding_id: ("waiting", 2)}
    assert await kept(owner) == [2, 4, 5]
    await store.expire(row.finding_id, "a reason")
    await checkpoints.commit(step(ids, 6))
    assert await kept(owner) == [5, 6]
    status = await store.status(tenant, row.finding_id)
    assert status is not None
    assert (status.state, status.reason) == ("expired", "a reason")


async def test_without_somebody_who_makes_it_nothing_is_noted(
    database: Database, shard: Shard, store: EvidenceStore, owner: Owner, tenant: UUID, stream: UUID
) -> None:
    row = found(tenant, stream, 1)
    await Checkpoints(database, shard).commit(step((tenant, stream), 1, row))
    assert await states(owner) == {}
    status = await store.status(tenant, row.finding_id)
    assert status is not None
    assert status.state == "none"
    assert await store.status(tenant, UUID(int=5)) is None


async def test_what_begins_an_incident_waits_first_and_few_wait_at_a_time(
    checkpoints: Checkpoints, owner: Owner, tenant: UUID, stream: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence_wanted.want_evidence, "__defaults__", (2,))
    many = [found(tenant, stream, 2, number) for number in range(4)]
    silenced = dataclasses.replace(found(tenant, stream, 2, 4), silenced_by=many[0].finding_id)
    pooled = dataclasses.replace(found(tenant, stream, 2, 5), seq=0)
    story = Incident(UUID(int=7), (stream,), IncidentState.OPEN, 1, 2, 1, 0.5, 0.1, "t")
    begun = IncidentRow(tenant, story, (many[3].finding_id,))
    await checkpoints.commit(step((tenant, stream), 1))
    second = dataclasses.replace(step((tenant, stream), 2, silenced, *many, pooled), incidents=(begun,))
    await checkpoints.commit(second)
    expected = {row.finding_id: ("skipped", 1) for row in (*many, silenced)}
    expected |= {many[3].finding_id: ("waiting", 1), many[0].finding_id: ("waiting", 1)}
    assert await states(owner) == expected


async def test_a_finding_that_is_told_again_is_noted_once(
    checkpoints: Checkpoints, owner: Owner, tenant: UUID, stream: UUID
) -> None:
    row = found(tenant, stream, 1)
    await checkpoints.commit(step((tenant, stream), 1, row))
    await checkpoints.commit(step((tenant, stream), 2, dataclasses.replace(row, seq=2)))
    assert await states(owner) == {row.finding_id: ("waiting", 0)}


async def waiting(checkpoints: Checkpoints, tenant: UUID, stream: UUID, count: int = 1) -> list[UUID]:
    """Findings at the rows from 2 on that wait, with the checkpoint before each."""
    rows = [found(tenant, stream, 2 + number) for number in range(count)]
    await checkpoints.commit(step((tenant, stream), 1))
    for row in rows:
        await checkpoints.commit(step((tenant, stream), row.seq, row))
    return [row.finding_id for row in rows]


async def test_material_is_the_state_before_and_the_rows_since(
    checkpoints: Checkpoints, material: EvidenceMaterial, tenant: UUID, stream: UUID, database: Database
) -> None:
    [known] = await waiting(checkpoints, tenant, stream)
    assert await material.waiting(5) == [(tenant, known)]
    made = await material.of(tenant, known)
    assert made is not None
    assert made.base == Checkpoint(1, b"state 1")
    assert [(row.seq, row.kind) for row in made.rows] == [(2, RowKind.RECORDS)]
    assert (made.seed, made.versions, made.finding) == (7, {"algorithm": "1"}, finding(2).to_json())
    assert (made.stream_id, made.finding_id, made.key.text) == (stream, known, "logs:shop/checkout@prod")
    assert await material.of(UUID(int=4), known) is None
    await EvidenceStore(database).expire(known, "")
    assert await material.waiting(5) == []
    assert await material.of(tenant, known) is None


async def test_no_tenant_waits_behind_all_of_another(
    checkpoints: Checkpoints, material: EvidenceMaterial, journal: Journal, database: Database, tenant: UUID, stream: UUID
) -> None:
    mine = await waiting(checkpoints, tenant, stream, 3)
    other = (await Tenants(database).create("other")).tenant_id
    theirs = (await journal.submit(submission(other, "x"))).stream_ids[0]
    row = found(other, theirs, ROWS + 1)
    await checkpoints.commit(Step(4, ROWS + 1, findings=(row,)))
    assert await material.waiting(2) == [(tenant, mine[0]), (other, row.finding_id)]


async def test_a_stream_without_a_checkpoint_begins_with_its_rows(
    checkpoints: Checkpoints, material: EvidenceMaterial, tenant: UUID, stream: UUID
) -> None:
    row = found(tenant, stream, 3)
    await checkpoints.commit(Step(0, 3, findings=(row,), stream_checkpoints={(tenant, stream): Checkpoint(3, b"x")}))
    made = await material.of(tenant, row.finding_id)
    assert made is not None
    assert made.base is None
    assert [it.seq for it in made.rows] == [1, 2, 3]


async def test_a_clock_record_is_part_of_what_it_brought(
    checkpoints: Checkpoints, material: EvidenceMaterial, journal: Journal, tenant: UUID, stream: UUID
) -> None:
    clock = await journal.append_clock(NOW_NS)
    row = found(tenant, stream, clock)
    await checkpoints.commit(Step(0, clock, findings=(row,), stream_checkpoints={(tenant, stream): Checkpoint(ROWS, b"x")}))
    made = await material.of(tenant, row.finding_id)
    assert made is not None
    assert made.base == Checkpoint(ROWS, b"x")
    assert [(it.seq, it.kind, it.stream_id) for it in made.rows] == [(clock, RowKind.CLOCK, None)]


async def test_what_is_damaged_or_gone_is_said_to_be_so(
    checkpoints: Checkpoints, material: EvidenceMaterial, owner: Owner, tenant: UUID, stream: UUID
) -> None:
    first, second = await waiting(checkpoints, tenant, stream, 2)
    await owner.execute("update driftlock.journal set crc = crc + 1 where seq = 2")
    made = await material.of(tenant, first)
    assert made is not None
    assert made.rows[0].body == b""  # as the fold has met it
    await owner.execute("update driftlock.stream_checkpoints set crc = $1 where seq = 1", zlib.crc32(b"other"))
    with pytest.raises(Gone, match="can not be read"):
        await material.of(tenant, first)
    await owner.execute("delete from driftlock.stream_checkpoints where seq = 1")
    with pytest.raises(Gone, match="soon after"):
        await material.of(tenant, first)
    await owner.execute("delete from driftlock.journal where seq = 3")
    with pytest.raises(Gone, match="soon after"):
        await material.of(tenant, second)


@pytest.mark.parametrize(("name", "limit"), [("BUNDLE_BYTES_MAX", 100), ("ROWS_MAX", 0)])
async def test_what_is_too_large_is_not_read(
    checkpoints: Checkpoints,
    material: EvidenceMaterial,
    tenant: UUID,
    stream: UUID,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    limit: int,
) -> None:
    [known] = await waiting(checkpoints, tenant, stream)
    monkeypatch.setattr(evidence_material, name, limit)
    with pytest.raises(Gone, match=name):
        await material.of(tenant, known)


async def seal(link: Link) -> Signed:
    return Signed(bytes([link.number]) * 32, "0" * 16, b"bundle %d" % link.number + b"." * 91)


async def test_each_bundle_names_the_one_before_also_when_many_are_made_at_once(
    checkpoints: Checkpoints, store: EvidenceStore, tenant: UUID, stream: UUID
) -> None:
    ids = await waiting(checkpoints, tenant, stream, 4)
    links: list[Link] = []

    async def noted(link: Link) -> Signed:
        links.append(link)
        return await seal(link)

    done = await asyncio.gather(*(store.append(tenant, known, NOW_NS, noted, 10_000) for known in (*ids, ids[0])))
    assert sorted(done) == [False, True, True, True, True]
    numbers = [status.number for known in ids if (status := await store.status(tenant, known)) is not None]
    assert sorted(number for number in numbers if number is not None) == [1, 2, 3, 4]
    for link in links:
        assert link.previous == (bytes([link.number - 1]) * 32 if link.number > 1 else b"")
    stored = await store.bundle(tenant, ids[0])
    assert stored is not None
    assert stored.data.startswith(b"bundle %d" % stored.number)
    assert not await store.append(tenant, UUID(int=3), NOW_NS, seal, 10_000)
    assert not await store.append(UUID(int=3), ids[0], NOW_NS, seal, 10_000)


async def test_the_oldest_bundles_go_and_the_chain_goes_on(
    checkpoints: Checkpoints, store: EvidenceStore, tenant: UUID, stream: UUID
) -> None:
    ids = await waiting(checkpoints, tenant, stream, 4)
    for known in ids:
        assert await store.append(tenant, known, NOW_NS, seal, 250)
    found_states = [status for known in ids if (status := await store.status(tenant, known)) is not None]
    assert [status.state for status in found_states] == ["expired", "expired", "ready", "ready"]
    assert "DRIFTLOCK_EVIDENCE_BYTES_MAX" in found_states[0].reason
    assert [status.number for status in found_states] == [1, 2, 3, 4]
    assert all(status.digest for status in found_states)
    assert await store.bundle(tenant, ids[0]) is None
    assert await store.bundle(tenant, ids[3]) is not None


async def test_one_that_is_larger_than_all_may_be_is_kept_alone(
    checkpoints: Checkpoints, store: EvidenceStore, tenant: UUID, stream: UUID
) -> None:
    ids = await waiting(checkpoints, tenant, stream, 2)
    for known in ids:
        assert await store.append(tenant, known, NOW_NS, seal, 10)
    assert [await store.bundle(tenant, known) is not None for known in ids] == [False, True]


async def test_keys_stay_listed_when_another_one_takes_over(store: EvidenceStore, owner: Owner) -> None:
    await owner.execute("delete from driftlock.evidence_keys")
    for _ in range(2):
        await store.add_key("a" * 16, bytes(32))
    await store.add_key("b" * 16, bytes([1]) * 32)
    assert [(key.key_id, key.public_key) for key in await store.keys()] == [
        ("b" * 16, bytes([1]) * 32),
        ("a" * 16, bytes(32)),
    ]
    await owner.execute("delete from driftlock.evidence_keys")
