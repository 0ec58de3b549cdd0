"""Redaction rules: shown, changed, and tried out."""

from array import array
from collections.abc import Sequence
from uuid import UUID

from api import views
from api.endpoint import Call, Endpoint, Repeated, Reply, off_loop, pointer
from api.etag import ETAG_HEADER, check_if_match, etag_of, names_a_state
from api.ports import StreamRow
from api.problems import BadMembers, ProblemMember
from api.redaction_models import (
    RedactedLine,
    Redaction,
    RedactionChange,
    RedactionRule,
    RedactionTest,
    RedactionTested,
    RuleFinds,
)
from api.redaction_ports import RuleSet
from api.rfc3339 import ns_of_datetime, rfc3339
from api.routes.streams import find_stream
from driftlock.accounts.keys import Scope
from driftlock.engine.redaction import Rule, wrong_rules

PATH = "/v1/redaction"
STREAM_PATH = "/v1/streams/{stream}/redaction"
PATH_PARAMETERS = {"stream": "Id or slug of the stream."}
LINES_MAX = 200
LINES_BYTES_MAX = 1024 * 1024
EFFECT = "they hold for records that come in from now on, within 5 seconds everywhere; what was stored before is not changed"


async def get_rules(call: Call) -> Reply:
    """The account's own rules."""
    return _reply(None, await call.deps.redaction.get(call.principal.tenant_id, None), RuleSet())


async def get_stream_rules(call: Call) -> Reply:
    """The rules of one stream."""
    tenant_id = call.principal.tenant_id
    row = await find_stream(call.deps, tenant_id, call.path("stream"))
    rules = await call.deps.redaction.get(tenant_id, row.stream_id)
    return _reply(row, rules, await call.deps.redaction.get(tenant_id, None))


async def change_rules(call: Call) -> Reply:
    """Other rules for the account."""
    return _reply(None, await _put(call, None), RuleSet())


async def change_stream_rules(call: Call) -> Reply:
    """Other rules for one stream."""
    tenant_id = call.principal.tenant_id
    row = await find_stream(call.deps, tenant_id, call.path("stream"))
    rules = await _put(call, row.stream_id)
    return _reply(row, rules, await call.deps.redaction.get(tenant_id, None))


async def try_rules(call: Call) -> Reply:
    """Lines as they would be kept; nothing is stored."""
    deps, tenant_id, test = call.deps, call.principal.tenant_id, call.body(RedactionTest)
    sizes = [len(line.encode("utf-8", "replace")) for line in test.lines]
    if len(sizes) > LINES_MAX or sum(sizes) > LINES_BYTES_MAX:
        detail = f"may have {LINES_MAX} lines (lines_max) of {LINES_BYTES_MAX} bytes together (lines_bytes_max); send fewer"
        raise BadMembers([ProblemMember(detail=detail, pointer="/lines")])
    if test.rules is not None:
        rules: tuple[Rule, ...] = _checked(test.rules)
    else:
        rules = (await deps.redaction.get(tenant_id, None)).rules
    if test.stream is not None:
        row = await find_stream(deps, tenant_id, test.stream)
        rules += tuple(rule for rule in (await deps.redaction.get(tenant_id, row.stream_id)).rules if rule not in rules)
    redactor = await deps.redaction.preview(tenant_id, rules)
    raw = [line.encode("utf-8", "replace") for line in test.lines]
    text, lengths = b"".join(raw), array("I", map(len, raw))
    kept, found = await off_loop(len(text), lambda: (redactor.columns(text, lengths), redactor.counts(text, lengths)))
    lines, position = [], 0
    for before, length in zip(raw, kept.lengths, strict=True):
        after = kept.text[position : position + length]
        lines.append(RedactedLine(text=after.decode(), changed=after != before))
        position += length
    tried = tuple(RuleFinds(name=rule.name, found=count) for rule, count in zip(rules, found, strict=True))
    return Reply(RedactionTested(lines=tuple(lines), changed=kept.records, rules=tried))


async def _put(call: Call, stream_id: UUID | None) -> RuleSet:
    """Store the rules of the request; those that the client has read have to be in force still, where it names them."""
    deps, tenant_id = call.deps, call.principal.tenant_id
    rules = _checked(call.body(RedactionChange).rules)
    now = await deps.redaction.get(tenant_id, stream_id)
    check_if_match(call, _etag(now))
    return await deps.redaction.put(tenant_id, stream_id, rules, call.actor, now if names_a_state(call) else None)


def _checked(rules: Sequence[RedactionRule]) -> tuple[Rule, ...]:
    """The rules of a body; raise `BadMembers` that points at each wrong one."""
    made = tuple(Rule(rule.name, rule.where, rule.kind or "", rule.mask or "", rule.action) for rule in rules)
    wrong = wrong_rules(made)
    if wrong:
        places = [("rules",) if not it.member else ("rules", it.rule, it.member) for it in wrong]
        raise BadMembers(
            [ProblemMember(detail=it.detail, pointer=pointer(*place)) for it, place in zip(wrong, places, strict=True)]
        )
    return made


def _reply(row: StreamRow | None, rules: RuleSet, inherited: RuleSet) -> Reply:
    changed_at = None if rules.changed_at is None else rfc3339(ns_of_datetime(rules.changed_at))
    body = Redaction(
        stream=None if row is None else views.stream_ref(row),
        rules=_shown(rules),
        inherited=_shown(inherited),
        position=rules.seq or None,
        changed_at=changed_at,
        effect=EFFECT,
    )
    return Reply(body, headers={ETAG_HEADER: _etag(rules)})


def _shown(rules: RuleSet) -> tuple[RedactionRule, ...]:
    return tuple(
        RedactionRule(name=it.name, where=it.where, kind=it.kind or None, mask=it.mask or None, action=it.action)
        for it in rules.rules
    )


def _etag(rules: RuleSet) -> str:
    return etag_of(RedactionChange(rules=list(_shown(rules))))


ENDPOINTS = (
    Endpoint(
        "GET",
        PATH,
        "getRedaction",
        "redaction",
        "The redaction rules of the account",
        get_rules,
        {200: Redaction},
        scope=Scope.ADMIN,
        etag=True,
    ),
    Endpoint(
        "PUT",
        PATH,
        "putRedaction",
        "redaction",
        "Other redaction rules for the account",
        change_rules,
        {200: Redaction},
        scope=Scope.ADMIN,
        request=RedactionChange,
        etag=True,
    ),
    Endpoint(
        "POST",
        f"{PATH}/test",
        "testRedaction",
        "redaction",
        "Lines as redaction rules would leave them; nothing is stored",
        try_rules,
        {200: RedactionTested},
        scope=Scope.ADMIN,
        request=RedactionTest,
        repeated=Repeated.NOTHING_STORED,
    ),
    Endpoint(
        "GET",
        STREAM_PATH,
        "getStreamRedaction",
        "redaction",
        "The redaction rules of a stream",
        get_stream_rules,
        {200: Redaction},
        scope=Scope.ADMIN,
        path_parameters=PATH_PARAMETERS,
        etag=True,
    ),
    Endpoint(
        "PUT",
        STREAM_PATH,
        "putStreamRedaction",
        "redaction",
        "Other redaction rules for a stream",
        change_stream_rules,
        {200: Redaction},
        scope=Scope.ADMIN,
        request=RedactionChange,
        path_parameters=PATH_PARAMETERS,
        etag=True,
    ),
)
