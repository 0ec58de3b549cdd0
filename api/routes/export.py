"""`POST /v1/anomalies/export`: anomalies of a filter as a file, the newest first."""

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BeforeValidator, Field, WithJsonSchema

from api import headers, views
from api.anomaly_filters import AnomalyFilters, filter_of
from api.body import Body, optional
from api.choices import chosen, schema_of
from api.cursors import CURSOR_CHARS_MAX, Position
from api.endpoint import Call, Endpoint, Repeated, Reply, pointer
from api.export import FILES, ExportFile, ExportFormat
from api.ports import AnomalyFilter
from api.problems import BadMembers, ProblemMember
from api.rfc3339 import datetime_of_ns, ns_of_datetime
from api.routes.anomalies import key, position
from driftlock.accounts.keys import Scope
from driftlock.errors import InvalidArgument
from driftlock.storage.paging import PAGE_ITEMS_MAX

NEXT_CURSOR_HEADER = headers.NEXT_CURSOR.name
Place = tuple[datetime, int, UUID]


ChosenFormat = Annotated[ExportFormat, BeforeValidator(chosen(ExportFormat)), WithJsonSchema(schema_of(ExportFormat))]


class ExportFilters(AnomalyFilters, Body):
    """The filters of `GET /v1/anomalies`."""


class ExportRequest(Body):
    """What to export."""

    format: ChosenFormat = Field(description="`jsonl`, `csv` or `markdown`.")
    filters: ExportFilters = Field(default=ExportFilters(), description="Which anomalies; all where it is left out.")
    rows: int | None = Field(default=None, ge=1, description="At most so many; 10,000 unless told, and at most.")
    cursor: str = optional(f"`{NEXT_CURSOR_HEADER}` of the file before, with the same filters.")


async def export_anomalies(call: Call) -> Reply:
    """A file of anomalies, read and sent a page at a time."""
    deps, tenant_id, asked = call.deps, call.principal.tenant_id, call.body(ExportRequest)
    limit = deps.limits.export_rows_max
    if asked.rows is not None and asked.rows > limit:
        detail = f"is at most {limit} (export_rows_max); go on with the {NEXT_CURSOR_HEADER} of the answer"
        raise BadMembers([ProblemMember(detail=detail, pointer="/rows")])
    rows = asked.rows or limit
    after = _after(call, asked)
    filters = await filter_of(deps, tenant_id, asked.filters)
    # Where the file ends is found first: what comes in meanwhile is newer than all of it.
    end = await deps.anomalies.place(tenant_id, filters, rows=rows, after=after)
    file = FILES[asked.format]
    day = datetime_of_ns(deps.now_ns()).strftime("%Y-%m-%d")
    told = {headers.DISPOSITION.name: f'attachment; filename="anomalies-{day}.{file.suffix}"'}
    if end is not None:
        place = (ns_of_datetime(end[0]), end[1], str(end[2]))
        told[NEXT_CURSOR_HEADER] = call.cursors.encode(place, tenant_id=tenant_id, scope=_scope(asked))
    return Reply(_pieces(call, file, filters, after, end), headers=told, media_type=file.media_type)


async def _pieces(
    call: Call, file: ExportFile, filters: AnomalyFilter, after: Place | None, end: Place | None
) -> AsyncGenerator[bytes, None]:
    """The file up to `end`, a page at a time: as fast as its reader takes it."""
    if file.head:
        yield file.head.encode()
    more = True
    while more:
        found = await call.deps.anomalies.list(call.principal.tenant_id, filters, limit=PAGE_ITEMS_MAX, after=after)
        page = [row for row in found if end is None or key(position(row)) >= end]
        more = len(page) == PAGE_ITEMS_MAX
        if page:
            yield "".join(file.row(views.anomaly_summary(row)) for row in page).encode()
            after = key(position(page[-1]))


def _after(call: Call, asked: ExportRequest) -> Place | None:
    if "cursor" not in asked.model_fields_set:
        return None
    try:
        if len(asked.cursor) > CURSOR_CHARS_MAX:
            raise InvalidArgument(f"is longer than {CURSOR_CHARS_MAX} characters")
        place: Position = call.cursors.decode(asked.cursor, tenant_id=call.principal.tenant_id, scope=_scope(asked))
    except InvalidArgument as error:
        raise BadMembers([ProblemMember(detail=error.message, pointer=pointer("cursor"))]) from None
    return key(place)


def _scope(asked: ExportRequest) -> tuple[str, ...]:
    """What a cursor is bound to: the filters, whatever the format."""
    filters = asked.filters.model_dump(mode="json", exclude_none=True)
    return ("anomalies/export", *(f"{name}={filters[name]}" for name in sorted(filters)))


ENDPOINTS = (
    Endpoint(
        "POST",
        "/v1/anomalies/export",
        "exportAnomalies",
        "anomalies",
        "Anomalies as JSON lines, CSV or Markdown",
        export_anomalies,
        {200: tuple(file.media_type for file in FILES.values())},
        scope=Scope.READ,
        request=ExportRequest,
        repeated=Repeated.NOTHING_STORED,
        reply_headers={200: (headers.DISPOSITION, headers.NEXT_CURSOR)},
    ),
)
