"""Bodies about API keys. The text of a key is in one answer only, the one that made it."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from api.body import Body
from api.evidence_models import Timestamp
from api.times import Time
from driftlock.accounts.keys import Scope
from driftlock.accounts.plans import REQUESTS_PER_MINUTE_MAX

OVERLAP_S_MAX = 30 * 86_400
OVERLAP_S_DEFAULT = 86_400
NAME_CHARS_MAX = 64
STREAM_CHARS_MAX = 64

ScopeName = Literal["ingest", "read", "admin"]


def _distinct(scopes: list[ScopeName]) -> list[ScopeName]:
    if len(set(scopes)) < len(scopes):
        raise ValueError("names a scope twice")
    return scopes


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must hold printable characters only")
    return text


Name = Annotated[str, Field(max_length=NAME_CHARS_MAX), AfterValidator(_printable)]
Scopes = Annotated[
    list[ScopeName],
    Field(min_length=1, max_length=len(Scope), json_schema_extra={"uniqueItems": True}),
    AfterValidator(_distinct),
]


class NewApiKey(Body):
    """A key to be made. Nobody can give more than they have."""

    name: Name = Field(default="", description="A word to recognise it by.")
    kind: Literal["live", "test"] = Field(default="live", description="Visible in the key; without effect on its rights.")
    scopes: Scopes = Field(
        description="What it may do: `ingest` sends records, `read` reads, `admin` changes settings and handles keys."
    )
    stream: Annotated[str, Field(min_length=1, max_length=STREAM_CHARS_MAX)] | None = Field(
        default=None, description="Name of the one stream that it may write to; it can have no other scope than `ingest` then."
    )
    expires_at: Time | None = Field(default=None, description="When it stops working; null: never.")
    requests_per_minute: int | None = Field(
        default=None, ge=1, le=REQUESTS_PER_MINUTE_MAX, description="A limit of its own, below that of the plan; null: none."
    )


class Rotation(Body):
    """How a key is replaced."""

    overlap_seconds: int = Field(
        default=OVERLAP_S_DEFAULT,
        ge=0,
        le=OVERLAP_S_MAX,
        description="How long the old key works beside the new one, 0 to 30 days; a day unless told.",
    )


class ApiKey(Body):
    """A key as its account sees it: everything but the key."""

    id: str = Field(description="The part of the key after `dl_live_`.")
    name: str
    kind: Literal["live", "test", "local"]
    scopes: tuple[ScopeName, ...]
    stream: str | None = Field(description="The one stream that it may write to; null: all.")
    status: Literal["active", "expired", "revoked"]
    requests_per_minute: int | None = Field(description="Its own limit; null: that of the plan alone.")
    replaces: str | None = Field(description="Id of the key that it was made to replace; null: none.")
    created_by: str = Field(description="Who made it: `key:` or `user:` and an id, or a word such as `command`.")
    created_at: Timestamp
    expires_at: Timestamp | None = Field(description="When it stops working; null: never.")
    revoked_at: Timestamp | None
    last_used_at: Timestamp | None = Field(description="About when it was last used, a minute late; null: never.")


class ApiKeyPage(Body):
    """One page of keys, the newest first."""

    api_keys: tuple[ApiKey, ...]
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last one.")


class CreatedApiKey(Body):
    """A new key."""

    api_key: ApiKey
    key: str | None = Field(
        description="The key itself, which is not shown again. Null where an answer is replayed for its Idempotency-Key: a key "
        "that did not arrive is to be revoked, and another one made."
    )


class RotatedApiKey(Body):
    """A new key, and until when the old one works."""

    api_key: ApiKey
    key: str | None = Field(description="The new key itself, which is not shown again; null where an answer is replayed.")
    replaced: ApiKey = Field(description="The old key; it works until its `expires_at`.")
