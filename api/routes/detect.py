"""`POST /v1/detect`: events in, verdicts about them out.

The events take the way of all others: they are journaled first, and the answer waits until the detector has come past them.
When that takes too long the events are safe all the same, and the answer names an operation that will have the result.
"""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from api import models, views
from api.deps import ApiDeps
from api.endpoint import Call, Endpoint, Repeated, Reply, off_loop
from api.events import decode
from api.headers import LOCATION
from api.idempotency import HASH_BYTES, IDEMPOTENCY_KEY_HEADER, idempotency_key
from api.operations import Operation, operation_id
from api.overrides import REQUEST_MEMBERS, check_stream_members, given, overridden
from api.ports import AnomalyRow, StreamRow
from api.problems import BadMembers, ProblemMember
from api.profile_models import ConfigOverride
from api.redacting import redact_events
from driftlock.accounts.keys import Principal, Scope
from driftlock.accounts.metering import Because, Refusal
from driftlock.engine.canonical import Cuts, label
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.ports import Receipt, StreamBatch, Submission
from driftlock.engine.profile import Profile
from driftlock.engine.verdict import Calibration
from driftlock.errors import Code, Internal, KeyReused, PayloadTooLarge, PermissionDenied, Unavailable
from driftlock.storage.slugs import slug, unique_slug

PATH = "/v1/detect"
DEFAULT_STREAM = "default"
OVERRIDE = "config_override"
UNREAD = "the events are journaled; the stream could not be read afterwards, because the database is away"
IDEMPOTENCY_WINDOW_NS = 24 * 3600 * 1_000_000_000
_EVENT_BYTES_GUESS = 128  # decides only whether a thread is worth it
_DECODING = Because({Code.INVALID_ARGUMENT: Refusal.BAD_RECORDS})
_SUBMITTING = Because({Code.INVALID_ARGUMENT: Refusal.NOT_STORABLE})


async def detect(call: Call) -> Reply:
    """Journal the events, wait until they are scored, and tell what was found in them."""
    deps, tenant_id = call.deps, call.principal.tenant_id
    clock = asyncio.get_running_loop().time
    started = clock()
    request = call.body(models.DetectRequest)
    key = StreamKey(Signal.LOGS, _stream_name(request, call.principal, deps.limits.stream_id_bytes_max))
    key_given = idempotency_key(call.request, deps.limits.idempotency_key_chars_max)
    count = len(request.events)
    if count > deps.limits.events_max:
        raise PayloadTooLarge(
            f"the request holds {count} events, at most {deps.limits.events_max} are accepted (events_max); send it in parts",
            pointer="/events",
            reason=Refusal.TOO_MANY_RECORDS,
        )
    with _DECODING:
        decoded = await off_loop(
            count * _EVENT_BYTES_GUESS,
            lambda: decode(request.events, historical=request.historical, limits=deps.record_limits),
        )
    call.reception.received(tenant_id, count)
    part = StreamBatch(key, decoded.batch)
    submission = Submission(tenant_id, Signal.LOGS, deps.now_ns(), (part,), received=count)
    repeated = False
    if key_given is not None:
        submission = _keyed(submission, key_given, request)
        repeated = await _repeated(deps, submission)
    before = await _stream_before(deps, tenant_id, key)
    profile = deps.detector.profile if before is None else before.profile
    if "config_override" in request.model_fields_set:
        if not repeated:
            profile = await _configured(deps, tenant_id, key, before, request.config_override)
        _set_thresholds(request.config_override, decoded.batch)
    redacted = await redact_events(deps, tenant_id, key, decoded)
    with _SUBMITTING:
        receipt = await deps.intake.submit(submission)
    call.reception.journaled(receipt, decoded.cuts, redacted)
    if before is None:
        await _note_created(call, key, receipt)
    known = before if before is not None and before.stream_id == receipt.stream_ids[0] else None
    scored = await scored_in_time(deps, receipt.stream_ids[0], receipt.seq, deps.limits.detect_wait_ms_max)
    # Where the database goes away now, what is known is answered: the records are journaled.
    try:
        stream = await _stream_of(deps, tenant_id, receipt)
    except Unavailable:
        stream, scored = _unread(deps, key, known, profile, receipt), False
    try:
        found = await _found(deps, tenant_id, receipt) if scored else []
    except Unavailable:
        found, scored = [], False
    operation = None if scored else _operation(tenant_id, submission, receipt, decoded.cuts)
    body = answer(call, stream, receipt, found, decoded.cuts, operation, round((clock() - started) * 1000))
    return Reply(body) if operation is None else Reply(body, 202, {LOCATION.name: f"/v1/operations/{operation}"})


