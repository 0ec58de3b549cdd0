"""Signed evidence of findings: the file of one, and the public keys that have signed."""

from uuid import UUID

from api import bundle_models
from api.endpoint import Call, Endpoint, Reply
from api.etag import ETAG_HEADER
from api.headers import DISPOSITION
from api.rfc3339 import ns_of_datetime, rfc3339
from api.routes.streams import parse_uuid
from driftlock.accounts.keys import Scope
from driftlock.errors import Code, EvidenceExpired, NotFound
from driftlock.storage.evidence import EvidenceStatus

EVIDENCE_MEDIA_TYPE = "application/vnd.driftlock.evidence"
OFF = "this server signs no evidence: its operator gives it a key with DRIFTLOCK_EVIDENCE_KEY_FILE"
_SIGNED_OFF = EvidenceStatus("off", OFF)


async def get_evidence(call: Call) -> Reply:
    """The evidence of one finding, as `driftlock verify` reads it."""
    anomaly_id = parse_uuid(call.path("anomaly_id"))
    tenant_id, source = call.principal.tenant_id, call.deps.evidence
    if anomaly_id is None:
        raise NotFound("there is no anomaly with this id; GET /v1/anomalies lists yours")
    if source is None:
        if await call.deps.anomalies.get(tenant_id, anomaly_id) is None:
            raise NotFound("there is no anomaly with this id; GET /v1/anomalies lists yours")
        raise EvidenceExpired(OFF)
    stored = await source.bundle(tenant_id, anomaly_id)
    name = f"{stored.number:06d}-{anomaly_id}.evidence"
    headers = {
        ETAG_HEADER: f'"{stored.digest.hex()}"',
        DISPOSITION.name: f'attachment; filename="{name}"',
        "Cache-Control": "private, max-age=86400, immutable",
    }
    return Reply(stored.data, headers=headers)


async def list_keys(call: Call) -> Reply:
    """Every public key that has signed evidence."""
    keys = () if call.deps.evidence is None else await call.deps.evidence.keys()
    return Reply(
        bundle_models.EvidenceKeys(
            keys=tuple(
                bundle_models.EvidenceKey(
                    key_id=key.key_id,
                    algorithm="Ed25519",
                    public_key=key.public_key.hex(),
                    since=rfc3339(ns_of_datetime(key.since)),
                )
                for key in keys
            )
        )
    )


async def evidence_ref(call: Call, anomaly_id: UUID) -> bundle_models.EvidenceRef:
    """What is said of the evidence of a finding that the tenant has."""
    source, status = call.deps.evidence, _SIGNED_OFF
    if source is not None:
        status = await source.status(call.principal.tenant_id, anomaly_id) or EvidenceStatus("none")
    ready = status.state == "ready"
    return bundle_models.EvidenceRef.model_validate(
        {
            "state": status.state,
            "reason": status.reason,
            "number": status.number,
            "digest": None if status.digest is None else status.digest.hex(),
            "key_id": status.key_id,
            "bytes": status.bundle_bytes if ready else 0,
            "made_at": None if status.made_at is None else rfc3339(ns_of_datetime(status.made_at)),
            "href": f"/v1/anomalies/{anomaly_id}/evidence" if status.state in ("ready", "waiting", "skipped") else None,
        }
    )


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/anomalies/{anomaly_id}/evidence",
        "getEvidence",
        "evidence",
        "All that a verdict follows from, signed, for `driftlock verify`",
        get_evidence,
        {200: EVIDENCE_MEDIA_TYPE},
        scope=Scope.READ,
        path_parameters={"anomaly_id": "Id of the anomaly."},
        problems=(Code.EVIDENCE_EXPIRED, Code.UNAVAILABLE),
        etag=True,
        reply_headers={200: (DISPOSITION,)},
    ),
    Endpoint(
        "GET",
        "/v1/evidence-keys",
        "listEvidenceKeys",
        "evidence",
        "Public keys that have signed evidence, the newest first; nobody has to say who they are",
        list_keys,
        {200: bundle_models.EvidenceKeys},
        problems=(Code.UNAVAILABLE,),
    ),
)
