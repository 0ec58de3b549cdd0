import asyncio
import dataclasses
import gc
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from api.app import create_app
from api.client_network import parse_networks
from api.deps import ApiLimits, DemoRules
from api.models import DemoResponse
from api.openapi import document
from api.routes import ENDPOINTS
from driftlock.engine.profile import DEFAULT_CODEC, PROFILES
from driftlock.engine.quick import QUICK_EVENTS_MIN
from driftlock.errors import Unavailable
from tests.api.conftest import Service
from tests.api.fakes import key

PATH = "/v1/demo/detect"
SECOND_NS = 1_000_000_000
Clients = Callable[..., httpx.AsyncClient]


class Clock:
    """A clock that stands until somebody moves it."""

    def __init__(self) -> None:
        self.ns = 1_000 * SECOND_NS

    def __call__(self) -> int:
        return self.ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Threads(ThreadPoolExecutor):
    """One thread; `works` are all that it was given."""

    def __init__(self) -> None:
        super().__init__(1)
        self.works: list[Future[Any]] = []

    def submit(self, *arguments: Any, **named: Any) -> Future[Any]:  # type: ignore[override]
        self.works.append(super().submit(*arguments, **named))
        return self.works[-1]


@pytest.fixture
def executor() -> Iterator[Threads]:
    with Threads() as threads:
        yield threads


@pytest.fixture
def gate(executor: Threads) -> Iterator[threading.Event]:
    """Until it is set, the thread does nothing else than wait for it."""
    opened = threading.Event()
    executor.submit(opened.wait)
    yield opened
    opened.set()


@pytest.fixture
def rules(clock: Clock, executor: Threads) -> DemoRules:
    return DemoRules(10, 120, (), clock, executor)


@pytest.fixture
def clients(service: Service, rules: DemoRules) -> Clients:
    """`clients(peer=..., limits=..., **rules)`: clients without a key; those without other limits or rules share one app."""
    apps: dict[str, Any] = {}

    def make(
        peer: str = "203.0.113.9", *, limits: ApiLimits | None = None, app: str = "", **changes: object
    ) -> httpx.AsyncClient:
        name = app or repr((limits, changes))
        if name not in apps:
            changed = dataclasses.replace(rules, **changes)  # type: ignore[arg-type]
            apps[name] = create_app(dataclasses.replace(service.deps, demo=changed, limits=limits or ApiLimits()))
        transport = httpx.ASGITransport(app=apps[name], raise_app_exceptions=False, client=(peer, 40000))
        return httpx.AsyncClient(transport=transport, base_url="http://demo.example")

    return make


@pytest.fixture
async def client(clients: Clients) -> AsyncIterator[httpx.AsyncClient]:
    async with clients() as made:
        yield made


def lines(count: int = 60, aliens: int = 5) -> list[str]:
    """A small log; the last lines but five are of a kind that was never there before."""
    usual = [f"INFO order {n} stored in {n % 7} ms" if n % 3 else f"DEBUG cart {n} loaded by worker {n}" for n in range(count)]
    usual[count - 5 - aliens : count - 5] = [f"ERROR gateway {n} refused certificate: unknown authority" for n in range(aliens)]
    return usual


async def post(client: httpx.AsyncClient, body: object, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()} | {"Content-Type": "application/json"}
    return await client.post(PATH, content=body if isinstance(body, bytes) else json.dumps(body), headers=named)


def pointers(response: httpx.Response) -> list[str]:
    assert response.headers["Content-Type"] == "application/problem+json"
    return [member["pointer"] for member in response.json()["errors"]]


