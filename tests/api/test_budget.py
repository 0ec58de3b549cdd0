"""Alert budgets over REST, and what happened to a stream."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid5

import httpx
import pytest

from api.budget_models import BudgetPage, ChangedBudget
from api.models import StreamEventPage
from api.ports import BudgetRow, StoredStreamEvent, StreamRow
from driftlock.accounts.actor import ActorKind
from driftlock.engine.correlation.budget import DAY_NS, TENANT_ALERTS_MAX
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.limits import Limits
from driftlock.engine.profile import PROFILES, custom
from driftlock.engine.verdict import StreamEvent, StreamEventKind
from driftlock.errors import Unavailable
from tests.api.conftest import Service
from tests.api.fakes import EPOCH, NAMESPACE, OTHER_TENANT, TENANT, FakeHouse, key, make_stream
from tests.api.redaction_fakes import FakeStreamSettings

NOON = "2008-06-14T12:00:00Z"
NOON_NS = 1_213_444_800 * 10**9


def add_stream(house: FakeHouse, slug: str, **changes: object) -> StreamRow:
    row = make_stream(uuid5(NAMESPACE, slug), slug, StreamKey(Signal.LOGS, slug))
    row = replace(row, **changes)  # type: ignore[arg-type]  # a test names real fields
    house.stream_rows[TENANT][row.stream_id] = row
    return row


async def patch(service: Service, body: object, name: str = "good") -> httpx.Response:
    return await service.client.patch("/v1/budget", json=body, headers={"X-Api-Key": key(name)})


async def test_the_budget_of_a_tenant_that_set_none_is_the_default(service: Service) -> None:
    body = BudgetPage.model_validate_json((await service.client.get("/v1/budget")).content)
    assert (body.tenant.allowed, body.tenant.spent, body.tenant.muted) == (Limits().tenant_alerts_per_day_max, 0, 0)
    assert (body.tenant.since, body.streams, body.next_cursor) == (None, (), None)


async def test_spending_is_shown_for_the_tenant_and_each_stream(service: Service) -> None:
    service.house.budgets[TENANT] = BudgetRow(50, 7, 2, NOON_NS + DAY_NS)
    few = custom(PROFILES["strict"], {"alerts_per_day_max": 3})
    add_stream(service.house, "b", profile=few, alerts_spent=3, alerts_muted=9, last_event_ns=NOON_NS + DAY_NS)
    add_stream(service.house, "a")
    body = (await service.client.get("/v1/budget")).json()
    assert body["tenant"] == {"allowed": 50, "spent": 7, "muted": 2, "since": NOON}
    assert [row["slug"] for row in body["streams"]] == ["a", "b"]
    spending = {"allowed": 3, "spent": 3, "muted": 9, "since": NOON}
    assert body["streams"][1] == {"id": str(uuid5(NAMESPACE, "b")), "slug": "b"} | spending
    assert (await service.client.get("/v1/streams/b")).json()["alerts"] == spending
    assert body["streams"][0]["allowed"] == PROFILES["balanced"].alerts_per_day_max


async def test_budgets_of_streams_come_in_pages(service: Service) -> None:
    for number in range(5):
        add_stream(service.house, f"s{number}")
    slugs, cursor = [], None
    while True:
        page = (await service.client.get("/v1/budget", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))).json()
        slugs += [row["slug"] for row in page["streams"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert slugs == [f"s{number}" for number in range(5)]


async def test_a_change_is_said_and_shown(service: Service) -> None:
    body = ChangedBudget.model_validate_json((await patch(service, {"alerts_per_day_max": 5})).content)
    assert (body.tenant.allowed, body.changed) == (5, True)
    assert not (await patch(service, {"alerts_per_day_max": 5})).json()["changed"]
    assert (await service.client.get("/v1/budget")).json()["tenant"]["allowed"] == 5
    other = await service.client.get("/v1/budget", headers={"X-Api-Key": key("other")})
    assert other.json()["tenant"]["allowed"] == Limits().tenant_alerts_per_day_max
    assert OTHER_TENANT not in service.house.budgets
    settings = service.deps.stream_settings
    assert isinstance(settings, FakeStreamSettings)
    ((verb, tenant, actor),) = settings.noted
    assert (verb, tenant, actor.kind) == ("budgeted", TENANT, ActorKind.KEY), "who changed it is noted, and only if it changed"


async def test_a_budget_is_changed_only_as_it_was_read(service: Service) -> None:
    read = (await service.client.get("/v1/budget")).headers["ETag"]
    add_stream(service.house, "new")
    assert (await service.client.get("/v1/budget")).headers["ETag"] == read, "of what can be changed, and of nothing else"
    ours = await service.client.patch("/v1/budget", json={"alerts_per_day_max": 5}, headers={"If-Match": read})
    assert (ours.status_code, ours.headers["ETag"]) == (200, (await service.client.get("/v1/budget")).headers["ETag"])
    late = await service.client.patch("/v1/budget", json={"alerts_per_day_max": 6}, headers={"If-Match": read})
    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
    settings = service.deps.stream_settings
    assert isinstance(settings, FakeStreamSettings)
    settings.meanwhile = lambda: service.house.budgets.update({TENANT: BudgetRow(7, 0, 0, 0)})
    crossed = await service.client.patch(
        "/v1/budget", json={"alerts_per_day_max": 6}, headers={"If-Match": ours.headers["ETag"]}
    )
    assert (crossed.status_code, service.house.budgets[TENANT].alerts_per_day_max) == (412, 7)
    any_state = await service.client.patch("/v1/budget", json={"alerts_per_day_max": 6}, headers={"If-Match": "*"})
    assert any_state.json()["tenant"]["allowed"] == 6


@pytest.mark.parametrize("value", [-1, TENANT_ALERTS_MAX + 1, 1.5, "5", None, True])
async def test_a_wrong_budget_is_refused_by_name(service: Service, value: object) -> None:
    response = await patch(service, {"alerts_per_day_max": value})
    assert response.status_code == 400
    assert [member["pointer"] for member in response.json()["errors"]] == ["/alerts_per_day_max"]
    assert service.house.budgets == {}


@pytest.mark.parametrize("value", [0, TENANT_ALERTS_MAX])
async def test_the_bounds_of_a_budget_are_allowed(service: Service, value: int) -> None:
    assert (await patch(service, {"alerts_per_day_max": value})).json()["tenant"]["allowed"] == value


async def test_changing_needs_the_scope_admin_and_looking_the_scope_read(service: Service) -> None:
    assert [(await patch(service, {"alerts_per_day_max": 5}, name)).status_code for name in ("reader", "writer")] == [403, 403]
    codes = [
        (await service.client.get("/v1/budget", headers={"X-Api-Key": key(name)})).status_code for name in ("reader", "writer")
    ]
    assert codes == [200, 403]


async def test_a_journal_that_can_not_be_written_is_a_retryable_problem(service: Service) -> None:
    service.house.failure = Unavailable("the journal is full; retry", retry_after_ms=1500)
    response = await patch(service, {"alerts_per_day_max": 5})
    assert (response.status_code, response.headers["Retry-After"]) == (503, "2")


async def test_the_budget_of_a_stream_is_part_of_its_profile(service: Service) -> None:
    add_stream(service.house, "checkout")
    body = (await service.client.patch("/v1/streams/checkout/profile", json={"alerts_per_day_max": 2})).json()
    assert (body["profile"]["alerts_per_day_max"], body["calibration_restarts"]) == (2, False)
    assert (await service.client.get("/v1/streams/checkout")).json()["alerts"]["allowed"] == 2


def add_events(house: FakeHouse, stream: StreamRow, count: int) -> None:
    for number in range(count):
        event = StreamEvent(StreamEventKind.REBASELINED, number, number // 10, NOON_NS + number // 2, f"reason {number}")
        row = StoredStreamEvent(uuid5(NAMESPACE, f"event {number}"), event, EPOCH + timedelta(seconds=number))
        house.event_rows[stream.stream_id].append(row)


async def test_what_happened_to_a_stream_is_listed_newest_first_in_pages(service: Service) -> None:
    stream = add_stream(service.house, "checkout")
    add_events(service.house, stream, 5)
    found: list[str] = []
    cursor: dict[str, str] = {}
    for path in ("/v1/streams/checkout/events", f"/v1/streams/{stream.stream_id}/events", "/v1/streams/checkout/events"):
        page = (await service.client.get(path, params={"limit": 2} | cursor)).json()
        found += [event["reason"] for event in page["events"]]
        cursor = {"cursor": page["next_cursor"]}
    assert found == [f"reason {number}" for number in (4, 3, 2, 1, 0)]
    assert cursor["cursor"] is None
    body = StreamEventPage.model_validate_json((await service.client.get("/v1/streams/checkout/events")).content)
    assert body.stream.slug == "checkout"
    assert body.events[4].model_dump(mode="json") == {
        "id": str(uuid5(NAMESPACE, "event 0")),
        "kind": "rebaselined",
        "time": NOON,
        "event": 0,
        "window": 0,
        "reason": "reason 0",
        "recorded_at": "2027-01-01T00:00:00Z",
    }


async def test_a_cursor_of_one_streams_events_is_not_one_of_anothers(service: Service) -> None:
    for slug in ("a", "b"):
        add_events(service.house, add_stream(service.house, slug), 3)
    cursor = (await service.client.get("/v1/streams/a/events?limit=1")).json()["next_cursor"]
    assert (await service.client.get(f"/v1/streams/a/events?cursor={cursor}")).status_code == 200
    assert (await service.client.get(f"/v1/streams/b/events?cursor={cursor}")).status_code == 400


@pytest.mark.parametrize("name", ["nope", str(UUID(int=7)), "%00", "x" * 5000])
async def test_events_of_an_unknown_stream_are_not_found(service: Service, name: str) -> None:
    assert (await service.client.get(f"/v1/streams/{name}/events")).status_code == 404


async def test_events_of_another_tenants_stream_are_not_found(service: Service) -> None:
    stream = add_stream(service.house, "checkout")
    add_events(service.house, stream, 1)
    for name in ("checkout", str(stream.stream_id)):
        response = await service.client.get(f"/v1/streams/{name}/events", headers={"X-Api-Key": key("other")})
        assert response.status_code == 404