async def _note_created(call: Call, key: StreamKey, receipt: Receipt) -> None:
    """Write down whose key has created the stream: the first events of it may have come with several requests at once.

    The records are journaled by now, so what can not be noted because the database went away is no reason to refuse them.
    """
    tenant_id, (stream_id,) = call.principal.tenant_id, receipt.stream_ids
    with contextlib.suppress(Unavailable):
        stream = await call.deps.streams.get(tenant_id, stream_id)
        if stream is not None and stream.key == key:  # rather than the one of all streams beyond the account's limit
            await call.deps.stream_settings.note_created(tenant_id, stream_id, call.actor)


def _operation(tenant_id: UUID, submission: Submission, receipt: Receipt, cuts: Cuts) -> str:
    """The name under which the result can be asked for later."""
    lost = (cuts.truncated, cuts.attributes_dropped, cuts.replaced)
    journaled = (receipt.stream_ids[0], receipt.seq, submission.received_ns, receipt.records)
    return operation_id(tenant_id, Operation(*journaled, *lost, receipt.duplicate))


def _stream_name(request: models.DetectRequest, principal: Principal, bytes_max: int) -> str:
    """The stream's name, in the one normal form that all doors use; a bound key has no choice."""
    bound = None if principal.stream is None else label(principal.stream)
    if "stream_id" not in request.model_fields_set:
        return bound or DEFAULT_STREAM
    name = label(request.stream_id)
    if bound is not None and name != bound:
        raise PermissionDenied("this API key is bound to another stream", pointer="/stream_id")
    if not name or len(request.stream_id.encode("utf-8", "surrogatepass")) > bytes_max:
        detail = f"must hold a printable character and at most {bytes_max} bytes (stream_id_bytes_max)"
        raise BadMembers([ProblemMember(detail=detail, pointer="/stream_id")])
    return name


def _keyed(submission: Submission, key: str, request: models.DetectRequest) -> Submission:
    """The submission as the one that `key` stands for: tenant, route and key identify it, and what it says must be the same.

    The hashes are BLAKE2b-128 (RFC 7693). What it says are its members as they were parsed: how the JSON was written does not
    matter, and a member that is left out is another thing than its default.
    """
    identity = b"\0".join((submission.tenant_id.bytes, PATH.encode(), key.encode()))
    (part,) = submission.batches
    batch = part.batch
    said = json.dumps(request.model_dump(exclude={"events", "stream_id"}, exclude_unset=True), sort_keys=True)
    members = (part.key.text.encode(), said.encode(), batch.lengths.tobytes())
    content = hashlib.blake2b(b"\0".join(members), digest_size=HASH_BYTES)
    content.update(batch.times_ns.tobytes() + batch.text)
    return replace(
        submission,
        request_hash=hashlib.blake2b(identity, digest_size=HASH_BYTES).digest(),
        content_hash=content.digest(),
        dedup_window_ns=IDEMPOTENCY_WINDOW_NS,
    )


async def _repeated(deps: ApiDeps, submission: Submission) -> bool:
    """Whether a keyed request is one that was journaled already: then nothing of it may be judged or changed anew.

    Raise `KeyReused` before anything comes of a request that has the key of another one. Of those that come at the same
    moment the commit decides.
    """
    known = await deps.requests.known(submission.tenant_id, submission.request_hash or b"", submission.received_ns)
    if known is not None and known.content not in (None, submission.content_hash):
        raise KeyReused("this Idempotency-Key came with another request before; use a new one")
    return known is not None


async def _stream_before(deps: ApiDeps, tenant_id: UUID, key: StreamKey) -> StreamRow | None:
    """The stream of `key`, if there is one by now."""
    for name in (slug(key), unique_slug(key)):
        row = await deps.streams.get(tenant_id, name)
        if row is None or row.key == key:
            return row
    return None


async def _configured(
    deps: ApiDeps, tenant_id: UUID, key: StreamKey, before: StreamRow | None, override: ConfigOverride
) -> Profile:
    """The stream's profile, with what `override` says of it if this request creates the stream.

    Raise `BadMembers` for values that are not allowed, or not the stream's.
    """
    changes = given(override)
    base = deps.detector.profile if before is None else before.profile
    overridden(base, changes, OVERRIDE)
    if before is None:
        own = {name: value for name, value in changes.items() if name not in REQUEST_MEMBERS}
        created = overridden(base, own, OVERRIDE)
        if created != base and not await deps.configurator.create_stream(tenant_id, key, created):
            # Another request was quicker, or the tenant has no room for one more stream of its own.
            before = await _stream_before(deps, tenant_id, key)
            base = base if before is None else before.profile
            check_stream_members(base, changes, OVERRIDE)
            return base
        return created
    check_stream_members(base, changes, OVERRIDE)
    return base


