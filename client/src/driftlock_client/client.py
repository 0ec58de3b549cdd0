"""The clients: an address, a credential, and every operation of the API."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar
from uuid import UUID, uuid4

import httpx

from driftlock_client import models
from driftlock_client.errors import ApiError, DriftlockError, OperationPending, UnexpectedAnswer
from driftlock_client.live import READ_TIMEOUT_S, Feed, LiveEvent
from driftlock_client.operations import AsyncOperations, Operations
from driftlock_client.retry import Retry, worth_it
from driftlock_client.sending import Surroundings, failure, problem_of, utc_now
from driftlock_client.values import UNSET, Unset
from driftlock_client.version import VERSION

ENDPOINT_VARIABLE, API_KEY_VARIABLE = "DRIFTLOCK_ENDPOINT", "DRIFTLOCK_API_KEY"
ENDPOINT_DEFAULT = "http://127.0.0.1:8080"
TIMEOUT_S = 30.0
"""Of one attempt: the server waits for up to 10 s until events are scored."""
WAIT_S = 60.0
POLL_S = 0.25
"""Between questions for an operation; the server itself waits for up to two seconds."""
_AUTHENTICATED = "X-Api-Key"
Self = TypeVar("Self", bound="Client")
AsyncSelf = TypeVar("AsyncSelf", bound="AsyncClient")


def _surroundings() -> Surroundings:
    return Surroundings(utc_now, random.random, uuid4)


def _options(base_url: str | None, api_key: str | None, token: str | None, account_id: UUID | None) -> dict[str, Any]:
    """Arguments of an HTTP client. The credential goes to `base_url` alone: redirects are not followed."""
    url = base_url if base_url is not None else os.environ.get(ENDPOINT_VARIABLE) or ENDPOINT_DEFAULT
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"the address {url!r} has no scheme; write it as http://host:port or https://host")
    headers = {"User-Agent": f"driftlock-client-python/{VERSION}", "Accept": "application/json, */*"}
    if token is not None:
        if api_key is not None:
            raise ValueError("give an API key or the token of a person, not both")
        headers["Authorization"] = f"Bearer {token}"
    elif key := api_key if api_key is not None else os.environ.get(API_KEY_VARIABLE):
        headers[_AUTHENTICATED] = key
    if account_id is not None:
        headers["X-Driftlock-Tenant"] = str(account_id)
    return {"base_url": url, "headers": headers, "follow_redirects": False}


class Client(Operations):
    """Every operation of the API, in the thread of the caller. Safe in several threads at once; not across a fork.

    `base_url` is DRIFTLOCK_ENDPOINT unless it is given, else the server of this machine; `api_key` is DRIFTLOCK_API_KEY.
    `token` is the ID token of somebody who has signed in, in place of a key, and `account_id` the account that is meant.
    `transport` is for proxies and tests. Methods raise `ApiError` for what the server refuses, `ConnectionFailed` where none
    answers, and `UnexpectedAnswer` for anything else; what may be sent again is, as `retry` says.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        token: str | None = None,
        account_id: UUID | None = None,
        retry: Retry | None = None,
        timeout_s: float = TIMEOUT_S,
        transport: httpx.BaseTransport | None = None,
        surroundings: Surroundings | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        options = _options(base_url, api_key, token, account_id)
        http = httpx.Client(**options, timeout=timeout_s, transport=transport)
        super().__init__(http, retry or Retry(), surroundings or _surroundings(), sleep)

    def __repr__(self) -> str:
        return f"Client({str(self._http.base_url)!r})"

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def detect_and_wait(
        self,
        events: Sequence[str | Mapping[str, Any]],
        *,
        stream_id: str | Unset = UNSET,
        idempotency_key: str | None = None,
        historical: bool | Unset = UNSET,
        config_override: models.ConfigOverride | Unset = UNSET,
        wait_s: float = WAIT_S,
    ) -> models.DetectResponse:
        """Score events, and wait for a result that takes longer than one answer; raises `OperationPending` after `wait_s`."""
        found = self.detect(
            events=events,
            stream_id=stream_id,
            idempotency_key=idempotency_key,
            historical=historical,
            config_override=config_override,
        )
        if found.operation is None:
            return found
        waiting = _Waiting(found.operation, wait_s)
        while True:
            operation = self.get_operation(waiting.operation_id)
            if operation.result is not None:
                return operation.result
            self._sleep(waiting.pause_s())

    def evidence(self, anomaly_id: str | UUID) -> bytes:
        """The signed evidence of an anomaly, as `driftlock verify` takes it; raises `NotFound` where there is none."""
        return self.get_evidence(anomaly_id).body

    def events_live(
        self, *, after: int | None = None, stream: str | UUID | None = None, min_surprise: float | None = None
    ) -> Iterator[LiveEvent]:
        """Findings and incidents as they come, each once, without an end.

        `after` is the id of the last event that was seen: 0 for the oldest that is kept, None for what comes next. Connections
        that end are opened again where they ended; raises `ApiError` when the server does not let us in.
        """
        feed = Feed(after, stream, min_surprise)
        while True:
            try:
                path, query, headers = feed.request()
                timeout = _feed_timeout(self._http.timeout)
                with self._http.stream("GET", path, params=query, headers=headers, timeout=timeout) as response:
                    if response.status_code != 200:
                        response.read()
                        raise _refusal(response, self._world)
                    feed.connected()
                    for piece in response.iter_bytes():
                        yield from feed.read(piece)
                wait_s = feed.wait_s(self._world.chance())
            except (ApiError, httpx.HTTPError) as error:
                wait_s = _again(feed, error, self._retry, self._world)
            self._sleep(wait_s)


