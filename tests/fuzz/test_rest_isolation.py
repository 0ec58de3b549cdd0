"""Two accounts on a real server over a real database: whatever one of them asks, it learns nothing of the other one."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID

import asyncpg
import grpc.aio
import pytest
import pytest_asyncio

from api.credentials import Caller
from api.endpoint import Endpoint
from api.routes import ENDPOINTS
from driftlock.accounts.keys import Role, Scope
from driftlock.accounts.people import TENANT_HEADER
from driftlock.accounts.roles import least_role
from driftlock.engine.event import Signal
from tests.collector.otlp_requests import log, logs
from tests.conformance.doors import SERVICES
from tests.conftest import Cluster
from tests.fuzz.rest_attacks import (
    BODIES,
    LIVE,
    PARAMETER,
    Ask,
    Kind,
    base_query,
    body_of,
    credentials,
    foreign_texts,
    harvest,
    in_bodies,
    in_paths,
    in_queries,
    kinds,
    may,
    send,
    shape,
)
from tests.fuzz.rest_house import IDEMPOTENCY_KEY, House, open_house

module_loop = pytest.mark.asyncio(loop_scope="module")
by_name = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda it: it.name)
RANK = {Role.VIEWER: 0, Role.MEMBER: 1, Role.OWNER: 2}
KNOWN = frozenset({400, 401, 403, 404, 409, 412, 413, 415, 422, 429})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    urls = await cluster.create()
    async with open_house(urls, tmp_path_factory.mktemp("house")) as opened:
        for account in (opened.mine, opened.theirs):
            _, ids, account.cursors = await harvest(opened, account)
            account.secrets |= ids
        shared = opened.mine.secrets & opened.theirs.secrets
        for account in (opened.mine, opened.theirs):
            account.secrets -= shared
        yield opened
    await cluster.drop(urls)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def known(house: House) -> dict[str, Kind]:
    return kinds(house.theirs, house.mine)


async def same(house: House, pair: tuple[Ask, Ask], credential: Mapping[str, str], who: str) -> tuple[int, int]:
    """Send both: what is of the other account is answered as what nobody has. The statuses."""
    foreign, nobody = [await send(house, ask, credential) for ask in pair]
    assert foreign.status_code in KNOWN or foreign.status_code < 300, (who, str(pair[0]), foreign.text)
    leaked = foreign_texts(foreign.text, house.theirs, pair[0].sent)
    assert not leaked, (who, str(pair[0]), leaked, foreign.text)
    if 429 not in (foreign.status_code, nobody.status_code):
        assert shape(foreign, pair[0].sent) == shape(nobody, pair[1].sent), (who, str(pair[0]), foreign.text, nobody.text)
    return foreign.status_code, nobody.status_code


@module_loop
async def test_both_accounts_have_everything(house: House, known: dict[str, Kind]) -> None:
    """An empty account would leak nothing, and a parameter without values would not be tried."""
    names = {name for endpoint in ENDPOINTS for name in PARAMETER.findall(endpoint.path)}
    assert all(known[name].pairs for name in names)
    assert len(known["cursor"].pairs) >= 5
    assert len(house.theirs.secrets) >= 40
    for endpoint in ENDPOINTS:
        if endpoint.method == "GET" and endpoint.scope is not None and endpoint.name not in (LIVE, "getOperation"):
            in_path = PARAMETER.findall(endpoint.path)
            paths = [dict.fromkeys(in_path, value) for value in (house.theirs.paths[in_path[0]] if in_path else ("",))]
            answers = [await send(house, Ask(endpoint, path, base_query(endpoint)), house.theirs.owner) for path in paths]
            assert any(answer.status_code == 200 for answer in answers) or endpoint.name in NOT_WITH_X, endpoint.name
    assert {endpoint.name for endpoint in ENDPOINTS if endpoint.request is not None} == set(BODIES)


NOT_WITH_X = frozenset({"diffReleases"})
"""It needs values of the stream."""


@module_loop
@by_name
async def test_an_id_of_another_account_is_one_that_nobody_has(
    house: House, known: dict[str, Kind], endpoint: Endpoint
) -> None:
    for pair in in_paths(endpoint, known):
        for who, credential in credentials(house.mine, house.theirs).items():
            status, _ = await same(house, pair, credential, who)
            assert status in (401, 403, 404), (who, str(pair[0]), status)
            if may(endpoint, who):
                assert status == 404, (who, str(pair[0]))


@module_loop
@by_name
async def test_values_of_another_account_in_a_query(house: House, known: dict[str, Kind], endpoint: Endpoint) -> None:
    for pair in in_queries(endpoint, house.mine, known):
        await same(house, pair, house.mine.owner, "owner")


@module_loop
@by_name
async def test_values_of_another_account_in_a_body(house: House, known: dict[str, Kind], endpoint: Endpoint) -> None:
    for pair in in_bodies(endpoint, house.mine, known):
        await same(house, pair, house.mine.owner, "owner")


@module_loop
@by_name
async def test_who_may_not_do_something_is_refused(house: House, endpoint: Endpoint) -> None:
    """Whatever a credential lacks: a scope, a role, being a person, being there at all."""
    path = dict.fromkeys(PARAMETER.findall(endpoint.path), "aaaaaaaaaaaaaaaa")
    people_only = endpoint.caller is not Caller.ANYBODY
    for who, credential in house.mine.credentials.items():
        expected = refusal(endpoint, who, people_only)
        if expected is None:
            continue
        answer = await send(house, Ask(endpoint, path, base_query(endpoint), body_of(endpoint)), credential)
        assert answer.status_code == expected, (who, answer.text)


def refusal(endpoint: Endpoint, who: str, people_only: bool) -> int | None:
    """The status for a credential that is not enough; None for one that is, and where nobody has to say who they are."""
    if who == "revoked":
        return 401 if endpoint.scope is not None or endpoint.caller is Caller.PERSON else None
    if who in ("viewer", "member", "owner"):
        if endpoint.scope is None:
            return None
        least = endpoint.role or least_role(endpoint.scope)
        return 403 if RANK[Role(who)] < RANK[least] else None
    if people_only:
        return 401
    if endpoint.scope is None:
        return None
    scopes = {"admin": set(Scope), "admin alone": {Scope.ADMIN}, "bound": {Scope.INGEST}}.get(who) or {Scope(who)}
    return None if endpoint.scope in scopes else 403


@module_loop
@by_name
async def test_nothing_is_assigned_that_is_not_asked_for(house: House, endpoint: Endpoint) -> None:
    for member in ("tenant_id", "plan", "closed_at", "created_by", "id"):
        await check_not_assigned(house, endpoint, member)


async def check_not_assigned(house: House, endpoint: Endpoint, member: str) -> None:
    path = {name: (house.mine.paths[name] or ("x",))[0] for name in PARAMETER.findall(endpoint.path)}
    more = {member: str(house.theirs.tenant_id)}
    credential = house.mine.owner
    asked = Ask(endpoint, path, base_query(endpoint) | more, body_of(endpoint))
    answer = await send(house, asked, credential)
    assert answer.status_code == 400, answer.text
    if endpoint.request is None or member in endpoint.request.model_fields:
        return
    answer = await send(house, Ask(endpoint, path, base_query(endpoint), {**body_of(endpoint), **more}), credential)
    if answer.status_code != 429:
        assert answer.status_code == 400, answer.text
        assert f"/{member}" in [it["pointer"] for it in answer.json()["errors"]], answer.text


@module_loop
async def test_a_key_makes_no_stronger_one(house: House) -> None:
    weak = house.mine.credentials["admin alone"]
    for scopes in (["ingest"], ["read"], ["ingest", "read", "admin"]):
        answer = await house.client.post("/v1/api-keys", json={"scopes": scopes}, headers=weak)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    made = await house.client.post("/v1/api-keys", json={"scopes": ["ingest", "admin"]}, headers=house.mine.owner)
    rotated = await house.client.post(f"/v1/api-keys/{made.json()['api_key']['id']}/rotate", json={}, headers=weak)
    assert rotated.status_code == 403, rotated.text


@module_loop
async def test_the_key_of_one_request_is_not_that_of_another_account(house: House) -> None:
    """Both accounts have used the same Idempotency-Keys: each has its own answers."""
    headers = {"Idempotency-Key": IDEMPOTENCY_KEY}
    asked: tuple[tuple[str, dict[str, object]], ...] = (
        ("/v1/invitations", {"email": f"guest@{house.theirs.canary}.example", "role": "viewer"}),
        ("/v1/streams", {"service": f"odd-{house.theirs.canary}"}),
    )
    for path, body in asked:
        answer = await house.client.post(path, json=body, headers=house.mine.owner | headers)
        assert answer.status_code == 422, answer.text  # it was used here as well, for something else
        assert not foreign_texts(answer.text, house.theirs, (house.theirs.canary,))
    again = {"name": "twice", "scopes": ["read"]}
    fresh = {"Idempotency-Key": "used-by-both"}
    first, second = [
        await house.client.post("/v1/api-keys", json=again, headers=it.owner | fresh) for it in (house.theirs, house.mine)
    ]
    assert (first.status_code, second.status_code) == (201, 201)
    assert "idempotency-replayed" not in second.headers
    assert first.json()["api_key"]["id"] != second.json()["api_key"]["id"]


@module_loop
@pytest.mark.parametrize("headers", [{}, {"Last-Event-ID": "0"}, {"Last-Event-ID": "1"}, {"Last-Event-ID": "999999"}], ids=str)
async def test_live_events_are_those_of_the_account(house: House, headers: dict[str, str]) -> None:
    (live,) = [it for it in ENDPOINTS if it.name == LIVE]
    answer = await send(house, Ask(live, headers=headers), house.mine.owner)
    assert answer.status_code == 200
    assert not foreign_texts(answer.text, house.theirs, ())


@module_loop
async def test_otlp_puts_nothing_into_another_account(house: House) -> None:
    count = "select count(*), sum(records) from driftlock.journal where tenant_id = $1 and kind = 0"
    before = await house.site.owner.fetchrow(count, house.theirs.tenant_id)
    mine = house.mine.credentials["ingest"]["X-Api-Key"]
    sent = 0
    for value in (*house.theirs.paths["stream"], str(house.theirs.tenant_id)):
        resource = {"service.name": value, "driftlock.stream_id": value, "tenant_id": str(house.theirs.tenant_id)}
        raw = logs(log("x"), resource=resource).SerializeToString()
        headers = {"Content-Type": "application/x-protobuf", TENANT_HEADER: str(house.theirs.tenant_id), "X-Api-Key": mine}
        answer = await house.client.post(f"http://{house.otlp_http}/v1/logs", content=raw, headers=headers)
        assert answer.status_code == 200
        assert not foreign_texts(answer.text, house.theirs, (value,))
        async with grpc.aio.insecure_channel(house.otlp_grpc) as channel:
            call = channel.unary_unary(  # type: ignore[call-arg]
                f"/opentelemetry.proto.collector.{SERVICES[Signal.LOGS]}Service/Export"
            )
            await call(raw, metadata=(("x-api-key", mine), (TENANT_HEADER.lower(), str(house.theirs.tenant_id))))
        sent += 2
    assert sent >= 10
    assert await house.site.owner.fetchrow(count, house.theirs.tenant_id) == before
    both = {"X-Api-Key": mine, "Authorization": f"Bearer {house.theirs.credentials['ingest']['X-Api-Key']}"}
    for url in (f"http://{house.otlp_http}/v1/logs", "/v1/detect"):
        media = {"Content-Type": "application/x-protobuf" if "logs" in url else "application/json"}
        answer = await house.client.post(url, content=b"", headers=media | both)
        assert answer.status_code == 401, answer.text


@module_loop
async def test_the_database_is_a_second_wall(house: House) -> None:
    """The role of the API sees nothing without a tenant, and with one of them no word of the other one, in any table."""
    tables = "select relname from pg_class where relnamespace = 'driftlock'::regnamespace and relkind in ('r', 'p')"
    connection = await asyncpg.connect(house.urls.app)
    try:
        await connection.execute("set role driftlock_api")
        readable = (
            "select a.attname from pg_attribute a where a.attrelid = $1::regclass and a.attnum > 0 and not a.attisdropped "
        )
        readable += "and has_column_privilege('driftlock_api', a.attrelid, a.attnum, 'select')"
        looked = 0
        for row in await house.site.owner.fetch(tables):
            table = f"driftlock.{row['relname']}"
            columns = [it["attname"] for it in await house.site.owner.fetch(readable, table)]
            if not columns:
                continue
            quoted = ", ".join(f'"{column}"' for column in columns)
            query = f"select {quoted} from {table}"  # noqa: S608  # names from the catalog
            if "tenant_id" in columns:
                assert await connection.fetch(query) == [], table
            async with connection.transaction():
                await connection.execute("select set_config('driftlock.tenant_id', $1, true)", str(house.mine.tenant_id))
                rows = await connection.fetch(query)
            if "tenant_id" in columns:
                assert {it["tenant_id"] for it in rows} <= {house.mine.tenant_id}, table
            else:
                text = "\n".join(_text(value) for record in rows for value in record.values())
                assert not foreign_texts(text, house.theirs, ()), table
            looked += bool(rows)
        assert looked >= 15
    finally:
        await connection.close()


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex()
    return json.dumps(value, default=str) if not isinstance(value, UUID) else str(value)


@module_loop
async def test_the_other_account_is_as_it_was(house: House) -> None:
    """Runs last: nothing of what was tried has changed anything there, nor is any of it in its audit log."""
    answer = await house.client.get("/v1/account/audit", params={"limit": "200"}, headers=house.theirs.owner)
    actors = {entry["actor"]["name"] for entry in answer.json()["entries"]}
    assert actors
    assert all(house.theirs.canary in name or name == "" for name in actors), actors
    members = (await house.client.get("/v1/members", headers=house.theirs.owner)).json()["members"]
    assert {it["id"] for it in members} == set(house.theirs.paths["member"])
    assert {it["role"] for it in members} == {"owner", "member", "viewer"}
    for name in ("admin", "read", "ingest"):
        path = "/v1/detect" if name == "ingest" else "/v1/streams"
        asked = {"events": ["still here"]} if name == "ingest" else None
        answer = await house.client.request(
            "POST" if asked else "GET", path, json=asked, headers=house.theirs.credentials[name]
        )
        assert answer.status_code == 200, (name, answer.text)
    for anomaly in house.theirs.paths["anomaly_id"][:1]:
        told = (await house.client.get(f"/v1/anomalies/{anomaly}/feedback", headers=house.theirs.owner)).json()
        assert told["note"] == f"note {house.theirs.canary}"