async def test_what_is_new_is_told_without_a_key_and_nothing_is_stored(service: Service, client: httpx.AsyncClient) -> None:
    response = await post(client, {"events": lines()}, X_Request_ID="me-1")
    assert response.status_code == 200, response.text
    body = DemoResponse.model_validate_json(response.content)
    assert (body.request_id, body.status, body.processed) == ("me-1", "provisional", 60)
    assert (body.calibration.events, body.calibration.needed, body.calibration.percent) == (60, 4940, 1)
    found = body.anomalies[0]
    assert "refused certificate" in found.explanation
    assert found.lines[0].text.startswith("ERROR gateway")
    assert any(part.novel for part in found.lines[0].segments)
    assert found.p_value == found.p_permutation <= 0.05
    assert any("refused certificate" in line for line in found.window_lines)
    assert found.baseline_lines
    assert not any("certificate" in line for line in found.baseline_lines)
    metrics = body.metrics
    assert (metrics.baseline, metrics.window, metrics.hop, metrics.codec, metrics.windows) == (30, 7, 3, DEFAULT_CODEC, 9)
    assert metrics.scaled
    assert (body.profile.name, body.profile.ncd_threshold, body.profile.baseline_size) == ("custom", 0.3, 30)
    assert body.remaining == 9
    assert service.house.submissions == []
    assert service.access.seen == []


async def test_lines_like_those_before_have_no_anomaly(client: httpx.AsyncClient) -> None:
    body = (await post(client, {"events": lines(aliens=0)})).json()
    assert body["anomalies"] == []
    assert body["anomalies_truncated"] is False


async def test_equal_requests_get_equal_answers(client: httpx.AsyncClient) -> None:
    first, second = [(await post(client, {"events": lines()})).json() for _ in range(2)]
    for body in (first, second):
        del body["request_id"], body["remaining"], body["metrics"]["duration_ms"]
    assert first == second


async def test_events_are_those_of_detect(client: httpx.AsyncClient) -> None:
    events = [{"time": 1213455361 + n, "text": text, "pod": "a"} for n, text in enumerate(lines())]
    found = (await post(client, {"events": events})).json()["anomalies"][0]
    assert found["window_lines"][0].endswith(" pod=a")
    assert found["start"].startswith("2008-06-14T14:56:")
    untimed = (await post(client, {"events": lines()})).json()["anomalies"][0]
    assert (untimed["start"], untimed["end"], untimed["receive_timed"]) == (None, None, False)
    bad = await post(client, {"events": [*lines(), {"time": "noon"}]})
    assert (bad.status_code, pointers(bad)) == (400, ["/events/60/time"])


async def test_what_was_cut_is_counted(client: httpx.AsyncClient) -> None:
    events = [*lines(), {"text": "x", **{f"a{n}": n for n in range(130)}}, "\ud800"]
    body = (await post(client, {"events": events})).json()
    assert body["cuts"] == {"truncated": 0, "attributes_dropped": 2, "replaced": 1}


