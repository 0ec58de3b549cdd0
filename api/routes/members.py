"""Members of an account and invitations to it. For people alone: no key gives anybody a place in an account."""

from datetime import datetime
from uuid import UUID

from api import people_models as bodies
from api.credentials import Caller
from api.cursors import Position
from api.endpoint import Call, Endpoint, Repeated, Reply
from api.paging import PageQuery, Pager
from api.people import InvitationRow, MemberRow
from api.rfc3339 import datetime_of_ns, ns_of_datetime, rfc3339
from api.routes.auth import account_ref, people_of
from api.routes.streams import parse_uuid
from driftlock.accounts.invitations import SECRET_BYTES, invitation_digest, mint_invitation
from driftlock.accounts.keys import Role, Scope
from driftlock.accounts.people import check_email, check_verified, may_remove
from driftlock.errors import Code, InvalidArgument, NotFound, PermissionDenied
from driftlock.storage.invitations import UNKNOWN

MEMBERS = "/v1/members"
INVITATIONS = "/v1/invitations"
NO_MEMBER = "there is no member with this id; GET /v1/members lists yours"


async def list_members(call: Call) -> Reply:
    """One page of members."""
    members, tenant_id = people_of(call).members, call.principal.tenant_id
    rows, next_cursor = await Pager(call, call.query(PageQuery), "members").page(
        lambda limit, after: members.list(tenant_id, limit=limit, after=after), _member_position, _key
    )
    return Reply(bodies.MemberPage(members=tuple(_member(row) for row in rows), next_cursor=next_cursor))


async def change_member(call: Call) -> Reply:
    """Give a member another role."""
    people, tenant_id, user_id = people_of(call), call.principal.tenant_id, _id(call, "member", NO_MEMBER)
    role = Role(call.body(bodies.MemberChange).role)
    if not await people.members.set_role(tenant_id, user_id, role, call.actor):
        raise NotFound(NO_MEMBER)
    people.directory.forget()
    row = await people.members.get(tenant_id, user_id)
    if row is None:  # gone meanwhile
        raise NotFound(NO_MEMBER)
    return Reply(_member(row))


async def remove_member(call: Call) -> Reply:
    """Take somebody out of the account, or leave it."""
    people, principal, user_id = people_of(call), call.principal, _id(call, "member", NO_MEMBER)
    if not may_remove(principal, user_id):
        raise PermissionDenied("this takes the role 'owner' in the account; anybody may leave it themselves")
    if not await people.members.remove(principal.tenant_id, user_id, call.actor):
        raise NotFound(NO_MEMBER)
    people.directory.forget()
    return Reply(None, 204)


async def invite(call: Call) -> Reply:
    """Invite somebody by their e-mail address."""
    deps, people, asked = call.deps, people_of(call), call.body(bodies.InvitationRequest)
    try:
        email = check_email(asked.email)
    except ValueError as error:
        raise InvalidArgument(str(error), pointer="/email") from None
    minted = mint_invitation(deps.randomness(SECRET_BYTES))
    now = datetime_of_ns(deps.now_ns())
    row = await people.invitations.create(
        call.principal.tenant_id, minted, email=email, role=Role(asked.role), now=now, actor=call.actor
    )
    body = bodies.NewInvitation(invitation=_invitation(row), token=minted.text)
    kept = bodies.NewInvitation(invitation=body.invitation, token=None)
    return Reply(body, 201, {"Location": f"{INVITATIONS}/{row.invitation_id}"}, kept=kept)


async def list_invitations(call: Call) -> Reply:
    """One page of invitations."""
    invitations, tenant_id = people_of(call).invitations, call.principal.tenant_id
    rows, next_cursor = await Pager(call, call.query(PageQuery), "invitations").page(
        lambda limit, after: invitations.list(tenant_id, limit=limit, after=after), _invitation_position, _key
    )
    return Reply(bodies.InvitationPage(invitations=tuple(_invitation(row) for row in rows), next_cursor=next_cursor))


async def revoke_invitation(call: Call) -> Reply:
    """Withdraw an invitation."""
    invitation_id = _id(call, "invitation", UNKNOWN)
    if not await people_of(call).invitations.revoke(call.principal.tenant_id, invitation_id, call.actor):
        raise NotFound(UNKNOWN)
    return Reply(None, 204)


