"""Alert budgets: how many incidents may alert in a day, and how many did."""

from uuid import UUID

from api import views
from api.budget_models import AlertBudget, BudgetChange, BudgetPage, ChangedBudget
from api.deps import ApiDeps
from api.endpoint import Call, Endpoint, Reply
from api.etag import ETAG_HEADER, check_if_match, etag_of, names_a_state
from api.paging import PageQuery, Pager
from api.ports import BudgetRow
from api.routes.streams import stream_key, stream_position
from driftlock.accounts.keys import Scope
from driftlock.errors import NotFound

PATH = "/v1/budget"


async def get_budget(call: Call) -> Reply:
    """The tenant's budget, and one page of those of its streams."""
    deps, tenant_id = call.deps, call.principal.tenant_id
    rows, next_cursor = await Pager(call, call.query(PageQuery), "budget").page(
        lambda limit, after: deps.streams.list(tenant_id, limit=limit, after=after), stream_position, stream_key
    )
    streams = tuple(views.stream_budget(row) for row in rows)
    tenant = views.tenant_budget(await _budget(deps, tenant_id))
    return Reply(BudgetPage(tenant=tenant, streams=streams, next_cursor=next_cursor), headers={ETAG_HEADER: _etag(tenant)})


async def change_budget(call: Call) -> Reply:
    """Give the tenant another budget; the one that is set again changes nothing."""
    deps, tenant_id = call.deps, call.principal.tenant_id
    wanted, before = call.body(BudgetChange).alerts_per_day_max, await _budget(deps, tenant_id)
    check_if_match(call, _etag(views.tenant_budget(before)))
    expected = (before.alerts_per_day_max,) if names_a_state(call) else None
    changed = await deps.stream_settings.set_budget(tenant_id, wanted, call.actor, expected)
    tenant = views.tenant_budget(await _budget(deps, tenant_id))
    return Reply(ChangedBudget(tenant=tenant, changed=changed), headers={ETAG_HEADER: _etag(tenant)})


def _etag(tenant: AlertBudget) -> str:
    """Of the tenant's budget alone, which is what can be changed here."""
    return etag_of(BudgetChange(alerts_per_day_max=tenant.allowed))


async def _budget(deps: ApiDeps, tenant_id: UUID) -> BudgetRow:
    row = await deps.budgets.get(tenant_id)
    if row is None:
        raise NotFound("this tenant has been deleted")
    return row


ENDPOINTS = (
    Endpoint(
        "GET",
        PATH,
        "getBudget",
        "budget",
        "How many incidents may alert in a day, and how many did",
        get_budget,
        {200: BudgetPage},
        scope=Scope.READ,
        query=PageQuery,
        etag=True,
    ),
    Endpoint(
        "PATCH",
        PATH,
        "changeBudget",
        "budget",
        "Let the tenant have more or fewer alerts in a day",
        change_budget,
        {200: ChangedBudget},
        scope=Scope.ADMIN,
        request=BudgetChange,
        etag=True,
    ),
)
