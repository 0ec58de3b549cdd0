"""Evidence over REST: who may have it, what is said when there is none, and the keys that everybody may see."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID

import httpx
import pytest

from api.ports import EvidenceKey, EvidenceStatus, StoredBundle
from driftlock.errors import EvidenceExpired, NotFound
from tests.api.conftest import Service
from tests.api.fakes import OTHER_TENANT, TENANT, make_finding
from tests.api.test_resources import add_stream

WithDeps = Callable[..., httpx.AsyncClient]
ANOMALY, SILENT, THEIRS = UUID(int=1), UUID(int=2), UUID(int=3)
DIGEST = bytes(range(32))
MADE = datetime(2027, 1, 2, tzinfo=UTC)


@dataclass
class FakeEvidence:
    """The evidence of some findings, by tenant."""

    statuses: dict[tuple[UUID, UUID], EvidenceStatus] = field(default_factory=dict)

    async def status(self, tenant_id: UUID, anomaly_id: UUID) -> EvidenceStatus | None:
        return self.statuses.get((tenant_id, anomaly_id))

    async def bundle(self, tenant_id: UUID, anomaly_id: UUID) -> StoredBundle:
        status = await self.status(tenant_id, anomaly_id)
        if status is None:
            raise NotFound("there is no anomaly with this id")
        if status.state != "ready":
            raise EvidenceExpired(status.reason)
        return StoredBundle(7, DIGEST, b"driftlock evidence 1\n\x00\xff")

    async def keys(self) -> list[EvidenceKey]:
        return [EvidenceKey("b" * 16, bytes([1]) * 32, MADE), EvidenceKey("a" * 16, bytes(32), MADE)]


@pytest.fixture
def evidence(service: Service) -> FakeEvidence:
    for tenant, known in ((TENANT, ANOMALY), (TENANT, SILENT), (OTHER_TENANT, THEIRS)):
        row = service.house.add_anomaly(tenant, add_stream(service.house, f"s-{known}", tenant), make_finding(window=1))
        service.house.anomaly_rows[tenant][-1] = replace(row, anomaly_id=known)
    ready = EvidenceStatus("ready", "", 7, DIGEST, "a" * 16, MADE, 23)
    return FakeEvidence(
        {
            (TENANT, ANOMALY): ready,
            (TENANT, SILENT): EvidenceStatus("expired", "rows have left"),
            (OTHER_TENANT, THEIRS): replace(ready, number=1),
        }
    )


async def test_evidence_is_a_file_with_a_tag_and_a_name(with_deps: WithDeps, evidence: FakeEvidence) -> None:
    async with with_deps(name="reader", evidence=evidence) as client:
        response = await client.get(f"/v1/anomalies/{ANOMALY}/evidence")
    assert response.status_code == 200
    assert response.content == b"driftlock evidence 1\n\x00\xff"
    assert response.headers["Content-Type"] == "application/vnd.driftlock.evidence"
    assert response.headers["ETag"] == f'"{DIGEST.hex()}"'
    assert response.headers["Content-Disposition"] == f'attachment; filename="000007-{ANOMALY}.evidence"'


@pytest.mark.parametrize(
    ("anomaly", "code"),
    [(SILENT, "evidence_expired"), (THEIRS, "not_found"), (UUID(int=9), "not_found"), ("nonsense", "not_found")],
    ids=["expired", "foreign", "unknown", "nonsense"],
)
async def test_what_there_is_not_is_not_found(
    with_deps: WithDeps, evidence: FakeEvidence, anomaly: UUID | str, code: str
) -> None:
    async with with_deps(evidence=evidence) as client:
        response = await client.get(f"/v1/anomalies/{anomaly}/evidence")
    assert (response.status_code, response.json()["code"]) == (404, code)


async def test_who_may_not_read_gets_no_evidence(with_deps: WithDeps, evidence: FakeEvidence) -> None:
    for name, status in (("writer", 403), (None, 401)):
        async with with_deps(name=name, evidence=evidence) as client:
            assert (await client.get(f"/v1/anomalies/{ANOMALY}/evidence")).status_code == status


async def test_an_anomaly_says_whether_there_is_evidence_of_it(with_deps: WithDeps, evidence: FakeEvidence) -> None:
    async with with_deps(evidence=evidence) as client:
        ready = (await client.get(f"/v1/anomalies/{ANOMALY}")).json()["signed_evidence"]
        expired = (await client.get(f"/v1/anomalies/{SILENT}")).json()["signed_evidence"]
    assert ready == {
        "state": "ready",
        "reason": "",
        "number": 7,
        "digest": DIGEST.hex(),
        "key_id": "a" * 16,
        "bytes": 23,
        "made_at": "2027-01-02T00:00:00Z",
        "href": f"/v1/anomalies/{ANOMALY}/evidence",
    }
    assert (expired["state"], expired["reason"], expired["href"]) == ("expired", "rows have left", None)


async def test_a_server_without_a_key_says_so(with_deps: WithDeps, evidence: FakeEvidence) -> None:
    assert evidence.statuses
    async with with_deps() as client:
        told = (await client.get(f"/v1/anomalies/{ANOMALY}")).json()["signed_evidence"]
        mine = await client.get(f"/v1/anomalies/{ANOMALY}/evidence")
        theirs = await client.get(f"/v1/anomalies/{THEIRS}/evidence")
        keys = await client.get("/v1/evidence-keys")
    assert told["state"] == "off"
    assert (mine.status_code, mine.json()["code"]) == (404, "evidence_expired")
    assert "DRIFTLOCK_EVIDENCE_KEY_FILE" in mine.json()["detail"]
    assert (theirs.status_code, theirs.json()["code"]) == (404, "not_found")
    assert keys.json() == {"keys": []}


async def test_anybody_may_have_the_keys(with_deps: WithDeps, evidence: FakeEvidence) -> None:
    async with with_deps(name=None, evidence=evidence) as client:
        response = await client.get("/v1/evidence-keys")
    assert response.status_code == 200
    newest, oldest = response.json()["keys"]
    assert newest == {
        "key_id": "b" * 16,
        "algorithm": "Ed25519",
        "public_key": "01" * 32,
        "since": "2027-01-02T00:00:00Z",
    }
    assert oldest["key_id"] == "a" * 16
