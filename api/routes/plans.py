"""`GET /v1/plans`: what is offered, and for how much."""

from api.endpoint import Call, Endpoint, Reply
from api.plan_models import OfferedPlan, PlanList
from driftlock.accounts.plans import PLANS, TRIAL_DAYS, Plan

CURRENCY = "usd"


async def list_plans(call: Call) -> Reply:  # noqa: ARG001  # the same for everybody
    """The plans that are offered, the smallest first."""
    plans = tuple(_offered(plan) for plan in PLANS.values() if plan.public)
    return Reply(PlanList(plans=plans, currency=CURRENCY, trial_days=TRIAL_DAYS))


def _offered(plan: Plan) -> OfferedPlan:
    return OfferedPlan(
        name=plan.name,
        title=plan.title,
        price_cents=plan.price_cents,
        events_per_month=plan.events_per_month,
        streams=plan.streams,
        retention_days=plan.retention_days,
        requests_per_minute=plan.requests_per_minute,
    )


ENDPOINTS = (Endpoint("GET", "/v1/plans", "listPlans", "system", "Plans and their prices", list_plans, {200: PlanList}),)
