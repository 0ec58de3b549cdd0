"""Bodies about alert budgets: how many incidents may alert in any 24 hours of event time, and how many did."""

from uuid import UUID

from pydantic import Field

from api.body import Body
from api.evidence_models import Timestamp
from driftlock.engine.correlation.budget import TENANT_ALERTS_MAX


class AlertBudget(Body):
    """A budget and its spending in the 24 hours of event time that end with the newest event."""

    allowed: int = Field(description="Incidents that may alert in any 24 hours.")
    spent: int = Field(description="Incidents that alerted in these 24 hours.")
    muted: int = Field(description="Incidents of these 24 hours that a budget kept quiet so far; they are listed all the same.")
    since: Timestamp | None = Field(description="When these 24 hours began; null before anything was scored.")


class StreamBudget(AlertBudget):
    """The budget of a stream, which is the `alerts_per_day_max` of its profile."""

    id: UUID = Field(description="Id of the stream.")
    slug: str


class BudgetPage(Body):
    """The budget of the tenant, and those of its streams by slug."""

    tenant: AlertBudget
    streams: tuple[StreamBudget, ...]
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last one.")


class BudgetChange(Body):
    """Another budget for the tenant."""

    alerts_per_day_max: int = Field(
        ge=0,
        le=TENANT_ALERTS_MAX,
        description=f"Incidents of all streams that may alert in any 24 hours of event time, 0 to {TENANT_ALERTS_MAX:,}.",
    )


class ChangedBudget(Body):
    """The budget of the tenant after a change."""

    tenant: AlertBudget
    changed: bool = Field(description="False if this budget was set already.")
