"""How often clients may ask, and that nobody gets around it."""

import dataclasses
from collections.abc import Callable
from uuid import UUID

import httpx
import pytest

from api.client_network import parse_networks
from api.endpoint import Endpoint, Reply
from api.models import Liveness
from api.traffic import RateRules, Traffic
from driftlock.accounts.keys import ALL_SCOPES, KeyRecord, Principal, Role, Scope
from tests.api.conftest import Service
from tests.api.conftest import client_of as client_of_all
from tests.api.fakes import TENANT, RecordingAccess, key, minted
from tests.api.serving import answering, client_of

SECOND_NS = 1_000_000_000
ALIVE = answering(lambda _: Reply(Liveness(status="ok")))
OPEN = Endpoint("GET", "/open", "getOpen", "x", "x", ALIVE, {200: Liveness})
OURS = Endpoint("GET", "/ours", "getOurs", "x", "x", ALIVE, {200: Liveness}, scope=Scope.READ)
HEALTH = Endpoint("GET", "/health", "getHealth", "x", "x", ALIVE, {200: Liveness}, unlimited=True)
ELSEWHERE = {"X-Forwarded-For": "198.51.100.7"}


class Clock:
    def __init__(self) -> None:
        self.now_ns = 5 * SECOND_NS

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limited(service: Service, clock: Clock) -> Callable[..., httpx.AsyncClient]:
    """A client of the three endpoints above, under limits: 5 anonymous requests and 3 failures a minute."""
    rates = RateRules(clock, network_requests_per_minute=5, network_failures_per_minute=3)

    def make(*, name: str | None = "good", peer: str = "203.0.113.9", **changes: object) -> httpx.AsyncClient:
        deps = dataclasses.replace(service.deps, **{"rates": rates, **changes})  # type: ignore[arg-type]
        return client_of(deps, OPEN, OURS, HEALTH, name=name, peer=peer)

    return make


def set_record(service: Service, name: str, **changes: object) -> None:
    new = minted(name)
    record = service.directory.records.get(new.key_id) or KeyRecord(new.key_id, TENANT, new.digest, ALL_SCOPES)
    service.directory.records[new.key_id] = dataclasses.replace(record, **changes)  # type: ignore[arg-type]


async def statuses(client: httpx.AsyncClient, path: str, times: int, **headers: str) -> list[int]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return [(await client.get(path, headers=sent)).status_code for _ in range(times)]


async def test_an_account_has_the_requests_of_its_plan(service: Service, limited: Callable[..., httpx.AsyncClient]) -> None:
    set_record(service, "second", plan="free")
    async with limited() as client:
        assert await statuses(client, "/ours", 40) == [200] * 40
        assert await statuses(client, "/ours", 21, X_Api_Key=key("second")) == [200] * 20 + [429]
        refused = await client.get("/ours")
        other = await client.get("/ours", headers={"X-Api-Key": key("other")})
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limit_exceeded")
    assert "this account" in refused.json()["detail"]
    assert refused.headers["retry-after"] == "1"
    assert other.status_code == 200, "accounts do not share what they get"


async def test_answers_tell_what_is_left(service: Service, limited: Callable[..., httpx.AsyncClient]) -> None:
    set_record(service, "good", requests_per_minute=3)
    async with limited() as client:
        first = await client.get("/ours")
        wrong = await client.get("/ours?x=1")
        await client.get("/ours")
        refused = await client.get("/ours")
    assert first.headers["ratelimit-policy"] == '"key";q=3;w=60, "tenant";q=60;w=60'
    assert first.headers["ratelimit"] == '"key";r=2;t=20, "tenant";r=59;t=1'
    names = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
    assert [first.headers[name] for name in names] == ["3", "2", "20"]
    assert (wrong.status_code, wrong.headers["x-ratelimit-remaining"]) == (400, "1"), "an error counts, and says so"
    assert (refused.status_code, refused.headers["x-ratelimit-remaining"], refused.headers["retry-after"]) == (429, "0", "20")


async def test_a_key_can_not_ask_more_than_its_account(service: Service, limited: Callable[..., httpx.AsyncClient]) -> None:
    set_record(service, "good", requests_per_minute=1_000)
    async with limited() as client:
        assert (await statuses(client, "/ours", 61))[-2:] == [200, 429]


async def test_time_brings_requests_back(limited: Callable[..., httpx.AsyncClient], clock: Clock) -> None:
    async with limited() as client:
        await statuses(client, "/ours", 60)
        clock.now_ns += SECOND_NS
        assert await statuses(client, "/ours", 2) == [200, 429]


@pytest.mark.parametrize("plan", ["local", "enterprise"])
async def test_plans_without_a_bound(service: Service, limited: Callable[..., httpx.AsyncClient], plan: str) -> None:
    set_record(service, "good", plan=plan)
    async with limited() as client:
        assert await statuses(client, "/ours", 200) == [200] * 200
        assert "ratelimit" not in (await client.get("/ours")).headers


