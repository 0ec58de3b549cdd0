"""What the API needs where people sign in: who vouches for them, their accounts, and how often networks may sign up."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from api.ratelimit import RateLimiter
from driftlock.accounts.actor import Actor
from driftlock.accounts.invitations import MintedInvitation
from driftlock.accounts.keys import MintedKey, Role
from driftlock.accounts.people import Identity, Person
from driftlock.storage.invitations import InvitationRow
from driftlock.storage.members import MemberRow
from driftlock.storage.users import SignedUp

__all__ = [
    "InvitationRepository",
    "InvitationRow",
    "MemberRepository",
    "MemberRow",
    "PeopleDeps",
    "PeopleDirectory",
    "PublicFirebase",
    "SignIns",
    "SignedUp",
    "UserRepository",
]


class SignIns(Protocol):
    """Verifies the tokens of people who have signed in."""

    async def verify(self, token: str, *, now_s: int, fresh: bool) -> Identity:
        """Who a token is about at `now_s`, Unix seconds. `fresh`: what is asked for takes a sign-in that still stands.

        Raises `Unauthenticated` with one text for every reason, `Unavailable` while it can not be told, and `SignInAgain` for
        `fresh` where nobody can be asked and the sign-in is old.
        """
        ...


class PeopleDirectory(Protocol):
    """Where people are looked up."""

    async def lookup(self, key: tuple[str, str], now: datetime) -> Person:
        """What is known of the person that an identity's `key` stands for, at most some seconds old. Raises `Unavailable`."""
        ...

    def forget(self) -> None:
        """Remember nothing: somebody's accounts have just changed."""
        ...


class UserRepository(Protocol):
    """People who have been in an account (`driftlock.storage.users.Users`)."""

    async def sign_up(self, identity: Identity, name: str, minted: MintedKey, actor: Actor) -> SignedUp:
        """The account that this person has founded, made now if there is none. Raises `Conflict` for a name that is taken."""
        ...

    async def records_since(self, tenant_ids: Collection[UUID], since: datetime) -> Mapping[UUID, int]:
        """How many records were metered for accounts."""
        ...


class MemberRepository(Protocol):
    """Members of one account by (since, user id)."""

    async def list(self, tenant_id: UUID, *, limit: int, after: tuple[datetime, UUID] | None) -> Sequence[MemberRow]:
        """One page, ascending."""
        ...

    async def get(self, tenant_id: UUID, user_id: UUID) -> MemberRow | None:
        """One member."""
        ...

    async def set_role(self, tenant_id: UUID, user_id: UUID, role: Role, actor: Actor) -> bool:
        """False when there is no such member. Raises `Conflict` when nobody would be an owner any more."""
        ...

    async def remove(self, tenant_id: UUID, user_id: UUID, actor: Actor) -> bool:
        """False when there is no such member. Raises `Conflict` when nobody would be an owner any more."""
        ...


class InvitationRepository(Protocol):
    """Open invitations to one account by (created_at, id)."""

    async def create(
        self, tenant_id: UUID, minted: MintedInvitation, *, email: str, role: Role, now: datetime, actor: Actor
    ) -> InvitationRow:
        """A new invitation. Raises `Conflict` for a member's address and when there are too many."""
        ...

    async def list(self, tenant_id: UUID, *, limit: int, after: tuple[datetime, UUID] | None) -> Sequence[InvitationRow]:
        """One page, the newest first."""
        ...

    async def revoke(self, tenant_id: UUID, invitation_id: UUID, actor: Actor) -> bool:
        """False when there is no such invitation."""
        ...

    async def accept(self, digest: bytes, identity: Identity, now: datetime, actor: Actor) -> UUID:
        """Make the person a member; the account's id. Raises `NotFound`, `PermissionDenied`, `Conflict`."""
        ...


@dataclass(frozen=True, slots=True)
class PublicFirebase:
    """What a web page needs to let people sign in; nothing of it is secret. "" = not configured."""

    project_id: str
    web_api_key: str
    auth_domain: str


@dataclass(frozen=True, slots=True)
class PeopleDeps:
    """Everything about people. `sign_ups` limits how often a client network may ask for an account, by `monotonic_ns`."""

    sign_ins: SignIns
    directory: PeopleDirectory
    users: UserRepository
    members: MemberRepository
    invitations: InvitationRepository
    public: PublicFirebase
    sign_ups: RateLimiter
    monotonic_ns: Callable[[], int] = field(repr=False)
