"""Bodies about people: signing up, who one is, members and invitations."""

from enum import StrEnum
from typing import Literal
from uuid import UUID

from pydantic import Field

from api.body import Body
from api.evidence_models import Timestamp
from driftlock.accounts.invitations import VALID
from driftlock.accounts.people import EMAIL_BYTES_MAX
from driftlock.storage.account_names import ACCOUNT_NAME_BYTES_MAX

TOKEN_CHARS_MAX = 128


class RoleName(StrEnum):
    """A person's place in an account; each may do what the ones before it may."""

    VIEWER = "viewer"
    MEMBER = "member"
    OWNER = "owner"


AskedRole = Literal["viewer", "member", "owner"]
"""A role as a request names it: bodies are read without conversions, and JSON has no enumerations."""


class SignUpRequest(Body):
    """What the new account is to be called."""

    name: str = Field(
        min_length=1,
        description=f"Name of the account, 1 to {ACCOUNT_NAME_BYTES_MAX} printable bytes; others may be called the same.",
    )


class AccountRef(Body):
    """Which account."""

    id: UUID = Field(description="Id of the account, for the header X-Driftlock-Tenant.")
    name: str
    plan: str = Field(description="Name of its plan.")


class SignUp(Body):
    """The account that this person has founded."""

    account: AccountRef
    role: RoleName
    created: bool = Field(description="Whether it was made by this request; false when it was there already.")
    api_key: str | None = Field(
        description="The first key, with the scopes `ingest` and `read`. It is shown this one time and stored nowhere; null "
        "when the account was there already: then make another key with POST /v1/api-keys."
    )


class User(Body):
    """Who has signed in."""

    id: UUID | None = Field(description="Null for somebody who is in no account.")
    email: str | None
    email_verified: bool
    name: str | None


class MyMembership(Body):
    """One of the person's accounts."""

    account: AccountRef
    role: RoleName
    since: Timestamp
    records_this_month: int = Field(description="Records of all signals that were taken in this calendar month (UTC).")


class Me(Body):
    """Who has signed in, and their accounts, the oldest membership first."""

    user: User
    memberships: tuple[MyMembership, ...]


class Member(Body):
    """Somebody who is in the account."""

    id: UUID = Field(description="Id of the person.")
    email: str = Field(description="Their address, as it was verified when they came.")
    name: str
    role: RoleName
    since: Timestamp


class MemberPage(Body):
    """Members, those who came first ahead."""

    members: tuple[Member, ...]
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last one.")


class MemberChange(Body):
    """Another role for a member."""

    role: AskedRole


class InvitationRequest(Body):
    """Who is invited, and as what."""

    email: str = Field(min_length=3, description=f"Address of who may accept it, of at most {EMAIL_BYTES_MAX} bytes.")
    role: AskedRole = Field(default="member", description="What they will be.")


class Invitation(Body):
    """An invitation that nobody has accepted yet."""

    id: UUID
    email: str
    role: RoleName
    invited_by: str = Field(description="How the one who invited is known.")
    created_at: Timestamp
    expires_at: Timestamp = Field(description=f"It can be accepted until then, {VALID.days} days after it was made.")


class NewInvitation(Body):
    """A new invitation, with its token."""

    invitation: Invitation
    token: str | None = Field(
        description="Give it to who is invited; it is shown this one time and stored nowhere. Null when an Idempotency-Key "
        "came again."
    )


class InvitationPage(Body):
    """Invitations, the newest first, expired ones included."""

    invitations: tuple[Invitation, ...]
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last one.")


class Acceptance(Body):
    """The token of an invitation."""

    token: str = Field(max_length=TOKEN_CHARS_MAX, description="As POST /v1/invitations showed it.")


class Accepted(Body):
    """The account that the person is in now."""

    account: AccountRef
    role: RoleName
