"""Plans: what a tenant pays and what it gets for that. Data, in one place; whoever shows or enforces a plan reads it here.

Prices are in cents of US dollars a month. None means that the plan sets no bound: the server's own limits hold all the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

LOCAL = "local"
FREE = "free"
ENTERPRISE = "enterprise"
TRIAL_DAYS = 14
REQUESTS_PER_MINUTE_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """One plan. `public`: whether it is offered. A stream counts once for each service, whatever its signals.

    `price_cents` None: by agreement, or not sold. `events_per_month` are records of all signals.
    """

    name: str
    title: str
    public: bool
    price_cents: int | None
    events_per_month: int | None
    streams: int | None
    retention_days: int | None
    requests_per_minute: int | None


PLANS: Mapping[str, Plan] = MappingProxyType(
    {
        plan.name: plan
        for plan in (
            Plan(FREE, "Free", True, 0, 50_000, 20, 14, 60),
            Plan("starter", "Starter", True, 29_00, 250_000, 50, 30, 120),
            Plan("pro", "Pro", True, 99_00, 1_500_000, 200, 180, 300),
            Plan("team", "Team", True, 249_00, 10_000_000, 1_000, 365, 600),
            Plan("scale", "Scale", True, 499_00, 50_000_000, 5_000, 730, 3_000),
            Plan(ENTERPRISE, "Enterprise", True, None, None, None, None, None),
            Plan(LOCAL, "Local", False, None, None, None, None, None),
        )
    }
)
"""All plans by their names, the smallest first. `local` is the one of a server that brings its own database."""


def plan_of(name: str) -> Plan:
    """The plan of that name; `free` for a name that is not known here, as one of a newer version would be.

    >>> plan_of("pro").requests_per_minute, plan_of("of tomorrow").name
    (300, 'free')
    """
    return PLANS.get(name, PLANS[FREE])
