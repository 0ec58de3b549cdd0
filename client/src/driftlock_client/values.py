"""What answers and requests are made of besides the generated models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Unset(Enum):
    """The type of `UNSET`, which stands for a member that is not sent at all: null is a value of its own."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> bool:
        return False


UNSET: Final = Unset.UNSET


@dataclass(frozen=True, slots=True)
class AnswerInfo:
    """The HTTP side of an answer. Names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]

    @property
    def request_id(self) -> str | None:
        """Finds the line of the request in the server's log."""
        return self.headers.get("x-request-id")

    @property
    def etag(self) -> str | None:
        """Entity tag of the resource, for `if_match`."""
        return self.headers.get("etag")

    @property
    def location(self) -> str | None:
        """Path of what was made, or of the operation that will have the result."""
        return self.headers.get("location")

    @property
    def replayed(self) -> bool:
        """Whether this is the stored answer of an earlier request with the same Idempotency-Key."""
        return self.headers.get("idempotency-replayed") == "true"


class Model:
    """Base of everything that a server answers. Members that this version does not know are left out."""

    __slots__ = ("_answer",)


@dataclass(frozen=True, slots=True)
class Content(Model):
    """An answer that is a file."""

    body: bytes
    media_type: str

    @property
    def text(self) -> str:
        """The file as UTF-8; raises UnicodeDecodeError for one that is not text."""
        return self.body.decode()


def attach(model: Model, answer: AnswerInfo) -> None:
    """Keep the HTTP side of an answer beside it."""
    object.__setattr__(model, "_answer", answer)


def answer_of(model: Model) -> AnswerInfo:
    """The HTTP side of an answer: entity tag, request id, location; raises ValueError for what was not answered itself.

    It is known of what a method returned, not of parts of it and not of copies.
    """
    answer = getattr(model, "_answer", None)
    if not isinstance(answer, AnswerInfo):
        raise ValueError("this was not returned by a method of a client; ask for the whole answer")
    return answer
