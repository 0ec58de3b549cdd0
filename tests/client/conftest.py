import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from uuid import UUID

import httpx
import pytest

from api.app import create_app
from driftlock.accounts.keys import ALL_SCOPES
from driftlock_client import AsyncClient, Client, Retry
from driftlock_client.sending import Surroundings
from tests.api.conftest import make_deps
from tests.api.fakes import TENANT, FakeDirectory, FakeHouse, RecordingAccess, key

URL = "http://127.0.0.1:8080"
NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


class Names:
    """Ids 1, 2, 3, ..."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> UUID:
        self.count += 1
        return UUID(int=self.count)


def world(chance: float = 0.5) -> Surroundings:
    return Surroundings(lambda: NOW, lambda: chance, Names())


class Waits:
    """Sleeps that take no time, and are noted."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)

    async def later(self, seconds: float) -> None:
        self.seconds.append(seconds)


class LoopThread(httpx.BaseTransport):
    """An ASGI application for clients without a loop: it runs in a loop of its own."""

    def __init__(self, app: Callable[..., object]) -> None:
        self._inner = httpx.ASGITransport(app=app, raise_app_exceptions=False, client=("127.0.0.1", 40000))  # type: ignore[arg-type]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not self._thread.is_alive():
            raise httpx.ConnectError("the application is closed")

        async def answer() -> tuple[httpx.Response, bytes]:
            response = await self._inner.handle_async_request(request)
            return response, await response.aread()

        response, content = asyncio.run_coroutine_threadsafe(answer(), self._loop).result(10)
        return httpx.Response(response.status_code, headers=response.headers, content=content)

    def close(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


@pytest.fixture
def house() -> FakeHouse:
    return FakeHouse()


@pytest.fixture
def app(house: FakeHouse) -> Callable[..., object]:
    """The application over fakes; `good` is a key with all scopes."""
    directory = FakeDirectory()
    directory.add("good", TENANT, ALL_SCOPES)
    return create_app(make_deps(house, RecordingAccess(directory)))


@pytest.fixture
def client(app: Callable[..., object]) -> Iterator[Client]:
    with Client(URL, key("good"), transport=LoopThread(app), surroundings=world(), sleep=Waits()) as made:
        yield made


@pytest.fixture
async def async_client(app: Callable[..., object]) -> AsyncIterator[AsyncClient]:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False, client=("127.0.0.1", 40000))  # type: ignore[arg-type]
    async with AsyncClient(URL, key("good"), transport=transport, surroundings=world(), sleep=Waits().later) as made:
        yield made


def answering(*outcomes: httpx.Response | Exception, seen: list[httpx.Request] | None = None) -> httpx.MockTransport:
    """A server that gives these answers one after the other, or breaks so."""
    rest = list(outcomes)

    def handle(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        outcome = rest.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return httpx.MockTransport(handle)


def client_of(transport: httpx.BaseTransport, waits: Waits, retry: Retry | None = None) -> Client:
    return Client(URL, "dl_live_x", transport=transport, surroundings=world(), sleep=waits, retry=retry)
