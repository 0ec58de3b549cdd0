"""People: who has signed in, which accounts are theirs, and the rules of roles. Pure.

A person is known by who vouches for them and what they are called there (`Identity.key`), never by an e-mail address: addresses
change hands, and another provider may vouch for the same one.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from driftlock.accounts.keys import Principal, Role
from driftlock.accounts.roles import SCOPES
from driftlock.errors import Conflict, EmailUnverified, InvalidArgument, NotFound, PermissionDenied, SignInAgain

EMAIL_BYTES_MAX = 254  # RFC 5321, section 4.5.3.1.3, without the angle brackets
NAME_BYTES_MAX = 200
TENANTS_NAMED_MAX = 10
MEMBERSHIPS_MAX = 50
MEMBERS_MAX = 500
INVITATIONS_MAX = 100
NO_ACCOUNT = "you are in no account yet: make one with POST /v1/auth/signup, or accept an invitation"
TENANT_HEADER = "X-Driftlock-Tenant"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a verified token is about. `email` is "" where there is none; `signed_in_s` is when they proved it, Unix seconds."""

    issuer: str
    subject: str
    email: str
    email_verified: bool
    name: str
    signed_in_s: int

    @property
    def key(self) -> tuple[str, str]:
        """What the person is known by."""
        return self.issuer, self.subject


@dataclass(frozen=True, slots=True)
class Membership:
    """A person's place in an account that is not closed."""

    tenant_id: UUID
    tenant_name: str
    plan: str
    role: Role
    since: datetime


@dataclass(frozen=True, slots=True)
class Person:
    """What is known of somebody who has signed in; `user_id` is None as long as they have never been in an account."""

    user_id: UUID | None
    memberships: tuple[Membership, ...] = ()


NOBODY = Person(None)


def principal_of(identity: Identity, person: Person, asked: UUID | None) -> Principal:
    """The principal of a person in one of their accounts: the one that is `asked` for, else the only one.

    Raises `PermissionDenied` for somebody in no account, `NotFound` for an account that is not theirs or not there, and
    `InvalidArgument`, which names the accounts, when there are several and none is asked for.
    """
    mine = person.memberships
    if not mine or person.user_id is None:
        if asked is not None:
            raise NotFound(f"there is no account of yours with the id in {TENANT_HEADER}; GET /v1/auth/me lists yours")
        raise PermissionDenied(NO_ACCOUNT)
    if asked is None and len(mine) > 1:
        raise InvalidArgument(f"you are in {len(mine)} accounts: name one in the header {TENANT_HEADER}: {_named(mine)}")
    for membership in mine:
        if asked in (None, membership.tenant_id):
            role = membership.role
            name = identity.email or identity.name
            return Principal(membership.tenant_id, SCOPES[role], user_id=person.user_id, role=role, name=name)
    raise NotFound(f"there is no account of yours with the id in {TENANT_HEADER}; GET /v1/auth/me lists yours")


def check_verified(identity: Identity) -> None:
    """Raises `EmailUnverified` unless the person's e-mail address is known to be theirs."""
    if not (identity.email and identity.email_verified):
        raise EmailUnverified("verify your e-mail address with the sign-in provider, then sign in again and repeat this")


def check_fresh(identity: Identity, now_s: int, age_max_s: int) -> None:
    """Raises `SignInAgain` unless the person proved who they are at most `age_max_s` ago."""
    if now_s - identity.signed_in_s > age_max_s:
        raise SignInAgain(f"this takes a sign-in of the last {age_max_s // 60} minutes: sign in again and repeat it")


def check_owner_left(owners: Collection[UUID], leaving: UUID) -> None:
    """Raises `Conflict` when nobody of `owners` would be left without `leaving`: an account always has an owner."""
    if set(owners) == {leaving}:
        raise Conflict("this is the last owner of the account: make somebody else an owner first")


def check_invited(identity: Identity, email: str) -> None:
    """Raises `EmailUnverified`, or `PermissionDenied` when the invitation of `email` is not the person's."""
    check_verified(identity)
    if folded_email(identity.email) != email:
        raise PermissionDenied("this invitation is for another e-mail address: sign in with that one, or ask for a new one")


def may_remove(principal: Principal, user_id: UUID) -> bool:
    """Whether a person may take `user_id` out of their account: owners may anybody, everybody may go themselves."""
    return principal.role is Role.OWNER or (principal.role is not None and principal.user_id == user_id)


def folded_email(text: str) -> str:
    r"""An address as it is compared: ASCII letters in lower case, and nothing else changed.

    Other letters stay: lowering or folding them would make two mailboxes one, as the Kelvin sign and k.

    >>> folded_email("Ada@Example.COM") == "ada@example.com", folded_email("\u212aay@example.com") == "kay@example.com"
    (True, False)
    """
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)


def check_email(text: str) -> str:
    """The address as it is kept. Raises ValueError with advice for what is none (RFC 5321, sections 4.1.2 and 4.5.3.1)."""
    local, at, domain = text.rpartition("@")
    shaped = at and 1 <= len(local) <= 64 and domain and not domain.startswith(".") and "@" not in local
    visible = text.isprintable() and " " not in text  # no other space is printable
    if not (shaped and visible and len(text.encode("utf-8", "replace")) <= EMAIL_BYTES_MAX):
        raise ValueError(f"give an e-mail address such as ada@example.com, of at most {EMAIL_BYTES_MAX} bytes")
    return folded_email(text)


def _named(memberships: Sequence[Membership]) -> str:
    names = [f"{it.tenant_id} ({it.tenant_name})" for it in memberships[:TENANTS_NAMED_MAX]]
    return ", ".join(names) + (", ..." if len(memberships) > TENANTS_NAMED_MAX else "")