class AsyncClient(AsyncOperations):
    """Every operation of the API, for asyncio. As `Client`, in one event loop."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        token: str | None = None,
        account_id: UUID | None = None,
        retry: Retry | None = None,
        timeout_s: float = TIMEOUT_S,
        transport: httpx.AsyncBaseTransport | None = None,
        surroundings: Surroundings | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        options = _options(base_url, api_key, token, account_id)
        http = httpx.AsyncClient(**options, timeout=timeout_s, transport=transport)
        super().__init__(http, retry or Retry(), surroundings or _surroundings(), sleep)

    def __repr__(self) -> str:
        return f"AsyncClient({str(self._http.base_url)!r})"

    async def __aenter__(self: AsyncSelf) -> AsyncSelf:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def detect_and_wait(
        self,
        events: Sequence[str | Mapping[str, Any]],
        *,
        stream_id: str | Unset = UNSET,
        idempotency_key: str | None = None,
        historical: bool | Unset = UNSET,
        config_override: models.ConfigOverride | Unset = UNSET,
        wait_s: float = WAIT_S,
    ) -> models.DetectResponse:
        """Score events, and wait for a result that takes longer than one answer; raises `OperationPending` after `wait_s`."""
        found = await self.detect(
            events=events,
            stream_id=stream_id,
            idempotency_key=idempotency_key,
            historical=historical,
            config_override=config_override,
        )
        if found.operation is None:
            return found
        waiting = _Waiting(found.operation, wait_s)
        while True:
            operation = await self.get_operation(waiting.operation_id)
            if operation.result is not None:
                return operation.result
            await self._sleep(waiting.pause_s())

    async def evidence(self, anomaly_id: str | UUID) -> bytes:
        """The signed evidence of an anomaly, as `driftlock verify` takes it; raises `NotFound` where there is none."""
        return (await self.get_evidence(anomaly_id)).body

    async def events_live(
        self, *, after: int | None = None, stream: str | UUID | None = None, min_surprise: float | None = None
    ) -> AsyncGenerator[LiveEvent, None]:
        """Findings and incidents as they come, each once, without an end; as `Client.events_live`."""
        feed = Feed(after, stream, min_surprise)
        while True:
            try:
                path, query, headers = feed.request()
                timeout = _feed_timeout(self._http.timeout)
                async with self._http.stream("GET", path, params=query, headers=headers, timeout=timeout) as response:
                    if response.status_code != 200:
                        await response.aread()
                        raise _refusal(response, self._world)
                    feed.connected()
                    async for piece in response.aiter_bytes():
                        for event in feed.read(piece):
                            yield event
                wait_s = feed.wait_s(self._world.chance())
            except (ApiError, httpx.HTTPError) as error:
                wait_s = _again(feed, error, self._retry, self._world)
            await self._sleep(wait_s)


class _Waiting:
    """How long an operation is waited for."""

    def __init__(self, operation_id: str, wait_s: float) -> None:
        self.operation_id, self._wait_s, self._until = operation_id, wait_s, time.monotonic() + wait_s

    def pause_s(self) -> float:
        """Seconds until the next question; raises `OperationPending` when the time is over."""
        left_s = self._until - time.monotonic()
        if left_s <= 0:
            raise OperationPending(self.operation_id, self._wait_s)
        return min(POLL_S, left_s)


def _feed_timeout(timeout: httpx.Timeout) -> httpx.Timeout:
    return httpx.Timeout(connect=timeout.connect, read=READ_TIMEOUT_S, write=timeout.write, pool=timeout.pool)


def _refusal(response: httpx.Response, world: Surroundings) -> DriftlockError:
    if response.status_code < 400:
        return UnexpectedAnswer(f"the feed was answered {response.status_code}; is this a Driftlock server?")
    return problem_of(response, world.now())


def _again(feed: Feed, error: ApiError | httpx.HTTPError, retry: Retry, world: Surroundings) -> float:
    """Seconds until the next connection to the feed; raises the error when there is no sense in one.

    A feed that has run before is waited for as long as it takes; one that was never there as long as any other request.
    """
    wait_s, never = feed.wait_s(world.chance()), not feed.seen
    if not worth_it(error, repeatable=True) or (never and feed.failures >= retry.attempts_max):
        raise error if isinstance(error, ApiError) else failure(error, feed.failures)
    asked_s = error.retry_after_s if isinstance(error, ApiError) else None
    return wait_s + (asked_s or 0.0)
