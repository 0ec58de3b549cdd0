"""Plans grow: whoever pays more gets more of everything."""

from driftlock.accounts.plans import ENTERPRISE, FREE, LOCAL, PLANS, REQUESTS_PER_MINUTE_MAX, plan_of

MEMBERS = ("price_cents", "events_per_month", "streams", "retention_days", "requests_per_minute")


def test_plans_that_are_paid_grow_in_everything() -> None:
    paid = [plan for plan in PLANS.values() if plan.price_cents is not None]
    assert [plan.name for plan in paid] == ["free", "starter", "pro", "team", "scale"]
    for member in MEMBERS:
        values = [getattr(plan, member) for plan in paid]
        assert values == sorted(set(values)), member
    assert all(1 <= plan.requests_per_minute <= REQUESTS_PER_MINUTE_MAX for plan in paid if plan.requests_per_minute)


def test_names_are_those_of_the_table_and_local_is_not_sold() -> None:
    assert all(name == plan.name for name, plan in PLANS.items())
    assert [plan.name for plan in PLANS.values() if not plan.public] == [LOCAL]
    assert plan_of(ENTERPRISE).requests_per_minute is None
    assert plan_of("unknown") == PLANS[FREE]
