"""People over REST, on a real database: signing up, who one is, members, invitations, and which account is meant."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import httpx
import pytest

from api.app import ApiDeps, create_app
from api.people import PeopleDeps, PublicFirebase
from api.people_models import InvitationPage, Me, MemberPage, NewInvitation, SignUp
from api.ratelimit import RateLimiter
from api.routes import ENDPOINTS
from driftlock.accounts.access import Access
from driftlock.accounts.id_tokens import REFUSED
from driftlock.accounts.people import Identity, check_fresh
from driftlock.errors import Unauthenticated, Unavailable
from driftlock.storage.accounts import Accounts
from driftlock.storage.audit import AuditLog
from driftlock.storage.idempotency import IdempotentRequests
from driftlock.storage.invitations import Invitations
from driftlock.storage.keys import CachedKeyDirectory, Keys
from driftlock.storage.members import Members
from driftlock.storage.pool import Database
from driftlock.storage.users import CachedPeople, Users
from tests.api.conftest import make_deps
from tests.api.fakes import NOW_NS, FakeDirectory, FakeHouse, RecordingAccess

SIGN_IN_AGE_S = 600
METER = """
insert into driftlock.meter (tenant_id, node, hour, signal, records, bytes)
values ($1, 'a', $2, 'logs', $3::bigint, $3::bigint * 10)
"""


@dataclass
class FakeSignIns:
    """Believes tokens of the form `sign-in.NAME.AGE`: somebody of that name who signed in AGE seconds ago."""

    unverified: set[str] = field(default_factory=set)
    failure: Exception | None = None

    async def verify(self, token: str, *, now_s: int, fresh: bool) -> Identity:
        if self.failure is not None:
            raise self.failure
        kind, name, age_s = token.split(".")
        if kind != "sign-in" or not age_s.isdigit():
            raise Unauthenticated(REFUSED)
        verified = name not in self.unverified
        identity = Identity("https://issuer.example", name, f"{name}@example.com", verified, name, now_s - int(age_s))
        if fresh:
            check_fresh(identity, now_s, SIGN_IN_AGE_S)
        return identity


@dataclass
class Site:
    """The application over a real database, and what people do with it."""

    deps: ApiDeps
    client: httpx.AsyncClient
    sign_ins: FakeSignIns
    now_ns: list[int]

    async def ask(
        self, name: str, method: str, path: str, body: object = None, *, age_s: int = 0, **headers: str
    ) -> httpx.Response:
        """A request of somebody who has signed in."""
        sent = {"Authorization": f"Bearer sign-in.{name}.{age_s}"} | {
            key.replace("_", "-"): text for key, text in headers.items()
        }
        return await self.client.request(method, path, json=body, headers=sent)

    async def sign_up(self, name: str) -> SignUp:
        response = await self.ask(name, "POST", "/v1/auth/signup", {"name": f"account of {name}"})
        assert response.status_code in (200, 201), response.text
        return SignUp.model_validate_json(response.content)

    async def invite(self, owner: str, name: str, role: str) -> str:
        response = await self.ask(owner, "POST", "/v1/invitations", {"email": f"{name}@example.com", "role": role})
        assert response.status_code == 201, response.text
        token = NewInvitation.model_validate_json(response.content).token
        assert token
        return token

    async def join(self, owner: str, name: str, role: str) -> str:
        """`name` accepts an invitation of `owner`; the id of the person."""
        token = await self.invite(owner, name, role)
        response = await self.ask(name, "POST", "/v1/invitations/accept", {"token": token})
        assert response.status_code == 200, response.text
        me = await self.ask(name, "GET", "/v1/auth/me")
        return str(me.json()["user"]["id"])


def people_of(database: Database, sign_ins: FakeSignIns, limiter: RateLimiter) -> PeopleDeps:
    users = Users(database)
    return PeopleDeps(
        sign_ins=sign_ins,
        directory=CachedPeople(users, age_max=timedelta(seconds=5)),
        users=users,
        members=Members(database),
        invitations=Invitations(database),
        public=PublicFirebase("project", "key", "domain"),
        sign_ups=limiter,
        monotonic_ns=lambda: 0,
    )


@pytest.fixture
async def site(database: Database) -> AsyncIterator[Site]:
    sign_ins, now_ns = FakeSignIns(), [NOW_NS]
    deps = dataclasses.replace(
        make_deps(FakeHouse(), RecordingAccess(FakeDirectory())),
        access=Access(CachedKeyDirectory(database), anonymous=None),
        keys=Keys(database),
        idempotency=IdempotentRequests(database),
        accounts=Accounts(database),
        audit=AuditLog(database),
        now_ns=lambda: now_ns[0],
        people=people_of(database, sign_ins, RateLimiter(calls_per_minute=50, global_calls_per_minute=100, networks_max=10)),
    )
    async with client_of(deps) as client:
        yield Site(deps, client, sign_ins, now_ns)


def client_of(deps: ApiDeps) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=create_app(deps), raise_app_exceptions=False, client=("127.0.0.1", 40000))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080")


async def test_signing_up_shows_the_first_key_once(site: Site) -> None:
    assert (await site.ask("ada", "GET", "/v1/auth/me")).json() == {
        "user": {"id": None, "email": "ada@example.com", "email_verified": True, "name": "ada"},
        "memberships": [],
    }
    response = await site.ask("ada", "POST", "/v1/auth/signup", {"name": "Engines"})
    assert (response.status_code, response.headers["Location"]) == (201, "/v1/account")
    first = SignUp.model_validate_json(response.content)
    assert first.created
    assert first.api_key
    account = (await site.client.get("/v1/account", headers={"X-Api-Key": first.api_key})).json()
    assert (account["id"], account["name"]) == (str(first.account.id), "Engines")
    again = await site.ask("ada", "POST", "/v1/auth/signup", {"name": "Another"})
    assert again.status_code == 200
    assert again.json() == first.model_dump(mode="json") | {"created": False, "api_key": None}
    me = Me.model_validate_json((await site.ask("ada", "GET", "/v1/auth/me")).content)
    assert me.user.id is not None
    assert [(it.account, it.role, it.records_this_month) for it in me.memberships] == [(first.account, "owner", 0)]


async def test_sixteen_sign_ups_at_once_make_one_account_and_show_one_key(site: Site) -> None:
    found = await asyncio.gather(*(site.sign_up("ada") for _ in range(16)))
    assert len({it.account.id for it in found}) == 1
    assert len([it.api_key for it in found if it.api_key]) == 1


async def test_an_address_that_is_not_verified_makes_no_account(site: Site) -> None:
    site.sign_ins.unverified.add("ada")
    response = await site.ask("ada", "POST", "/v1/auth/signup", {"name": "Engines"})
    assert (response.status_code, response.json()["code"]) == (403, "email_unverified")
    assert (await site.ask("ada", "GET", "/v1/auth/me")).json()["memberships"] == []


@pytest.mark.parametrize(
    ("name", "status"), [("", 400), ("a\nb", 400), ("x" * 300, 400), ("deleted-1", 400), (7, 400), (None, 400)]
)
async def test_names_of_accounts_are_checked(site: Site, name: object, status: int) -> None:
    assert (await site.ask("ada", "POST", "/v1/auth/signup", {"name": name})).status_code == status


async def test_who_takes_the_name_of_another_account_is_not_told(site: Site) -> None:
    await site.sign_up("ada")
    response = await site.ask("eve", "POST", "/v1/auth/signup", {"name": "account of ada"})
    assert (response.status_code, response.json()["account"]["name"]) == (201, "account of ada")
    seen = (await site.ask("eve", "GET", "/v1/auth/me")).json()
    assert [each["account"]["name"] for each in seen["memberships"]] == ["account of ada"]
    for name in ("nobody", "account of ada"):
        renamed = await site.ask("eve", "PATCH", "/v1/account", {"name": name})
        assert (renamed.status_code, renamed.json()["name"]) == (200, name)
    local = await site.ask("eve", "PATCH", "/v1/account", {"name": "local"})
    assert (local.status_code, local.json()["errors"][0]["pointer"]) == (409, "/name")


async def test_a_network_signs_up_so_often(site: Site, database: Database) -> None:
    limiter = RateLimiter(calls_per_minute=2, global_calls_per_minute=10, networks_max=10)
    deps = dataclasses.replace(site.deps, people=people_of(database, site.sign_ins, limiter))
    async with client_of(deps) as client:
        few = dataclasses.replace(site, client=client)
        for name in ("ada", "bob"):
            await few.sign_up(name)
        response = await few.ask("cy", "POST", "/v1/auth/signup", {"name": "third"})
        assert (response.status_code, response.headers["Retry-After"]) == (429, "30")
        assert (await few.ask("cy", "GET", "/v1/auth/me")).json()["user"]["id"] is None


async def test_who_is_not_believed_is_refused_alike(site: Site) -> None:
    key = (await site.sign_up("ada")).api_key
    assert key
    for headers in (
        {},
        {"Authorization": "Bearer forged.ada.0"},
        {"Authorization": "sign-in.ada.0 x"},
        {"X-Api-Key": key},
        [("Authorization", "Bearer sign-in.ada.0"), ("X-Api-Key", key)],
        [("Authorization", "Bearer sign-in.ada.0"), ("Authorization", "Bearer sign-in.bob.0")],
    ):
        for path in ("/v1/auth/me", "/v1/members"):
            response = await site.client.get(path, headers=headers)
            assert (response.status_code, response.json()["detail"]) == (401, REFUSED), headers
    for headers in ({"Authorization": "Bearer forged.ada.0"}, [("Authorization", "Bearer sign-in.ada.0"), ("X-Api-Key", key)]):
        assert (await site.client.get("/v1/streams", headers=headers)).status_code == 401
    assert (await site.client.get("/v1/streams", headers={"X-Api-Key": "sign-in.ada.0"})).status_code == 200


async def test_a_provider_that_is_away_is_no_reason_to_sign_in_again(site: Site) -> None:
    site.sign_ins.failure = Unavailable("away")
    assert (await site.ask("ada", "GET", "/v1/auth/me")).status_code == 503
    assert (await site.ask("ada", "GET", "/v1/streams")).status_code == 503


async def test_without_people_their_endpoints_say_how_to_let_them_in(site: Site) -> None:
    key = (await site.sign_up("ada")).api_key
    async with client_of(dataclasses.replace(site.deps, people=None)) as client:
        for endpoint in ENDPOINTS:
            if endpoint.caller.value == "anybody":
                continue
            path = endpoint.path.format(member=UUID(int=1), invitation=UUID(int=1))
            response = await client.request(endpoint.method, path, headers={"X-Api-Key": str(key)})
            assert (response.status_code, response.json()["code"]) == (404, "not_found")
            assert "DRIFTLOCK_FIREBASE_PROJECT_ID" in response.json()["detail"]
        token = {"Authorization": "Bearer sign-in.ada.0"}
        assert (await client.get("/v1/streams", headers=token)).status_code == 401
        assert (await client.get("/v1/streams", headers={"X-Api-Key": str(key)})).status_code == 200


async def test_a_person_is_in_the_account_that_they_name(site: Site) -> None:
    mine, other = (await site.sign_up("ada")).account, (await site.sign_up("bob")).account
    assert (await site.ask("ada", "GET", "/v1/account")).json()["id"] == str(mine.id)
    assert (await site.ask("ada", "GET", "/v1/account", X_Driftlock_Tenant=str(other.id))).status_code == 404
    assert (await site.ask("ada", "GET", "/v1/account", X_Driftlock_Tenant="x")).status_code == 400
    await site.join("bob", "ada", "viewer")
    nameless = await site.ask("ada", "GET", "/v1/account")
    assert nameless.status_code == 400
    assert nameless.json()["errors"][0]["parameter"] == "X-Driftlock-Tenant"
    assert str(mine.id) in nameless.json()["detail"]
    assert str(other.id) in nameless.json()["detail"]
    for account in (mine, other):
        assert (await site.ask("ada", "GET", "/v1/account", X_Driftlock_Tenant=str(account.id))).json()["name"] == account.name
    assert (await site.ask("ada", "PATCH", "/v1/account", {"name": "x"}, X_Driftlock_Tenant=str(other.id))).status_code == 403
    assert (await site.ask("eve", "GET", "/v1/account")).status_code == 403
    assert (await site.ask("eve", "GET", "/v1/account", X_Driftlock_Tenant=str(mine.id))).status_code == 404


ROLE_TABLE = [
    ("GET", "/v1/account", None, "viewer"),
    ("GET", "/v1/account/usage", None, "viewer"),
    ("GET", "/v1/members", None, "viewer"),
    ("GET", "/v1/account/audit", None, "member"),
    ("GET", "/v1/invitations", None, "owner"),
    ("POST", "/v1/invitations", {"email": "x@example.com"}, "owner"),
    ("PATCH", "/v1/account", {"dedup_window_seconds": 60}, "owner"),
    ("PATCH", f"/v1/members/{UUID(int=1)}", {"role": "owner"}, "owner"),
    ("DELETE", f"/v1/members/{UUID(int=1)}", None, "owner"),
    ("DELETE", f"/v1/invitations/{UUID(int=1)}", None, "owner"),
    ("DELETE", "/v1/account", {"name": "not its name"}, "owner"),
]


async def test_what_each_role_may(site: Site) -> None:
    await site.sign_up("owner")
    for role in ("member", "viewer"):
        await site.join("owner", role, role)
    order = ["viewer", "member", "owner"]
    for method, path, body, least in ROLE_TABLE:
        for role in order:
            response = await site.ask(role, method, path, body)
            allowed = order.index(role) >= order.index(least)
            assert (response.status_code != 403) == allowed, (method, path, role, response.text)
            assert response.status_code < 500


async def test_members_come_change_and_go(site: Site) -> None:
    account = (await site.sign_up("ada")).account
    bob = await site.join("ada", "bob", "member")
    page = MemberPage.model_validate_json((await site.ask("bob", "GET", "/v1/members?limit=1")).content)
    assert page.next_cursor
    rest = (await site.ask("bob", "GET", f"/v1/members?cursor={page.next_cursor}")).json()["members"]
    assert [page.members[0].email, *(it["email"] for it in rest)] == ["ada@example.com", "bob@example.com"]
    ada = page.members[0].id
    changed = await site.ask("ada", "PATCH", f"/v1/members/{bob}", {"role": "viewer"})
    assert changed.json()["role"] == "viewer"
    assert (await site.ask("bob", "GET", "/v1/account/audit")).status_code == 403  # at once, in this process
    for method, body in (("PATCH", {"role": "member"}), ("DELETE", None)):
        refused = await site.ask("ada", method, f"/v1/members/{ada}", body)
        assert (refused.status_code, "last owner" in refused.json()["detail"]) == (409, True)
    assert (await site.ask("bob", "DELETE", f"/v1/members/{ada}")).status_code == 403
    assert (await site.ask("bob", "DELETE", f"/v1/members/{bob}")).status_code == 204
    assert (await site.ask("bob", "GET", "/v1/members")).status_code == 403
    log = (await site.ask("ada", "GET", "/v1/account/audit")).json()["entries"]
    assert [it["action"] for it in log][:2] == ["member.removed", "member.role_changed"]
    assert (log[0]["actor"]["id"], log[0]["target"]) == (bob, bob)
    only = (await site.ask("ada", "GET", "/v1/account/audit?action=account.created")).json()["entries"]
    assert [it["target"] for it in only] == [str(account.id)]


async def test_foreign_people_and_invitations_are_not_found(site: Site) -> None:
    await site.sign_up("ada")
    await site.sign_up("eve")
    eve = (await site.ask("eve", "GET", "/v1/auth/me")).json()["user"]["id"]
    await site.invite("eve", "bob", "viewer")
    (foreign,) = (await site.ask("eve", "GET", "/v1/invitations")).json()["invitations"]
    for method, path, body in (
        ("PATCH", f"/v1/members/{eve}", {"role": "viewer"}),
        ("DELETE", f"/v1/members/{eve}", None),
        ("DELETE", f"/v1/invitations/{foreign['id']}", None),
        ("DELETE", "/v1/invitations/nonsense", None),
        ("PATCH", "/v1/members/nonsense", {"role": "viewer"}),
    ):
        assert (await site.ask("ada", method, path, body)).status_code == 404, path
    assert (await site.ask("ada", "GET", "/v1/invitations")).json()["invitations"] == []
    cursor = (await site.ask("eve", "GET", "/v1/members?limit=1")).json()["next_cursor"]
    assert cursor is None
    assert len((await site.ask("eve", "GET", "/v1/invitations")).json()["invitations"]) == 1


async def test_an_invitation_from_its_making_to_its_end(site: Site) -> None:
    account = (await site.sign_up("ada")).account
    token = await site.invite("ada", "bob", "member")
    page = InvitationPage.model_validate_json((await site.ask("ada", "GET", "/v1/invitations")).content)
    assert [(it.email, it.role, it.invited_by) for it in page.invitations] == [("bob@example.com", "member", "ada@example.com")]
    assert token not in page.model_dump_json()
    accept = ("POST", "/v1/invitations/accept", {"token": token})
    assert (await site.ask("eve", *accept)).status_code == 403
    site.sign_ins.unverified.add("bob")
    assert (await site.ask("bob", *accept)).json()["code"] == "email_unverified"
    site.sign_ins.unverified.clear()
    accepted = await site.ask("bob", *accept)
    assert accepted.json() == {"account": account.model_dump(mode="json"), "role": "member"}
    assert (await site.ask("bob", *accept)).json() == accepted.json()
    assert (await site.ask("eve", *accept)).status_code == 404
    for wrong in ("", "dl_invite_x", token[:-1] + ("0" if token[-1] != "0" else "1"), "x" * 128):
        assert (await site.ask("bob", "POST", "/v1/invitations/accept", {"token": wrong})).status_code == 404
    assert (await site.ask("bob", "POST", "/v1/invitations/accept", {"token": "x" * 129})).status_code == 400
    late = await site.invite("ada", "cy", "viewer")
    site.now_ns[0] += 7 * 24 * 3600 * 10**9
    assert (await site.ask("cy", "POST", "/v1/invitations/accept", {"token": late})).status_code == 404


async def test_an_invitation_that_comes_again_is_the_same_and_shows_no_token(site: Site) -> None:
    await site.sign_up("ada")
    body = {"email": "bob@example.com"}
    first = await site.ask("ada", "POST", "/v1/invitations", body, Idempotency_Key="once")
    again = await site.ask("ada", "POST", "/v1/invitations", body, Idempotency_Key="once")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["token"]
    assert again.json() == first.json() | {"token": None}


@pytest.mark.parametrize(
    "body", [{"email": "no address"}, {"email": "a@b.c", "role": "king"}, {"role": "viewer"}, {"email": 1}]
)
async def test_invitations_that_can_not_be(site: Site, body: object) -> None:
    await site.sign_up("ada")
    response = await site.ask("ada", "POST", "/v1/invitations", body)
    assert response.status_code == 400
    assert response.json()["errors"]


async def test_what_is_dangerous_takes_a_fresh_sign_in(site: Site) -> None:
    account = (await site.sign_up("ada")).account
    fresh = {endpoint.name for endpoint in ENDPOINTS if endpoint.fresh_login}
    named = {"signUp", "changeMember", "removeMember", "invite", "acceptInvitation", "deleteAccount"}
    assert named | {"createApiKey", "rotateApiKey"} <= fresh
    old = SIGN_IN_AGE_S + 1
    response = await site.ask("ada", "DELETE", "/v1/account", {"name": account.name}, age_s=old)
    assert (response.status_code, response.json()["code"]) == (403, "sign_in_again")
    assert (await site.ask("ada", "POST", "/v1/invitations", {"email": "b@c.d"}, age_s=old)).json()["code"] == "sign_in_again"
    assert (await site.ask("ada", "GET", "/v1/account", age_s=old)).status_code == 200


async def test_an_account_is_changed_by_who_has_seen_it(site: Site) -> None:
    await site.sign_up("ada")
    seen = await site.ask("ada", "GET", "/v1/account")
    body = {"name": "Engines", "dedup_window_seconds": 60}
    changed = await site.ask("ada", "PATCH", "/v1/account", body, If_Match=seen.headers["ETag"])
    assert changed.json() == seen.json() | body
    stale = await site.ask("ada", "PATCH", "/v1/account", {"name": "Other"}, If_Match=seen.headers["ETag"])
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
    cleared = await site.ask("ada", "PATCH", "/v1/account", {"dedup_window_seconds": None})
    assert cleared.json() == seen.json() | {"name": "Engines"}
    assert (await site.ask("ada", "GET", "/v1/auth/me")).json()["memberships"][0]["account"]["name"] == "Engines"
    for wrong in (
        {"name": None},
        {"name": ""},
        {"dedup_window_seconds": -1},
        {"dedup_window_seconds": 86_401},
        {"plan": "team"},
    ):
        assert (await site.ask("ada", "PATCH", "/v1/account", wrong)).status_code == 400, wrong


async def test_an_account_ends_with_its_keys_and_its_people(site: Site) -> None:
    first = await site.sign_up("ada")
    other = await site.sign_up("eve")
    await site.join("ada", "bob", "member")
    wrong = await site.ask("ada", "DELETE", "/v1/account", {"name": other.account.name})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (400, "/name")
    assert (await site.client.get("/v1/streams", headers={"X-Api-Key": str(first.api_key)})).status_code == 200
    assert (await site.ask("ada", "DELETE", "/v1/account", {"name": first.account.name})).status_code == 204
    site.now_ns[0] += 5_100_000_000
    assert (await site.client.get("/v1/streams", headers={"X-Api-Key": str(first.api_key)})).status_code == 401
    for name in ("ada", "bob"):
        assert (await site.ask(name, "GET", "/v1/account")).status_code == 403
    assert (await site.ask("eve", "GET", "/v1/account")).status_code == 200
    again = await site.sign_up("ada")
    assert again.created
    assert again.account.id != first.account.id


async def test_pages_of_usage_follow_one_another(site: Site, owner: asyncpg.Connection) -> None:
    account = (await site.sign_up("ada")).account
    for day, records in ((1, 5), (3, 7)):
        hour = datetime(2027, 1, day, 7, tzinfo=UTC)
        await owner.execute(METER, account.id, hour, records)
    first = (await site.ask("ada", "GET", "/v1/account/usage?limit=1")).json()
    assert first["days"] == [{"date": "2027-01-03", "logs": 7, "metrics": 0, "traces": 0, "records": 7, "bytes": 70}]
    second = (await site.ask("ada", "GET", f"/v1/account/usage?limit=1&cursor={first['next_cursor']}")).json()
    assert [day["date"] for day in second["days"]] == ["2027-01-01"]
    assert second["next_cursor"] is None
    assert (await site.ask("ada", "GET", "/v1/auth/me")).json()["memberships"][0]["records_this_month"] == 12
