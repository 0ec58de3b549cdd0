"""Which anomalies are meant: the filters of lists and exports."""

from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, FiniteFloat

from api.deps import ApiDeps
from api.ports import AnomalyFilter
from api.routes.streams import find_stream
from api.times import Time, moment
from driftlock.engine.correlation.flag import TRACE_ID
from driftlock.engine.verdict import Question


def _checked_question(text: str) -> str:
    if text not in set(Question):
        raise ValueError(f"choose one of {', '.join(Question)}")
    return text


Asked = Annotated[
    str, AfterValidator(_checked_question), Field(json_schema_extra={"enum": [question.value for question in Question]})
]


def _checked_trace(text: str) -> str:
    if not TRACE_ID.fullmatch(text.lower()):
        raise ValueError("a trace id has 32 hexadecimal digits")
    return text.lower()


Trace = Annotated[str, AfterValidator(_checked_trace), Field(json_schema_extra={"pattern": "^[0-9A-Fa-f]{32}$"})]


def _read_id(value: object) -> object:
    """Bodies are read strictly, and a text is no UUID by itself."""
    try:
        return UUID(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError("is not a UUID") from None


Id = Annotated[UUID, BeforeValidator(_read_id)]


class AnomalyFilters(BaseModel):
    """What can be asked for; all that is given has to hold."""

    stream: str | None = Field(default=None, max_length=300, description="Id or slug of a stream.")
    incident: Id | None = Field(default=None, description="Id of an incident.")
    min_ncd: FiniteFloat | None = Field(default=None, ge=0, le=1, description="Only distances of at least this.")
    max_p_value: FiniteFloat | None = Field(default=None, ge=0, le=1, description="Only p-values of at most this.")
    question: Asked | None = Field(default=None, description="Only those that are about this.")
    trace_id: Trace | None = Field(default=None, description="Only those that name this trace, as an example or with a line.")
    silenced: bool = Field(default=False, description="Those that feedback keeps quiet, and none of the others.")
    since: Time | None = Field(default=None, description="Only those whose window ends at this time or later (event time).")
    until: Time | None = Field(default=None, description="Only those whose window begins before this time (event time).")


async def filter_of(deps: ApiDeps, tenant_id: UUID, asked: AnomalyFilters) -> AnomalyFilter:
    """The filter as repositories take it; raise `NotFound` for a stream that the tenant does not have."""
    stream = None if asked.stream is None else await find_stream(deps, tenant_id, asked.stream)
    return AnomalyFilter(
        stream_id=None if stream is None else stream.stream_id,
        incident_id=asked.incident,
        ncd_min=asked.min_ncd,
        p_value_max=asked.max_p_value,
        since=moment(asked.since),
        until=moment(asked.until),
        question=None if asked.question is None else Question(asked.question),
        trace_id=asked.trace_id,
        silenced=asked.silenced,
    )
