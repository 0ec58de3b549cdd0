"""Events of a request without what must not be kept: the door of REST does what the OTLP doors do at decoding."""

from uuid import UUID

from api.deps import ApiDeps
from api.endpoint import off_loop
from api.events import Decoded
from driftlock.engine.event import StreamKey


async def redact_events(deps: ApiDeps, tenant_id: UUID, stream: StreamKey, decoded: Decoded) -> int:
    """Take from `decoded` what the rules of the tenant and of the stream find; -> records that are not what they were.

    To be called before anything of the events is stored. Raises `Unavailable` when the rules are not known.
    """
    rules = await deps.redaction.rules(tenant_id)
    redactor = None if rules is None else rules.of(stream)
    if redactor is None:
        return 0
    batch = decoded.batch
    lines = await off_loop(len(batch.text), lambda: redactor.columns(batch.text, batch.lengths))
    batch.text, batch.lengths = lines.text, lines.lengths
    decoded.cuts.truncated += lines.cut
    return lines.records