def _set_thresholds(override: ConfigOverride, batch: RecordBatch) -> None:
    """Let the thresholds that are named hold for this request. They were checked, for it or for the request that it repeats."""
    for name in sorted(override.model_fields_set & REQUEST_MEMBERS):
        setattr(batch, name, getattr(override, name))


async def scored_in_time(deps: ApiDeps, stream_id: UUID, seq: int, wait_ms_max: int) -> bool:
    """Whether the records are scored by now. They are journaled in any case: "send again" would be the wrong answer."""
    try:
        async with asyncio.timeout(wait_ms_max / 1000):
            await deps.scored(stream_id, seq)
    except (TimeoutError, Unavailable):
        return False
    return True


async def _stream_of(deps: ApiDeps, tenant_id: UUID, receipt: Receipt) -> StreamRow:
    stream = await deps.streams.get(tenant_id, receipt.stream_ids[0])
    if stream is None:
        raise Internal("a stream that was written to can not be read")
    return stream


def _unread(deps: ApiDeps, key: StreamKey, before: StreamRow | None, profile: Profile, receipt: Receipt) -> StreamRow:
    """The stream as far as it is known while the database is away: as it was before, or by its id alone."""
    if before is None:
        stream_id, created_at = receipt.stream_ids[0], datetime.fromtimestamp(deps.now_ns() / 1e9, UTC)
        before = StreamRow(stream_id, str(stream_id), key, created_at, 0, 0, 0, 0, Calibration.UNKNOWN, 0, 0)
    return replace(before, profile=profile, pending=before.pending + receipt.records, calibration_reason=UNREAD)


async def _found(deps: ApiDeps, tenant_id: UUID, receipt: Receipt) -> Sequence[AnomalyRow]:
    """Anomalies that these events brought, in the order of the events; none for a duplicate."""
    if receipt.duplicate:
        return []
    return await found_by(deps, tenant_id, receipt.stream_ids[0], receipt.seq)


async def found_by(deps: ApiDeps, tenant_id: UUID, stream_id: UUID, journal_seq: int) -> Sequence[AnomalyRow]:
    """Anomalies that a row of the journal brought to its stream, in the order of the events."""
    rows = await deps.anomalies.of_row(tenant_id, stream_id, journal_seq, limit=deps.limits.detect_anomalies_max)
    return sorted(rows, key=lambda row: (row.finding.last_event, row.finding.interaction))


def answer(
    call: Call,
    stream: StreamRow,
    receipt: Receipt,
    found: Sequence[AnomalyRow],
    cuts: Cuts,
    operation: str | None,
    duration_ms: int,
) -> models.DetectResponse:
    """What a request is told of its events; with an `operation` they are not scored yet."""
    profile = stream.profile
    return models.DetectResponse(
        request_id=call.request_id,
        stream=views.stream_ref(stream),
        status=models.DetectStatus(views.stream_status(stream)) if operation is None else models.DetectStatus.PENDING,
        calibration=views.calibration_progress(stream),
        processed=receipt.records,
        duplicate=receipt.duplicate,
        anomalies=tuple(views.anomaly_summary(row) for row in found),
        operation=operation,
        anomalies_truncated=len(found) >= call.deps.limits.detect_anomalies_max,
        pending=stream.pending,
        cuts=models.Cuts(truncated=cuts.truncated, attributes_dropped=cuts.attributes_dropped, replaced=cuts.replaced),
        metrics=models.DetectMetrics(
            profile=profile.name,
            baseline=profile.baseline_size,
            window=profile.window_size,
            hop=profile.hop_size,
            duration_ms=duration_ms,
            codec=profile.codec,
        ),
    )


ENDPOINTS = (
    Endpoint(
        "POST",
        PATH,
        "detect",
        "detect",
        "Score events and tell what is new in them",
        detect,
        {200: models.DetectResponse, 202: models.DetectResponse},
        scope=Scope.INGEST,
        request=models.DetectRequest,
        header_parameters={
            IDEMPOTENCY_KEY_HEADER: "At most 255 characters. A second request with the same key and body is not counted again "
            "for 24 hours; it is answered with `duplicate: true`. The same key with another body is refused (422)."
        },
        signal=Signal.LOGS,
        problems=(Code.IDEMPOTENCY_KEY_REUSED,),
        repeated=Repeated.COUNTED_ONCE,
        reply_headers={202: (LOCATION,)},
    ),
)
