"""Entity tags (RFC 9110, sections 8.8.3 and 13.1.1): a change that is based on what a client has read, or none at all."""

import hashlib
import re
from collections.abc import Sequence

from pydantic import BaseModel

from api import headers
from api.endpoint import Call
from api.problems import BadMembers, ProblemMember
from driftlock.errors import PreconditionFailed

ETAG_HEADER = headers.ETAG.name
IF_MATCH_HEADER = headers.IF_MATCH.name
IF_MATCH_CHARS_MAX = 1_000
_TAGS = re.compile(r'(?:W/)?"[\x21\x23-\x7e]*"(?:[ \t]*,[ \t]*(?:W/)?"[\x21\x23-\x7e]*")*', re.ASCII)
_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]*"', re.ASCII)
_HASH_BYTES = 16


def etag_of(model: BaseModel) -> str:
    """The strong entity tag of what `model` says: equal for equal values, in every process and version of Python.

    Give it what a client may change and nothing that moves by itself (counts, times of the last use).
    """
    said = model.model_dump_json().encode()
    return f'"{hashlib.blake2b(said, digest_size=_HASH_BYTES).hexdigest()}"'


def check_if_match(call: Call, current_etag: str) -> None:
    """Raise `PreconditionFailed` when the request names entity tags in If-Match and `current_etag` is not among them.

    `*` stands for whatever there is. Weak tags never match (RFC 9110, section 13.1.1). A request without the header passes.
    What is read and what is then changed must be one step of the repository's: this compares, it does not lock.
    """
    values = call.request.headers.getlist(IF_MATCH_HEADER)
    if not names_a_state(call):
        return
    if current_etag not in _tags(values):
        raise PreconditionFailed("this was changed since you read it: get it again and repeat your change, with its new ETag")


def names_a_state(call: Call) -> bool:
    """Whether a change is bound to what its client has read: If-Match with entity tags, rather than `*`, or none.

    Then the repository has to look once more, in the transaction of the change.
    """
    values = call.request.headers.getlist(IF_MATCH_HEADER)
    return bool(values) and [value.strip() for value in values] != ["*"]


def _tags(values: Sequence[str]) -> list[str]:
    text = ", ".join(value.strip() for value in values)
    if len(text) > IF_MATCH_CHARS_MAX or _TAGS.fullmatch(text) is None:
        detail = f'must be * or entity tags such as "5d41", at most {IF_MATCH_CHARS_MAX} characters'
        raise BadMembers([ProblemMember(detail=detail, parameter=IF_MATCH_HEADER)])
    return [tag for tag in _TAG.findall(text) if not tag.startswith("W/")]
