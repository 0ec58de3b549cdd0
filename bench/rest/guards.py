"""What the guards of every request cost: the application alone, in this process, with them and without, turn by turn.

No socket and no database: what stands behind the application is what stands behind it in its tests. CPU time, so that a busy
machine disturbs little.
"""

import gc
import itertools
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial

from starlette.applications import Starlette
from starlette.types import Message

from api.app import create_app
from api.deps import ApiDeps
from api.ratelimit import MINUTE_NS
from api.traffic import RateRules
from driftlock.accounts.keys import ALL_SCOPES
from tests.api.conftest import make_deps
from tests.api.fakes import TENANT, FakeDirectory, FakeHouse, RecordingAccess, key
from tests.e2e.harness import shop_log

ORIGIN = "https://shop.example"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
EVENTS = 100


@dataclass(frozen=True)
class Guard:
    """A guard: how the application is made with it, and what a request carries then."""

    name: str
    change: Callable[[ApiDeps], ApiDeps] = lambda deps: deps
    headers: dict[str, str] = field(default_factory=dict)


def _limited(deps: ApiDeps) -> ApiDeps:
    """A minute goes by with every look at the clock, so that nobody is ever refused."""
    ticks = itertools.count(step=MINUTE_NS)
    return replace(deps, rates=RateRules(lambda: next(ticks)))


def _crossed(deps: ApiDeps) -> ApiDeps:
    return replace(deps, cors_origins=(ORIGIN,))


GUARDS = (
    Guard("none"),
    Guard("rate limits", _limited),
    Guard("CORS", _crossed, {"origin": ORIGIN}),
    Guard("traceparent", headers={"traceparent": TRACEPARENT}),
    Guard("all", lambda deps: _crossed(_limited(deps)), {"origin": ORIGIN, "traceparent": TRACEPARENT}),
)
REQUESTS = {
    "GET /livez": ("GET", "/livez", b""),
    "GET /v1/version": ("GET", "/v1/version", b""),
    f"POST /v1/detect, {EVENTS} events": (
        "POST", "/v1/detect", json.dumps({"events": shop_log(EVENTS, EVENTS)}).encode(),
    ),
}  # fmt: skip


async def rows(*, quick: bool) -> list[dict[str, object]]:
    """CPU microseconds of a request by guard; `adds`: the median of the differences to the same turn without any."""
    found: list[dict[str, object]] = []
    turns = 5 if quick else 31
    for what, (method, path, body) in REQUESTS.items():
        taken: dict[str, list[float]] = {guard.name: [] for guard in GUARDS}
        for _ in range(turns):
            for guard in GUARDS:
                directory = FakeDirectory()
                directory.add("good", TENANT, ALL_SCOPES)
                app = create_app(guard.change(make_deps(FakeHouse(), RecordingAccess(directory))))
                ask = partial(_ask, app, method, path, body, {"x-api-key": key("good"), **guard.headers})
                taken[guard.name].append(await _cpu_us(ask, 20 if body else 50))
        for guard in GUARDS:
            differences = [one - bare for one, bare in zip(taken[guard.name], taken["none"], strict=True)]
            found.append(
                {
                    "part": "guards",
                    "what": what,
                    "guard": guard.name,
                    "CPU us": statistics.median(taken[guard.name]),
                    "adds us": statistics.median(differences),
                }
            )
    return found


async def _cpu_us(ask: Callable[[], Awaitable[None]], requests: int) -> float:
    for _ in range(3):
        await ask()
    gc.collect()
    gc.disable()  # whose turn it would be is chance
    try:
        began = time.process_time_ns()
        for _ in range(requests):
            await ask()
        return (time.process_time_ns() - began) / 1000 / requests
    finally:
        gc.enable()


async def _ask(app: Starlette, method: str, path: str, body: bytes, headers: dict[str, str]) -> None:
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "scheme": "http",
        "headers": [
            (name.encode(), value.encode())
            for name, value in {
                "host": "127.0.0.1:8080",
                "content-type": "application/json",
                "content-length": str(len(body)),
                **headers,
            }.items()
        ],
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", 8080),
    }
    statuses = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(scope, receive, send)
    if statuses != [200]:
        raise RuntimeError(f"{method} {path}: {statuses}")