async def test_a_profile_can_be_overridden(client: httpx.AsyncClient) -> None:
    override = {"baseline_size": 20, "window_size": 10, "hop_size": 5, "ncd_threshold": 0.2, "p_value_threshold": 0.1}
    override |= {"codec": "gzip", "codec_level": 9, "permutations_max": 99}
    body = (await post(client, {"events": lines(), "config_override": override})).json()
    assert {name: body["profile"][name] for name in override} == override
    assert (body["profile"]["name"], body["metrics"]["scaled"]) == ("custom", False)
    assert (body["metrics"]["baseline"], body["metrics"]["window"], body["metrics"]["hop"]) == (20, 10, 5)
    [codec] = {(found["codec"]["name"], found["codec"]["level"]) for found in body["anomalies"]}
    assert codec == ("gzip", 9)
    assert all(found["permutations"] <= 99 and found["ncd_threshold"] == 0.2 for found in body["anomalies"])
    assert (await post(client, {"events": lines(), "config_override": {}})).status_code == 200


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ({"ncd_threshold": 0}, ["ncd_threshold"]),
        ({"ncd_threshold": "0.3"}, ["ncd_threshold"]),
        ({"p_value_threshold": 2, "hop_size": 0, "window_size": 10**9}, ["hop_size", "p_value_threshold", "window_size"]),
        ({"window_size": 10.5}, ["window_size"]),
        ({"window_size": True}, ["window_size"]),
        ({"hop_size": 51}, ["hop_size"]),
        ({"baseline_size": 20}, ["baseline_size"]),
        ({"codec": "brotli"}, ["codec"]),
        ({"codec": ["zstd"]}, ["codec"]),
        ({"codec_level": 99}, ["codec_level"]),
        ({"permutations_max": 10_001}, ["permutations_max"]),
        ({"name": "balanced"}, ["name"]),
        ({"a/b": 1, "threads": 64}, ["a~1b", "threads"]),
        ({"ncd_threshold": None}, ["ncd_threshold"]),
    ],
)
async def test_every_wrong_member_of_an_override_is_pointed_at(
    clients: Clients, override: dict[str, object], expected: list[str]
) -> None:
    async with clients() as client:
        response = await post(client, {"events": lines(), "config_override": override})
    assert response.status_code == 400
    assert sorted(pointers(response)) == [f"/config_override/{name}" for name in expected]


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b"", 400, "empty"),
        (b"{", 400, "not JSON"),
        (b"[]", 400, "not a JSON object"),
        (b"null", 400, "not a JSON object"),
        (b"\xff\xfe{}", 400, "byte order mark"),
        (b'{"events": ["\xff"]}', 400, "not UTF-8"),
        (b'{"events": [NaN]}', 400, "NaN"),
        (b'{"events": [], "events": []}', 400, "twice"),
        (b'{"events": ' + b"[" * 1000 + b"]" * 1000 + b"}", 400, "nests deeper"),
        (b'{"events": [' + b"9" * 5000 + b"]}", 400, "64 bits"),
        (b"{}", 400, "/events"),
        (b'{"events": []}', 400, "/events"),
        (b'{"events": "all"}', 400, "/events"),
        (b'{"events": [1]}', 400, f"at least {QUICK_EVENTS_MIN} (events_min)"),
        (json.dumps({"events": [*["x"] * 20, 7]}).encode(), 400, "/events/20"),
        (json.dumps({"events": ["x"] * 20, "config_override": []}).encode(), 400, "/config_override"),
        (json.dumps({"events": ["x"] * 20, "stream_id": "a"}).encode(), 400, "/stream_id"),
        (json.dumps({"events": ["x"] * 15}).encode(), 400, f"at least {QUICK_EVENTS_MIN} (events_min)"),
        (json.dumps({"events": ["x"] * 201}).encode(), 413, "201 events, the demo takes at most 200 (demo_events_max)"),
    ],
    ids=range(19),
)
async def test_hostile_bodies_are_refused_with_what_is_wrong(clients: Clients, body: bytes, status: int, told: str) -> None:
    async with clients() as client:
        response = await post(client, body)
    assert response.status_code == status
    assert told in response.json()["detail"]
    assert response.headers["RateLimit"].startswith('"network";r=9;'), "a wrong request counts as well"


async def test_two_hundred_events_are_taken(client: httpx.AsyncClient) -> None:
    response = await post(client, {"events": lines(200, 20)})
    assert response.status_code == 200
    assert response.json()["anomalies"]


@pytest.mark.parametrize("events", [[""] * 200, ["\x00"] * 200, ["same"] * 200, [{}] * 200, ["a" * 1200] * 200])
async def test_odd_events_are_judged(client: httpx.AsyncClient, events: list[object]) -> None:
    response = await post(client, {"events": events})
    assert response.status_code == 200
    assert response.json()["anomalies"] == []


async def test_a_body_is_limited_before_it_is_parsed(clients: Clients) -> None:
    async with clients(limits=ApiLimits(demo_request_bytes_max=5000)) as client:
        assert (await post(client, b"{" + b" " * 4999)).json()["detail"].startswith("the body is not JSON")
        declared = await post(client, b"{" + b" " * 5000)
        assert declared.status_code == 413
        assert "5000 bytes (demo_request_bytes_max)" in declared.json()["detail"]

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b" " * 1000

        streamed = await client.post(PATH, content=endless(), headers={"Content-Type": "application/json"})
        assert streamed.status_code == 413