async def test_the_local_user_is_not_limited(service: Service, limited: Callable[..., httpx.AsyncClient]) -> None:
    access = RecordingAccess(service.directory, Principal(TENANT, ALL_SCOPES, plan="local"))
    async with limited(name=None, peer="127.0.0.1", access=access) as client:
        assert await statuses(client, "/ours", 100) == [200] * 100
        assert await statuses(client, "/ours", 5, X_Api_Key="wrong") == [401] * 3 + [429] * 2
        assert await statuses(client, "/ours", 10) == [200] * 10, "a wrong key on this machine locks nobody out"


async def test_who_says_nothing_is_counted_by_network(limited: Callable[..., httpx.AsyncClient]) -> None:
    async with limited(name=None) as client, limited(name=None, peer="203.0.113.200") as neighbour:
        assert await statuses(client, "/open", 6) == [200] * 5 + [429]
        assert await statuses(neighbour, "/health", 50) == [200] * 50, "health checks are never refused"


async def test_guesses_are_refused_before_anything_is_looked_up(
    service: Service, limited: Callable[..., httpx.AsyncClient]
) -> None:
    async with limited(name=None) as client:
        found = [(await client.get("/ours", headers={"X-Api-Key": key(f"guess {n}")})).status_code for n in range(6)]
        assert found == [401] * 3 + [429] * 3
        assert len(service.directory.seen) == 3
        late = await client.get("/ours")
        assert (late.status_code, late.headers["ratelimit-policy"]) == (429, '"failures";q=3;w=60')
        assert (await client.get("/open")).status_code == 200


async def test_neighbours_of_a_guesser_who_are_at_work_go_on(limited: Callable[..., httpx.AsyncClient], clock: Clock) -> None:
    async with limited() as client:
        assert (await client.get("/ours")).status_code == 200
        await statuses(client, "/ours", 5, X_Api_Key=key("guess"))
        assert (await client.get("/ours")).status_code == 200
        assert await statuses(client, "/ours", 1, X_Api_Key=key("other")) == [429], "known nowhere yet: it may be a guess"
        assert await statuses(client, "/ours", 1, Authorization="Bearer guess") == [429]
        clock.now_ns += 20 * SECOND_NS
        assert await statuses(client, "/ours", 1, X_Api_Key=key("other")) == [200]


@pytest.mark.parametrize("trusted", ["none", "10.0.0.0/8"])
async def test_a_forged_x_forwarded_for_buys_nothing(limited: Callable[..., httpx.AsyncClient], trusted: str) -> None:
    async with limited(name=None, trusted_proxies=parse_networks(trusted)) as client:
        found = [
            (await client.get("/open", headers={"X-Forwarded-For": f"198.51.{n}.7, 10.0.0.1"})).status_code for n in range(6)
        ]
    assert found == [200] * 5 + [429]


async def test_behind_a_proxy_of_ours_clients_are_told_apart(limited: Callable[..., httpx.AsyncClient]) -> None:
    async with limited(name=None, peer="10.0.0.1", trusted_proxies=parse_networks("10.0.0.0/8")) as client:
        assert await statuses(client, "/open", 6, X_Forwarded_For="198.51.100.7") == [200] * 5 + [429]
        assert await statuses(client, "/open", 1, X_Forwarded_For="192.0.2.7") == [200]
        assert await statuses(client, "/open", 1, X_Forwarded_For="192.0.2.9, 198.51.100.8") == [429], "the rightmost counts"


async def test_detect_is_limited_and_the_demo_has_limits_of_its_own(service: Service, clock: Clock) -> None:
    set_record(service, "good", requests_per_minute=2)
    deps = dataclasses.replace(service.deps, rates=RateRules(clock))
    async with client_of_all(deps) as client:
        found = [(await client.post("/v1/detect", json={"events": ["a"]})).status_code for _ in range(3)]
    assert found == [200, 200, 429]
    assert len(service.house.submissions) == 2


def test_what_is_kept_is_bounded(clock: Clock) -> None:
    rules = RateRules(clock, networks_max=3, keys_max=3, tenants_max=3, credentials_max=3)
    traffic = Traffic(rules)
    for number in range(50):
        who = Principal(UUID(int=number), ALL_SCOPES, f"key {number}")
        traffic.known(who, [f"key {number}"])
        traffic.failed(f"network {number}")
        traffic.anonymous(f"network {number}")
    for kept in (traffic._networks, traffic._failing, traffic._keys, traffic._tenants, traffic._proven):
        assert len(kept) == 3


def test_people_have_the_limit_of_their_account(clock: Clock) -> None:
    traffic = Traffic(RateRules(clock))
    person = Principal(TENANT, frozenset(), user_id=UUID(int=1), role=Role.OWNER, plan="starter")
    decision = traffic.known(person, ["token"])
    assert decision is not None
    assert decision.headers()["RateLimit-Policy"] == '"user";q=120;w=60, "tenant";q=120;w=60'
