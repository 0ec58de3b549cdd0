"""Requests as checked models: what a body is called, what a query holds, and which members of them are wrong."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from api.problems import BadMembers, ProblemMember
from api.replies import JSON_MEDIA_TYPE
from driftlock.accounts.metering import Refusal
from driftlock.errors import UnsupportedEncoding

MERGE_PATCH_MEDIA_TYPE = "application/merge-patch+json"
BODY_BYTES_INLINE_MAX = 64 * 1024
"""A larger body is parsed in a thread, so that other requests are not held up."""

Result = TypeVar("Result")


class Query(BaseModel):
    """Base of query strings: an unknown or repeated parameter is an error that names it."""

    model_config = {"frozen": True, "extra": "forbid"}


QueryModel = TypeVar("QueryModel", bound=Query)


async def off_loop(size_bytes: int, work: Callable[[], Result]) -> Result:
    """Do `work` at once when it is about few bytes, else in a thread."""
    return work() if size_bytes <= BODY_BYTES_INLINE_MAX else await asyncio.to_thread(work)


def parse_query(request: Request, model: type[Query]) -> Query:
    """The query string as `model`; raise `BadMembers` naming each wrong parameter."""
    values: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in values:
            raise BadMembers([ProblemMember(detail="is given twice", parameter=name)])
        values[name] = value
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise BadMembers(members_of(error, pointers=False)) from None


def pointer(*parts: str | int) -> str:
    """A JSON pointer (RFC 6901).

    >>> pointer("events", 3, "a/b")
    '/events/3/a~1b'
    """
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def body_media_types(method: str) -> tuple[str, ...]:
    """What a body may be called: JSON, and for PATCH the patch that it is (RFC 7396)."""
    return (JSON_MEDIA_TYPE, MERGE_PATCH_MEDIA_TYPE) if method == "PATCH" else (JSON_MEDIA_TYPE,)


def check_content(request: Request) -> None:
    """Raise `UnsupportedEncoding` unless the body is said to be plain JSON in UTF-8."""
    media_type, _, parameters = request.headers.get("Content-Type", "").partition(";")
    if media_type.strip().lower() not in body_media_types(request.method):
        text = f"send the header Content-Type: {JSON_MEDIA_TYPE}"
        raise UnsupportedEncoding(text, reason=Refusal.UNSUPPORTED_TYPE)
    name, _, charset = parameters.strip().lower().partition("=")
    if name == "charset" and charset.strip('"') not in ("utf-8", "utf8"):
        raise UnsupportedEncoding("send JSON in UTF-8", reason=Refusal.UNSUPPORTED_TYPE)
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedEncoding("send the body without Content-Encoding; compressed bodies are for the OTLP endpoints")


def members_of(error: ValidationError, *, pointers: bool) -> list[ProblemMember]:
    """The wrong members of a body (`pointers`) or of a query."""
    members = []
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        place = [part if isinstance(part, int) else part[:200] for part in item["loc"]]
        if item["type"] == "extra_forbidden":
            detail = "is not a known field" if pointers else "is not a parameter of this request"
        elif item["type"] == "model_type":
            detail = "the body is not a JSON object"
        else:
            detail = _decapitalise(item["msg"])
        if pointers:
            members.append(ProblemMember(detail=detail, pointer=pointer(*place)))
        else:
            members.append(ProblemMember(detail=detail, parameter=".".join(str(part) for part in place)))
    return members


def _decapitalise(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
