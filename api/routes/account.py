"""The account: its settings, what it has used, what was changed in it and by whom, and its end."""

from datetime import date, datetime
from uuid import UUID

from pydantic import Field

from api import account_models as bodies
from api.account_ports import AccountChange, AccountRow, AuditRow, UsageRow
from api.cursors import Position
from api.endpoint import Call, Endpoint, Reply
from api.etag import ETAG_HEADER, check_if_match, etag_of
from api.paging import PageQuery, Pager
from api.rfc3339 import ns_of_datetime, rfc3339
from driftlock.accounts.keys import Role, Scope
from driftlock.errors import Code, InvalidArgument, NotFound

PATH = "/v1/account"
SECOND_NS = 1_000_000_000
ACTION_CHARS_MAX = 64


class AuditQuery(PageQuery):
    """Query of the audit log."""

    action: str | None = Field(
        default=None,
        min_length=1,
        max_length=ACTION_CHARS_MAX,
        description="Changes of this kind alone, such as `key.created`.",
    )


async def get_account(call: Call) -> Reply:
    """The account of the credential."""
    return _reply(_found(await call.deps.accounts.get(call.principal.tenant_id)))


async def change_account(call: Call) -> Reply:
    """Change its name or its settings."""
    deps, tenant_id, asked = call.deps, call.principal.tenant_id, call.body(bodies.AccountChange)
    if asked.name is None and "name" in asked.model_fields_set:
        raise InvalidArgument("an account has a name: leave it out to keep it", pointer="/name")
    check_if_match(call, _etag(_found(await deps.accounts.get(tenant_id))))
    seconds = asked.dedup_window_seconds
    change = AccountChange(
        name=asked.name,
        sets_window="dedup_window_seconds" in asked.model_fields_set,
        dedup_window_ns=None if seconds is None else seconds * SECOND_NS,
    )
    changed = _found(await deps.accounts.change(tenant_id, change, call.actor))
    if deps.people is not None:
        deps.people.directory.forget()
    return _reply(changed)


async def delete_account(call: Call) -> Reply:
    """Close the account for good; what is its own goes in the background."""
    deps, tenant_id = call.deps, call.principal.tenant_id
    if await deps.accounts.close(tenant_id, call.body(bodies.AccountDeletion).name, call.actor):
        deps.log.info("account deleted", tenant_id=str(tenant_id), by=call.actor.kind.value, request_id=call.request_id)
    if deps.people is not None:
        deps.people.directory.forget()
    return Reply(None, 204)


async def get_usage(call: Call) -> Reply:
    """One page of days."""
    deps, tenant_id = call.deps, call.principal.tenant_id
    rows, next_cursor = await Pager(call, call.query(PageQuery), "usage").page(
        lambda limit, after: deps.accounts.usage(tenant_id, limit=limit, after=after), _day_position, _day_key
    )
    return Reply(bodies.UsagePage(days=tuple(_day(row) for row in rows), next_cursor=next_cursor))


async def list_audit(call: Call) -> Reply:
    """One page of changes."""
    deps, tenant_id, query = call.deps, call.principal.tenant_id, call.query(AuditQuery)
    rows, next_cursor = await Pager(call, query, "audit").page(
        lambda limit, after: deps.audit.list(tenant_id, limit=limit, action=query.action, after=after),
        _entry_position,
        _entry_key,
    )
    return Reply(bodies.AuditPage(entries=tuple(_entry(row) for row in rows), next_cursor=next_cursor))


def _found(row: AccountRow | None) -> AccountRow:
    if row is None:
        raise NotFound("this account has been deleted")
    return row


def _reply(row: AccountRow) -> Reply:
    return Reply(_account(row), headers={ETAG_HEADER: _etag(row)})


def _etag(row: AccountRow) -> str:
    """Of what people may change."""
    return etag_of(bodies.AccountChange(name=row.name, dedup_window_seconds=_seconds(row.dedup_window_ns)))


def _account(row: AccountRow) -> bodies.Account:
    return bodies.Account(
        id=row.tenant_id,
        name=row.name,
        plan=row.plan,
        created_at=rfc3339(ns_of_datetime(row.created_at)),
        streams=row.streams,
        streams_max=row.streams_max,
        dedup_window_seconds=_seconds(row.dedup_window_ns),
    )


def _seconds(window_ns: int | None) -> int | None:
    return None if window_ns is None else window_ns // SECOND_NS


def _day(row: UsageRow) -> bodies.UsageDay:
    records = row.logs + row.metrics + row.traces
    return bodies.UsageDay(
        date=row.day, logs=row.logs, metrics=row.metrics, traces=row.traces, records=records, bytes=row.bytes
    )


def _day_position(row: UsageRow) -> Position:
    return (row.day.isoformat(),)


def _day_key(position: Position) -> date:
    return date.fromisoformat(str(position[0]))


def _entry(row: AuditRow) -> bodies.AuditEntry:
    actor = row.actor
    return bodies.AuditEntry(
        id=row.audit_id,
        at=rfc3339(ns_of_datetime(row.at)),
        actor=bodies.AuditActor(kind=actor.kind, id=actor.id, name=actor.name),
        action=row.action,
        target=row.target,
        detail=dict(row.detail),
        request_id=actor.request_id,
        network=actor.network,
    )


def _entry_position(row: AuditRow) -> Position:
    return row.at.isoformat(), str(row.audit_id)


def _entry_key(position: Position) -> tuple[datetime, UUID]:
    at, audit_id = position
    return datetime.fromisoformat(str(at)), UUID(str(audit_id))


ENDPOINTS = (
    Endpoint(
        "GET",
        PATH,
        "getAccount",
        "account",
        "The account and its settings",
        get_account,
        {200: bodies.Account},
        scope=Scope.READ,
        problems=(Code.NOT_FOUND,),
        etag=True,
    ),
    Endpoint(
        "PATCH",
        PATH,
        "changeAccount",
        "account",
        "Change the name or the settings of the account",
        change_account,
        {200: bodies.Account},
        scope=Scope.ADMIN,
        role=Role.OWNER,
        request=bodies.AccountChange,
        problems=(Code.NOT_FOUND, Code.CONFLICT),
        etag=True,
    ),
    Endpoint(
        "DELETE",
        PATH,
        "deleteAccount",
        "account",
        "Delete the account with all that is its own, for good",
        delete_account,
        {204: None},
        scope=Scope.ADMIN,
        role=Role.OWNER,
        request=bodies.AccountDeletion,
        problems=(Code.CONFLICT,),
        fresh_login=True,
    ),
    Endpoint(
        "GET",
        PATH + "/usage",
        "getUsage",
        "account",
        "Records that were taken in, by day and signal, the newest day first",
        get_usage,
        {200: bodies.UsagePage},
        scope=Scope.READ,
        query=PageQuery,
    ),
    Endpoint(
        "GET",
        PATH + "/audit",
        "listAudit",
        "account",
        "Who has changed what, the newest first",
        list_audit,
        {200: bodies.AuditPage},
        scope=Scope.ADMIN,
        role=Role.MEMBER,
        query=AuditQuery,
    ),
)