async def accept_invitation(call: Call) -> Reply:
    """Become a member of the account that an invitation is to."""
    deps, people, identity = call.deps, people_of(call), call.identity
    check_verified(identity)
    digest, now = invitation_digest(call.body(bodies.Acceptance).token), datetime_of_ns(deps.now_ns())
    if digest is None:
        raise NotFound(UNKNOWN)
    tenant_id = await people.invitations.accept(digest, identity, now, call.actor)
    people.directory.forget()
    person = await people.directory.lookup(identity.key, now)
    for membership in person.memberships:
        if membership.tenant_id == tenant_id:
            return Reply(bodies.Accepted(account=account_ref(membership), role=bodies.RoleName(membership.role)))
    raise NotFound("you are not a member of this account any more")  # taken out again, or it is deleted, meanwhile


def _id(call: Call, name: str, refusal: str) -> UUID:
    found = parse_uuid(call.path(name))
    if found is None:
        raise NotFound(refusal)
    return found


def _member(row: MemberRow) -> bodies.Member:
    return bodies.Member(
        id=row.user_id,
        email=row.email,
        name=row.name,
        role=bodies.RoleName(row.role),
        since=rfc3339(ns_of_datetime(row.since)),
    )


def _invitation(row: InvitationRow) -> bodies.Invitation:
    return bodies.Invitation(
        id=row.invitation_id,
        email=row.email,
        role=bodies.RoleName(row.role),
        invited_by=row.invited_by,
        created_at=rfc3339(ns_of_datetime(row.created_at)),
        expires_at=rfc3339(ns_of_datetime(row.expires_at)),
    )


def _member_position(row: MemberRow) -> Position:
    return row.since.isoformat(), str(row.user_id)


def _invitation_position(row: InvitationRow) -> Position:
    return row.created_at.isoformat(), str(row.invitation_id)


def _key(position: Position) -> tuple[datetime, UUID]:
    at, each = position
    return datetime.fromisoformat(str(at)), UUID(str(each))


ENDPOINTS = (
    Endpoint(
        "GET",
        MEMBERS,
        "listMembers",
        "people",
        "Members of the account, those who came first ahead",
        list_members,
        {200: bodies.MemberPage},
        scope=Scope.READ,
        query=PageQuery,
        caller=Caller.MEMBER,
    ),
    Endpoint(
        "PATCH",
        MEMBERS + "/{member}",
        "changeMember",
        "people",
        "Give a member another role",
        change_member,
        {200: bodies.Member},
        scope=Scope.ADMIN,
        role=Role.OWNER,
        request=bodies.MemberChange,
        path_parameters={"member": "Id of the person."},
        problems=(Code.CONFLICT,),
        caller=Caller.MEMBER,
        fresh_login=True,
    ),
    Endpoint(
        "DELETE",
        MEMBERS + "/{member}",
        "removeMember",
        "people",
        "Take a member out of the account, or leave it",
        remove_member,
        {204: None},
        scope=Scope.READ,
        path_parameters={"member": "Id of the person."},
        problems=(Code.CONFLICT,),
        caller=Caller.MEMBER,
        fresh_login=True,
    ),
    Endpoint(
        "POST",
        INVITATIONS,
        "invite",
        "people",
        "Invite somebody to the account",
        invite,
        {201: bodies.NewInvitation},
        idempotent=True,
        scope=Scope.ADMIN,
        role=Role.OWNER,
        request=bodies.InvitationRequest,
        problems=(Code.CONFLICT,),
        caller=Caller.MEMBER,
        fresh_login=True,
    ),
    Endpoint(
        "GET",
        INVITATIONS,
        "listInvitations",
        "people",
        "Invitations that nobody has accepted yet, the newest first",
        list_invitations,
        {200: bodies.InvitationPage},
        scope=Scope.ADMIN,
        role=Role.OWNER,
        query=PageQuery,
        caller=Caller.MEMBER,
    ),
    Endpoint(
        "DELETE",
        INVITATIONS + "/{invitation}",
        "revokeInvitation",
        "people",
        "Withdraw an invitation",
        revoke_invitation,
        {204: None},
        scope=Scope.ADMIN,
        role=Role.OWNER,
        path_parameters={"invitation": "Id of the invitation."},
        caller=Caller.MEMBER,
    ),
    Endpoint(
        "POST",
        INVITATIONS + "/accept",
        "acceptInvitation",
        "people",
        "Become a member of the account that one is invited to",
        accept_invitation,
        {200: bodies.Accepted},
        request=bodies.Acceptance,
        problems=(Code.NOT_FOUND, Code.EMAIL_UNVERIFIED, Code.CONFLICT),
        repeated=Repeated.SAME,
        caller=Caller.PERSON,
        fresh_login=True,
    ),
)