async def test_anomalies_are_limited(clients: Clients) -> None:
    body = {"events": lines(200, 60), "config_override": {"baseline_size": 40, "window_size": 5, "hop_size": 5}}
    async with clients(limits=ApiLimits(demo_anomalies_max=2)) as client:
        answer = (await post(client, body)).json()
    assert len(answer["anomalies"]) == 2
    assert answer["anomalies_truncated"] is True


async def test_ten_calls_a_minute_then_429_with_the_time_to_wait(client: httpx.AsyncClient, clock: Clock) -> None:
    remaining = [(await post(client, {"events": lines(16, 0)})).json()["remaining"] for _ in range(10)]
    assert remaining == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    refused = await post(client, b"is not even looked at")
    assert refused.status_code == 429
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.headers["Retry-After"] == "6"
    assert refused.headers["RateLimit-Policy"] == '"network";q=10;w=60, "global";q=120;w=60'
    assert refused.headers["RateLimit"] == '"network";r=0;t=60, "global";r=110;t=5'
    assert refused.headers["X-Request-ID"] == refused.json()["request_id"]
    assert refused.json()["code"] == "rate_limit_exceeded"
    assert "10 calls a minute from your network" in refused.json()["detail"]
    clock.ns += 6 * SECOND_NS
    passed = await post(client, {"events": lines(16, 0)})
    assert passed.status_code == 200
    assert passed.headers["RateLimit"] == '"network";r=0;t=60, "global";r=119;t=1'
    assert passed.headers["RateLimit-Policy"] == refused.headers["RateLimit-Policy"]


async def test_loopback_and_a_key_make_no_difference(service: Service, rules: DemoRules) -> None:
    app = create_app(dataclasses.replace(service.deps, demo=rules))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://127.0.0.1:8080", headers={"X-Api-Key": key("good")}
    ) as client:
        statuses = [(await post(client, {"events": []})).status_code for _ in range(11)]
    assert statuses == [400] * 10 + [429]


async def test_networks_are_limited_by_themselves_and_all_together(clients: Clients) -> None:
    one = {"requests_per_minute": 2, "global_requests_per_minute": 5}
    statuses = []
    for peer in ["203.0.113.9", "203.0.113.77", "203.0.113.5", "198.51.100.1", "2001:db8::1", "2001:db8:0:9::1", "192.0.2.1"]:
        async with clients(peer, **one) as client:
            statuses.append((await post(client, {"events": []})).status_code)
    assert statuses == [400, 400, 429, 400, 400, 400, 429]
    async with clients("192.0.2.1", **one) as client:
        refused = await post(client, {"events": []})
    assert "5 calls a minute from all networks together" in refused.json()["detail"]
    assert refused.headers["Retry-After"] == "12"


async def test_x_forwarded_for_counts_only_from_a_trusted_proxy(clients: Clients) -> None:
    rules = {"requests_per_minute": 1, "trusted_proxies": parse_networks("10.0.0.0/8")}

    async def status(peer: str, forwarded: str) -> int:
        async with clients(peer, **rules) as client:
            return (await post(client, {"events": []}, X_Forwarded_For=forwarded)).status_code

    assert await status("198.51.100.1", "192.0.2.1") == 400
    assert await status("198.51.100.1", "192.0.2.99, 10.0.0.1") == 429, "a stranger can not pass for another"
    assert await status("10.0.0.1", "192.0.2.1") == 400
    assert await status("10.0.0.1", "203.0.113.7, 192.0.2.2") == 429, "the part that the client wrote is not looked at"
    assert await status("10.0.0.1", "garbage") == 400
    assert await status("10.0.0.2", "more garbage") == 429, "nonsense counts as the proxy's"


