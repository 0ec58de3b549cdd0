"""One call of an operation, before it is sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx

from driftlock_client.codec import decoder, encode, text_of
from driftlock_client.errors import UnexpectedAnswer
from driftlock_client.values import UNSET, AnswerInfo, Content, Model, attach

T = TypeVar("T")
IDEMPOTENCY_KEY = "Idempotency-Key"
REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE"})
"""Methods that mean the same however often they arrive (RFC 9110, 9.2.2)."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request of an operation, and how its answers are read.

    `answers` has the type of each status below 300: a type of JSON, `Content` for a file, None for no body. `keyed`: it takes
    an Idempotency-Key.
    """

    method: str
    path: str
    answers: Mapping[int, Any]
    path_parameters: Mapping[str, object] = field(default_factory=dict)
    query: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: Mapping[str, object] | None = None
    keyed: bool = False

    def address(self) -> str:
        """Path and query, escaped; raises ValueError for a parameter that would be another path."""
        path = self.path
        for name, value in self.path_parameters.items():
            text = text_of(value)
            if text in ("", ".", ".."):
                raise ValueError(f"{name} is {text!r}, which can not be part of an address")
            path = path.replace(f"{{{name}}}", quote(text, safe=""))
        query = httpx.QueryParams({name: text_of(value) for name, value in self.query.items() if value is not None})
        return f"{path}?{query}" if query else path

    def prepared(self, idempotency_key: str) -> tuple[dict[str, str], bytes | None]:
        """Headers and body. `idempotency_key` is for an operation that takes one where the caller has none."""
        headers = {name: value for name, value in self.headers.items() if value is not None}
        if self.keyed:
            headers.setdefault(IDEMPOTENCY_KEY, idempotency_key)
        if self.body is None:
            return headers, None
        headers["Content-Type"] = "application/json"
        given = {name: encode(value) for name, value in self.body.items() if value is not UNSET}
        return headers, json.dumps(given, allow_nan=False, ensure_ascii=False).encode()

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent again when nobody knows if it arrived."""
        return self.method in REPEATABLE or self.keyed

    def read(self, response: httpx.Response) -> T:
        """The answer; raises `UnexpectedAnswer` for one that the operation does not have."""
        if response.status_code not in self.answers:
            raise UnexpectedAnswer(
                f"{self.method} {self.path} was answered {response.status_code}; is this a Driftlock server?"
            )
        kind = self.answers[response.status_code]
        answer: Any = None
        if kind is Content:
            answer = Content(response.content, response.headers.get("content-type", ""))
        elif kind is not None:
            answer = decoder(kind)(_json(response), "")
        if isinstance(answer, Model):
            headers = {name.lower(): value for name, value in response.headers.items()}
            attach(answer, AnswerInfo(response.status_code, headers))
        value: T = answer
        return value


def _json(response: httpx.Response) -> Any:
    try:
        return json.loads(response.content)
    except ValueError:
        kind = response.headers.get("content-type", "nothing").partition(";")[0]
        raise UnexpectedAnswer(f"the answer is {kind}, not JSON; is this a Driftlock server?") from None
