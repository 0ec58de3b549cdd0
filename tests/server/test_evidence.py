"""The keeper over a real database: what detection finds becomes evidence that anybody can judge again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from structlog.testing import CapturingLogger

from driftlock.engine.dispatch import Dispatcher
from driftlock.engine.era import versions
from driftlock.engine.evidence_bundle import Material, unpack
from driftlock.engine.limits import SECOND_NS, DispatchLimits, Limits
from driftlock.engine.ports import FindingRow, Step, StreamBatch, Submission
from driftlock.errors import EvidenceExpired, NotFound, Unavailable
from driftlock.storage.anomalies import Anomalies, AnomalyFilter
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.evidence import EvidenceStore
from driftlock.storage.evidence_material import EvidenceMaterial, Versions
from driftlock.storage.journal import Journal
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.pool import Database
from driftlock.storage.shard import Shard
from driftlock.storage.tenants import Tenants
from server.evidence import TRIES_MAX, EvidenceKeeper
from server.signing import Signer
from server.verification import Result, verify
from tests.engine.streams import BASE_NS, KEY, batch
from tests.engine.test_detector import with_burst
from tests.storage.helpers import finding

SEED = 7
ROW = 200  # lines of a request
SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
MIB = 1024 * 1024


@pytest.fixture
async def tenant(database: Database) -> UUID:
    return (await Tenants(database).ensure_local()).tenant_id


@pytest.fixture
async def shard(database: Database) -> Shard:
    acquired = Shard(database)
    await acquired.acquire()
    return acquired


def keeper_of(database: Database, *, bytes_max: int = 64 * MIB, log: CapturingLogger | None = None) -> EvidenceKeeper:
    judging = Versions(SEED, Limits(), versions(), "0.0.1")
    material = EvidenceMaterial(database, judging)
    return EvidenceKeeper(EvidenceStore(database), material, SIGNER, bytes_max=bytes_max, log=log or CapturingLogger())


def woken(dispatchers: list[Dispatcher]) -> None:
    for dispatcher in dispatchers:
        dispatcher.wake()


@asynccontextmanager
async def detecting(database: Database, shard: Shard, checkpoint_bytes: int) -> AsyncIterator[tuple[Journal, Dispatcher]]:
    """A journal whose rows are judged as they come."""
    wake: list[Dispatcher] = []
    async with Journal(database, shard, node="n", on_commit=lambda _: woken(wake)) as journal:
        checkpoints = Checkpoints(database, shard, evidence=True)
        running = Dispatcher(
            reader=JournalRows(database, recent=journal.recent, owner=shard),
            states=checkpoints,
            committer=checkpoints,
            clock_journal=journal,
            recovery_seq=0,
            applied_seq=0,
            tenant_ids=[],
            now_ns=lambda: BASE_NS,
            seed=SEED,
            limits=Limits(),
            dispatch_limits=DispatchLimits(threads=2, inline_bytes=0, checkpoint_bytes=checkpoint_bytes),
            on_step=lambda _: None,
            on_fault=pytest.fail,
        )
        async with running:
            wake.append(running)
            yield journal, running


async def found(database: Database, shard: Shard, tenant: UUID, *, checkpoint_bytes: int = 1) -> list[UUID]:
    """Send a stream with a burst of what was never seen, a request at a time; what was found, the oldest first."""
    lines = with_burst(2600, 2800)
    async with detecting(database, shard, checkpoint_bytes) as (journal, running):
        for start in range(0, len(lines), ROW):
            part = batch(lines[start : start + ROW], start)
            at_ns = BASE_NS + (start + ROW) * SECOND_NS
            receipt = await journal.submit(Submission(tenant, KEY.signal, at_ns, (StreamBatch(KEY, part),)))
            await running.scored(receipt.seq)
    rows = await Anomalies(database).list(tenant, AnomalyFilter(), limit=200)
    assert len(rows) >= 3
    return [row.anomaly_id for row in sorted(rows, key=lambda row: row.finding.window)]


async def test_what_is_found_becomes_evidence_that_reproduces(database: Database, shard: Shard, tenant: UUID) -> None:
    ids = await found(database, shard, tenant)
    keeper = keeper_of(database)
    await keeper._drain()
    for known in ids:
        status = await keeper.status(tenant, known)
        assert status is not None
        assert (status.state, status.key_id) == ("ready", SIGNER.key_id), status.reason
        stored = await keeper.bundle(tenant, known)
        done = verify(stored.data, pinned=[SIGNER.public_key])
        assert done.result is Result.REPRODUCED, done.checks
        assert unpack(stored.data).material.base is not None
    links = [unpack((await keeper.bundle(tenant, known)).data) for known in ids]
    ordered = sorted(links, key=lambda sealed: sealed.link.number)
    assert [sealed.link.number for sealed in ordered] == list(range(1, len(ids) + 1))
    assert [sealed.link.previous for sealed in ordered] == [b"", *(sealed.digest for sealed in ordered[:-1])]
    assert [key.public_key for key in await keeper.keys()] == [SIGNER.public_key]
    other = (await Tenants(database).create("other")).tenant_id
    assert await keeper.status(other, ids[0]) is None
    with pytest.raises(NotFound, match="no anomaly"):
        await keeper.bundle(other, ids[0])


async def test_a_stream_that_was_never_saved_is_judged_from_its_first_row(
    database: Database, shard: Shard, tenant: UUID
) -> None:
    ids = await found(database, shard, tenant, checkpoint_bytes=2**30)
    stored = await keeper_of(database).bundle(tenant, ids[0])  # nobody has made it yet: it is made because it is asked for
    read = unpack(stored.data)
    assert read.material.base is None
    assert read.material.rows[0].seq == 1
    assert verify(stored.data, pinned=[SIGNER.public_key]).result is Result.REPRODUCED


async def test_a_finding_that_does_not_follow_is_never_signed(
    database: Database, shard: Shard, tenant: UUID, owner: asyncpg.Connection
) -> None:
    ids = await found(database, shard, tenant)
    body = await owner.fetchval("select body from driftlock.anomalies where id = $1", ids[0])
    await owner.execute("update driftlock.anomalies set body = $2 where id = $1", ids[0], body + b" ")
    log = CapturingLogger()
    keeper = keeper_of(database, log=log)
    await keeper._drain()
    assert [call.args[0] for call in log.calls] == ["a finding does not follow from its rows"]
    with pytest.raises(EvidenceExpired, match="could not be reproduced"):
        await keeper.bundle(tenant, ids[0])
    assert verify((await keeper.bundle(tenant, ids[1])).data, pinned=[]).result is Result.REPRODUCED


async def test_what_it_takes_may_be_gone_and_the_reason_is_told(
    database: Database, shard: Shard, tenant: UUID, owner: asyncpg.Connection
) -> None:
    ids = await found(database, shard, tenant)
    await owner.execute("delete from driftlock.journal")
    keeper = keeper_of(database)
    with pytest.raises(EvidenceExpired, match="soon after its finding"):
        await keeper.bundle(tenant, ids[0])
    status = await keeper.status(tenant, ids[0])
    assert status is not None
    assert status.state == "expired"
    await owner.execute("delete from driftlock.evidence where anomaly_id = $1", ids[1])
    with pytest.raises(EvidenceExpired, match="older than evidence"):
        await keeper.bundle(tenant, ids[1])
    with pytest.raises(NotFound, match="no anomaly"):
        await keeper.bundle(tenant, UUID(int=1))


async def test_a_step_wakes_it_and_it_goes_on_for_ever(database: Database, shard: Shard, tenant: UUID) -> None:
    ids = await found(database, shard, tenant)
    keeper = keeper_of(database)
    running = asyncio.create_task(keeper.run())
    keeper.stepped(Step(0, 1, findings=(FindingRow(tenant, tenant, ids[0], finding(1)),)))
    async with asyncio.timeout(60):
        while (status := await keeper.status(tenant, ids[-1])) is None or status.state != "ready":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


class Unreadable(EvidenceMaterial):
    """Reads everything but one finding's material, as a database with a damaged page does."""

    asked = 0

    async def of(self, tenant_id: UUID, anomaly_id: UUID) -> Material | None:  # noqa: ARG002
        self.asked += 1
        raise Unavailable("a page is damaged")


async def test_what_can_not_be_read_is_given_up_after_some_tries(database: Database, shard: Shard, tenant: UUID) -> None:
    ids = await found(database, shard, tenant)
    material = Unreadable(database, Versions(SEED, Limits(), versions(), "0.0.1"))
    keeper = EvidenceKeeper(EvidenceStore(database), material, SIGNER, bytes_max=MIB, log=CapturingLogger())
    failures = 0
    while material.asked < TRIES_MAX * len(ids):
        try:
            await keeper._drain()
        except Unavailable:
            failures += 1
    assert failures == (TRIES_MAX - 1) * len(ids)
    assert await material.waiting(9) == []
    with pytest.raises(EvidenceExpired, match="could not be read"):
        await keeper.bundle(tenant, ids[0])


async def test_room_is_bounded_and_the_newest_stay(database: Database, shard: Shard, tenant: UUID) -> None:
    ids = await found(database, shard, tenant)
    keeper = keeper_of(database, bytes_max=1)
    await keeper._drain()
    ready = [known for known in ids if (status := await keeper.status(tenant, known)) and status.state == "ready"]
    assert len(ready) == 1