async def test_no_spelling_of_the_path_gets_around_the_limit(clients: Clients) -> None:
    async with clients(requests_per_minute=1) as client:
        assert (await post(client, {"events": []})).status_code == 400
        for path in (f"{PATH}%0A", "/v1/demo%2Fdetect", "/v1//demo/detect", f"{PATH}/", f"{PATH}?x=1", "/v1/demo/./detect"):
            response = await client.post(path, content="{}", headers={"Content-Type": "application/json"})
            assert response.status_code in (404, 429), path


async def test_other_methods_do_not_count(client: httpx.AsyncClient) -> None:
    assert (await client.get(PATH)).status_code == 405
    assert (await post(client, {"events": lines(16, 0)})).json()["remaining"] == 9


async def test_other_endpoints_have_no_such_headers(client: httpx.AsyncClient) -> None:
    assert "RateLimit" not in (await client.get("/livez")).headers


async def test_only_some_requests_are_under_way_at_once(clients: Clients, gate: threading.Event) -> None:
    async with clients(limits=ApiLimits(demo_requests_in_flight_max=2)) as client:
        waiting = [asyncio.create_task(post(client, {"events": lines()})) for _ in range(2)]
        await asyncio.sleep(0.05)
        async with asyncio.timeout(5):
            refused = await post(client, {"events": lines()})
        gate.set()
        answers = await asyncio.gather(*waiting)
        after = await post(client, {"events": lines()})
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert "demo_requests_in_flight_max" in refused.json()["detail"]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert after.json()["remaining"] == 6, "the refused one counts as well"


async def test_a_detection_that_takes_too_long_is_left_and_its_thread_is_free_again(
    clients: Clients, executor: Threads, gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    async with clients(limits=ApiLimits(demo_ms_max=20, demo_requests_in_flight_max=1)) as client:
        waiting = asyncio.create_task(post(client, {"events": lines()}))
        await asyncio.sleep(0.1)
        async with asyncio.timeout(5):
            second = await post(client, {"events": lines()})
        assert "demo_requests_in_flight_max" in second.json()["detail"], "it counts until its thread is free"
        gate.set()
        answer = await waiting
    assert answer.status_code == 503
    assert "20 ms (demo_ms_max)" in answer.json()["detail"]
    with pytest.raises(Unavailable, match="abandoned"):
        executor.works[-1].result(timeout=5)
    assert_nothing_forgotten(caplog, executor)


async def test_a_request_that_is_cut_off_leaves_nothing_behind(
    clients: Clients, executor: Threads, gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    async with clients(limits=ApiLimits(demo_requests_in_flight_max=1)) as client:
        waiting = asyncio.create_task(post(client, {"events": lines()}))
        await asyncio.sleep(0.1)
        assert len(executor.works) == 2
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        gate.set()
        assert (await post(client, {"events": lines()})).status_code == 200
    del waiting
    assert_nothing_forgotten(caplog, executor)


def assert_nothing_forgotten(caplog: pytest.LogCaptureFixture, executor: Threads) -> None:
    """asyncio logs errors that nobody has looked at when their futures are collected."""
    executor.works.clear()  # they hold those futures
    gc.collect()
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []


async def test_where_it_is_switched_off_it_is_neither_served_nor_described(service: Service) -> None:
    app = create_app(dataclasses.replace(service.deps, demo=None))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://demo.example") as client:
        assert (await post(client, {"events": lines()})).status_code == 404
        assert PATH not in (await client.get("/v1/openapi.json")).json()["paths"]


async def test_where_it_is_served_it_is_described(client: httpx.AsyncClient) -> None:
    operation = (await client.get("/v1/openapi.json")).json()["paths"][PATH]["post"]
    assert operation["security"] == []
    assert {"200", "400", "413", "415", "429", "500", "503"} <= set(operation["responses"])
    assert "401" not in operation["responses"]
    assert document(ENDPOINTS, "1")["components"]["schemas"]["DemoRequest"]["required"] == ["events"]


def test_the_profile_of_the_demo_is_the_default_one(service: Service) -> None:
    assert service.deps.detector.profile == PROFILES["balanced"]
