"""How calls are sent, and sent again: what the generated operations stand on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

import httpx

from driftlock_client.errors import ApiError, ConnectionFailed, UnexpectedAnswer, error_of
from driftlock_client.request import Call
from driftlock_client.retry import Retry, worth_it

T = TypeVar("T")
Page = TypeVar("Page")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What sending takes from the world: the time, chance in [0, 1), and names that nobody else has."""

    now: Callable[[], datetime]
    chance: Callable[[], float]
    new_id: Callable[[], UUID]


@dataclass(slots=True)
class Attempts:
    """The attempts at one call."""

    call: Call[Any]
    retry: Retry
    world: Surroundings
    made: int = field(default=0, init=False)

    def request(self, http: httpx.Client | httpx.AsyncClient, key: str) -> httpx.Request:
        """The request of the next attempt."""
        self.made += 1
        headers, body = self.call.prepared(key)
        return http.build_request(self.call.method, self.call.address(), headers=headers, content=body)

    def after(self, outcome: httpx.Response | httpx.HTTPError) -> float:
        """Seconds until the next attempt; raises the error of this one when there is none."""
        error = problem_of(outcome, self.world.now()) if isinstance(outcome, httpx.Response) else outcome
        if worth_it(error, repeatable=self.call.repeatable):
            asked_s = error.retry_after_s if isinstance(error, ApiError) else None
            wait_s = self.retry.wait_s(self.made, asked_s, self.world.chance())
            if wait_s is not None:
                return wait_s
        raise error if isinstance(error, ApiError) else failure(error, self.made)


class Sender:
    """Sends calls, and waits between attempts in the thread of the caller. Safe in several threads at once."""

    def __init__(self, http: httpx.Client, retry: Retry, world: Surroundings, sleep: Callable[[float], None]) -> None:
        self._http, self._retry, self._world, self._sleep = http, retry, world, sleep

    def _send(self, call: Call[T]) -> T:
        attempts, key = Attempts(call, self._retry, self._world), str(self._world.new_id())
        while True:
            request = attempts.request(self._http, key)
            try:
                response = self._http.send(request)
            except httpx.HTTPError as error:
                wait_s = attempts.after(error)
            else:
                if response.status_code < 400:
                    return call.read(response)
                wait_s = attempts.after(response)
            self._sleep(wait_s)

    def _pages(
        self, fetch: Callable[[str | None], Page], items: Callable[[Page], Sequence[T]], following: Callable[[Page], str | None]
    ) -> Iterator[T]:
        cursor: str | None = None
        while True:
            page = fetch(cursor)
            yield from items(page)
            cursor = _next(cursor, following(page))
            if cursor is None:
                return


class AsyncSender:
    """Sends calls in an asyncio event loop."""

    def __init__(
        self, http: httpx.AsyncClient, retry: Retry, world: Surroundings, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._http, self._retry, self._world, self._sleep = http, retry, world, sleep

    async def _send(self, call: Call[T]) -> T:
        attempts, key = Attempts(call, self._retry, self._world), str(self._world.new_id())
        while True:
            request = attempts.request(self._http, key)
            try:
                response = await self._http.send(request)
            except httpx.HTTPError as error:
                wait_s = attempts.after(error)
            else:
                if response.status_code < 400:
                    return call.read(response)
                wait_s = attempts.after(response)
            await self._sleep(wait_s)

    async def _pages(
        self,
        fetch: Callable[[str | None], Awaitable[Page]],
        items: Callable[[Page], Sequence[T]],
        following: Callable[[Page], str | None],
    ) -> AsyncIterator[T]:
        cursor: str | None = None
        while True:
            page = await fetch(cursor)
            for item in items(page):
                yield item
            cursor = _next(cursor, following(page))
            if cursor is None:
                return


def problem_of(response: httpx.Response, now: datetime) -> ApiError:
    """The error of an answer that has been read."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return error_of(response.status_code, headers, response.content, now)


def failure(error: httpx.HTTPError, attempts: int) -> ConnectionFailed:
    """What broke, in words that callers know."""
    times = "" if attempts == 1 else f" after {attempts} attempts"
    failed = ConnectionFailed(f"{type(error).__name__}: {str(error) or 'no answer'}{times}; is the server there?")
    failed.__cause__ = error
    return failed


def utc_now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)


def _next(cursor: str | None, following: str | None) -> str | None:
    if following is not None and following == cursor:
        raise UnexpectedAnswer(f"the page after {json.dumps(cursor)} is the same page")
    return following
