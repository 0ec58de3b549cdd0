"""`GET /v1/operations/{id}`: the result of a `POST /v1/detect` that was answered before its events were scored."""

from api.endpoint import Call, Endpoint, Reply
from api.headers import RETRY_AFTER
from api.operation_models import Operation, OperationStatus
from api.operations import parse_operation
from api.routes.detect import answer, found_by, scored_in_time
from driftlock.accounts.keys import Scope
from driftlock.engine.canonical import Cuts
from driftlock.engine.ports import Receipt
from driftlock.errors import NotFound


async def get_operation(call: Call) -> Reply:
    """Wait a moment for the events to be scored, then tell what was found in them."""
    deps, tenant_id, name = call.deps, call.principal.tenant_id, call.path("operation_id")
    operation = parse_operation(tenant_id, name)
    stream = None if operation is None else await deps.streams.get(tenant_id, operation.stream_id)
    if operation is None or stream is None:
        raise NotFound("there is no operation with this id; it is the one that POST /v1/detect gave with its 202")
    if not await scored_in_time(deps, operation.stream_id, operation.journal_seq, deps.limits.operation_wait_ms_max):
        return Reply(Operation(id=name, status=OperationStatus.PENDING, result=None), headers={RETRY_AFTER.name: "1"})
    stream = await deps.streams.get(tenant_id, operation.stream_id) or stream  # as it is by now
    receipt = Receipt(operation.journal_seq, operation.records, operation.duplicate, stream_ids=(operation.stream_id,))
    found = [] if operation.duplicate else await found_by(deps, tenant_id, operation.stream_id, operation.journal_seq)
    cuts = Cuts(operation.truncated, operation.attributes_dropped, operation.replaced)
    duration_ms = max(0, deps.now_ns() - operation.received_ns) // 1_000_000
    result = answer(call, stream, receipt, found, cuts, None, duration_ms)
    return Reply(Operation(id=name, status=OperationStatus.DONE, result=result))


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/operations/{operation_id}",
        "getOperation",
        "detect",
        "The result of events that were not scored yet when they were sent",
        get_operation,
        {200: Operation},
        scope=Scope.READ,
        path_parameters={"operation_id": "`operation` of the 202."},
        reply_headers={200: (RETRY_AFTER,)},
    ),
)
