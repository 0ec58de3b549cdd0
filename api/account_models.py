"""Bodies about the account itself: settings, usage, the audit log, and its end."""

from datetime import date
from uuid import UUID

from pydantic import Field

from api.body import Body, optional
from api.evidence_models import Timestamp
from driftlock.accounts.actor import ActorKind
from driftlock.storage.account_names import ACCOUNT_NAME_BYTES_MAX

DEDUP_WINDOW_SECONDS_MAX = 86_400


class Account(Body):
    """An account and its settings."""

    id: UUID
    name: str
    plan: str = Field(description="Name of its plan.")
    created_at: Timestamp
    streams: int = Field(description="Streams that it has.")
    streams_max: int = Field(description="Streams that it may have; records of others go to `_overflow`.")
    dedup_window_seconds: int | None = Field(
        description="How long a resend of the same request is recognised, in seconds; null: as long as the server says."
    )


class AccountChange(Body):
    """What is to change of the account; a member that is left out stays as it is."""

    name: str = optional(f"Another name, 1 to {ACCOUNT_NAME_BYTES_MAX} printable bytes; other accounts may be called the same.")
    dedup_window_seconds: int | None = Field(
        default=None,
        ge=0,
        le=DEDUP_WINDOW_SECONDS_MAX,
        description=f"0 to {DEDUP_WINDOW_SECONDS_MAX:,}; 0: resends are not recognised; null: as long as the server says.",
    )


class AccountDeletion(Body):
    """Says that the account is really to go."""

    name: str = Field(description="Its name, as GET /v1/account has it.")


class UsageDay(Body):
    """What was taken in on one day (UTC)."""

    date: date
    logs: int = Field(description="Log records.")
    metrics: int = Field(description="Metric points.")
    traces: int = Field(description="Spans.")
    records: int = Field(description="All of them.")
    bytes: int = Field(description="What they held before compression.")


class UsagePage(Body):
    """Days with records, the newest first."""

    days: tuple[UsageDay, ...]
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last one.")


class AuditActor(Body):
    """Who has changed something."""

    kind: ActorKind
    id: str = Field(description="Of the key or the person; empty for the others.")
    name: str = Field(description="How people know it.")


class AuditEntry(Body):
    """One change of something of the account's."""

    id: UUID
    at: Timestamp
    actor: AuditActor
    action: str = Field(description="What was done, such as `key.created`.")
    target: str = Field(description="Id of what it was done to.")
    detail: dict[str, object] = Field(description="The rest, by action.")
    request_id: str = Field(description="Of the request that did it.")
    network: str = Field(description="Where that came from.")


class AuditPage(Body):
    """Changes, the newest first."""

    entries: tuple[AuditEntry, ...]
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last one.")
