"""What a hostile account asks: every route with ids of another account, beside the same with ids that nobody has.

The routes come from the endpoint table, so a new one is attacked as soon as it is there; one whose path parameter or body is
not known here fails the tests, which then say what to add.
"""

import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from api.credentials import Caller
from api.endpoint import Endpoint
from api.openapi import document
from api.operations import Operation, operation_id
from api.routes import ENDPOINTS
from driftlock.accounts.people import TENANT_HEADER
from tests.fuzz.rest_house import Account, House

LIVE = "streamEvents"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
PARAMETER = re.compile(r"\{([a-z_]+)\}")
TABLE = document(ENDPOINTS, "1")["paths"]
STRANGER = "zqnobody"
PATH_VALUES_MAX = 3

BODIES: Mapping[str, Mapping[str, Any]] = {
    "detect": {"stream_id": "x", "events": ["a line"]},
    "demoDetect": {"events": ["a line"]},
    "giveFeedback": {"verdict": "confirmed", "note": "x"},
    "exportAnomalies": {"format": "jsonl", "filters": {"stream": "x", "incident": "x", "trace_id": "x"}, "cursor": "x"},
    "changeIncident": {"status": "resolved", "note": "x"},
    "joinWaitlist": {"email": "x@example.com"},
    "createStream": {"service": "shared", "namespace": "x", "environment": "x", "display_name": "x"},
    "changeStream": {"display_name": "x"},
    "putRedaction": {"rules": []},
    "testRedaction": {"lines": ["x"], "stream": "x"},
    "putStreamRedaction": {"rules": []},
    "changeStreamProfile": {"profile": "strict"},
    "switchTuning": {"automatic": False},
    "setStreamAnchor": {"drift_ncd_threshold": 0.5},
    "resetStreamAnchor": {"events": ["x"]},
    "changeBudget": {"alerts_per_day_max": 10},
    "createApiKey": {"name": "x", "scopes": ["ingest"], "stream": "x"},
    "rotateApiKey": {"overlap_seconds": 60},
    "signUp": {"name": "x"},
    "changeMember": {"role": "viewer"},
    "invite": {"email": "x@example.com", "role": "viewer"},
    "acceptInvitation": {"token": "x"},
    "changeAccount": {"name": "x"},
    "deleteAccount": {"name": "x"},
}
"""A good body of each operation, with all members that could name something."""


@dataclass(frozen=True)
class Ask:
    """One request; `sent` are the values that its answer may repeat."""

    endpoint: Endpoint
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    sent: tuple[str, ...] = ()

    def __str__(self) -> str:
        return (
            f"{self.endpoint.method} {self.endpoint.path} {dict(self.path)} {dict(self.query)} {self.body} {dict(self.headers)}"
        )


@dataclass(frozen=True)
class Kind:
    """A kind of value: those of the other account, and for each of them one of the same shape that nobody has."""

    name: str
    pairs: tuple[tuple[str, str], ...]

    @property
    def few(self) -> tuple[tuple[str, str], ...]:
        """The first of them, and the last where that is of another shape; none of a kind that all accounts have."""
        first, last = self.pairs[0], self.pairs[-1]
        if first[0] == first[1]:
            return ()
        return (first,) if len(first[0]) == len(last[0]) else (first, last)


def kinds(theirs: Account, mine: Account) -> dict[str, Kind]:
    """Everything of the other account that can stand for something, by the path parameter that it belongs into."""
    stream = next(uuid.UUID(it) for it in theirs.paths["stream"] if UUID.fullmatch(it))

    def operation(tenant: uuid.UUID, stream_id: uuid.UUID) -> str:
        return operation_id(tenant, Operation(stream_id, 5, 1, 1, 0, 0, 0, False))

    made_up = {
        "id": "aaaaaaaaaaaaaaaa",
        "trace_id": "ab" * 16,
        "n": "1",
    }
    found = {
        name: Kind(
            name,
            tuple(
                (
                    value,
                    made_up.get(name) or (nobody(value) if UUID.fullmatch(value) else value.replace(theirs.canary, STRANGER)),
                )
                for value in values
            ),
        )
        for name, values in theirs.paths.items()
    }
    found["operation_id"] = Kind(
        "operation_id",
        tuple(
            (operation(tenant, stream), operation(tenant, uuid.UUID(nobody(str(stream)))))
            for tenant in (theirs.tenant_id, mine.tenant_id)
        ),
    )
    found["tenant"] = Kind("tenant", ((str(theirs.tenant_id), nobody(str(theirs.tenant_id))),))
    found["word"] = Kind("word", ((theirs.canary, STRANGER), (f"account {theirs.canary}", f"account {STRANGER}")))
    found["cursor"] = Kind("cursor", tuple((it, it[:-4] + "AAAA") for it in sorted(theirs.cursors)))
    return found


def nobody(value: str) -> str:
    """An id that nobody has, another one for each id."""
    return str(uuid.UUID(int=uuid.UUID(value).int ^ 1))


def parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    """The query parameters of an endpoint as they are documented."""
    listed = TABLE[endpoint.path][endpoint.method.lower()]["parameters"]
    return [it for it in listed if it.get("in") == "query"]  # those of headers are references


def base_query(endpoint: Endpoint) -> dict[str, str]:
    """The query parameters without which an endpoint does nothing."""
    return {it["name"]: it["name"] for it in parameters(endpoint) if it["required"]}


def body_of(endpoint: Endpoint) -> Any:
    """A good body; KeyError for an operation that is not in `BODIES`."""
    return None if endpoint.request is None else BODIES[endpoint.name]


def in_paths(endpoint: Endpoint, known: Mapping[str, Kind]) -> Iterator[tuple[Ask, Ask]]:
    """The endpoint with every value of the other account in its path, beside one that nobody has."""
    names = PARAMETER.findall(endpoint.path)
    if not names:
        return
    first, *rest = names
    pairs = known[first].pairs
    for foreign, nobody in pairs if len(pairs) <= PATH_VALUES_MAX else known[first].few:
        others = {name: known[name].pairs[0][0] for name in rest}
        asks = (
            Ask(endpoint, {first: value, **others}, base_query(endpoint), body_of(endpoint), sent=(value,))
            for value in (foreign, nobody)
        )
        yield next(asks), next(asks)


def in_queries(endpoint: Endpoint, mine: Account, known: Mapping[str, Kind]) -> Iterator[tuple[Ask, Ask]]:
    """Every value of the other account in every query parameter of the endpoint, under ids of one's own."""
    path = {name: mine.paths[name][0] for name in PARAMETER.findall(endpoint.path) if mine.paths[name]}
    for parameter in parameters(endpoint):
        for kind in known.values():
            for foreign, nobody in kind.pairs if parameter["name"] == kind.name else kind.few:
                query = base_query(endpoint)
                yield (
                    Ask(endpoint, path, query | {parameter["name"]: foreign}, body_of(endpoint), sent=(foreign,)),
                    Ask(endpoint, path, query | {parameter["name"]: nobody}, body_of(endpoint), sent=(nobody,)),
                )


def in_bodies(endpoint: Endpoint, mine: Account, known: Mapping[str, Kind]) -> Iterator[tuple[Ask, Ask]]:
    """Every value of the other account in every text of the endpoint's body, alone."""
    path = {name: mine.paths[name][0] for name in PARAMETER.findall(endpoint.path) if mine.paths[name]}
    for place in () if endpoint.name == RENAMES else texts(body_of(endpoint)):
        for kind in known.values():
            if endpoint.name in NAMED and kind.name == "word":
                continue
            for foreign, nobody in kind.few:
                yield (
                    Ask(endpoint, path, {}, replaced(body_of(endpoint), place, foreign), sent=(foreign,)),
                    Ask(endpoint, path, {}, replaced(body_of(endpoint), place, nobody), sent=(nobody,)),
                )


def texts(body: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where texts stand in a body."""
    if isinstance(body, str):
        yield at
    elif isinstance(body, Mapping):
        for name, value in body.items():
            yield from texts(value, (*at, name))
    elif isinstance(body, list):
        for number, value in enumerate(body):
            yield from texts(value, (*at, number))


def replaced(body: Any, place: Sequence[str | int], value: str) -> Any:
    """The body with another text in one place, without the optional texts beside it."""
    if not place:
        return value
    first, *rest = place
    if isinstance(body, list):
        assert isinstance(first, int)
        return [*body[:first], replaced(body[first], rest, value), *body[first + 1 :]]
    kept = {name: inner for name, inner in body.items() if name in NEEDED or name == first}
    return kept | {first: replaced(body[first], rest, value)}


NAMED = frozenset({"signUp", "deleteAccount"})
"""No two accounts are called the same, as is documented, so that a name is taken can be seen."""
RENAMES = "changeAccount"
"""Its one text is the account's own name, without which the account could be deleted by mistake here."""
NEEDED = frozenset({"events", "format", "scopes", "lines", "service", "email", "verdict", "status"})


def credentials(mine: Account, theirs: Account) -> dict[str, dict[str, str]]:
    """Everybody that one account has, nobody at all, and those who say that they are of the other account."""
    foreign = {TENANT_HEADER: str(theirs.tenant_id)}
    return {
        **mine.credentials,
        "none": {},
        "none with a header": foreign,
        "admin with a header": {**mine.credentials["admin"], **foreign},
        "owner with a header": {**mine.owner, **foreign},
    }


async def send(house: House, ask: Ask, credential: Mapping[str, str]) -> httpx.Response:
    """Send a request; of an endless answer what comes first."""
    path = ask.endpoint.path.format(**ask.path)
    headers = {**credential, **ask.headers}
    request = house.client.build_request(ask.endpoint.method, path, params=dict(ask.query), json=ask.body, headers=headers)
    if ask.endpoint.name != LIVE:
        return await house.client.send(request)
    answer = await house.client.send(request, stream=True)
    try:
        if answer.status_code != 200:
            await answer.aread()
            return answer
        text = ""
        async for piece in answer.aiter_text():
            text += piece
            if "event: ready" in text or "event: reset" in text:
                break
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, text=text)
    finally:
        await answer.aclose()


VOLATILE = ("request_id", "instance")


def shape(answer: httpx.Response, sent: Iterable[str]) -> tuple[int, str, Any]:
    """An answer without what it repeats of its request; of a success its members alone, whose values depend on the hour."""
    text = answer.text
    media = answer.headers.get("content-type", "")
    for value in sent:
        text = text.replace(value, "<sent>")
    if "problem" in media:
        told = httpx.Response(200, text=text).json()
        if answer.status_code == 400:  # its words are about how the value is spelled
            return 400, media, (told["code"], [(it.get("pointer"), it.get("parameter")) for it in told.get("errors", ())])
        return answer.status_code, media, {name: told[name] for name in told if name not in VOLATILE}
    if answer.status_code < 300 and media == "application/json" and "<sent>" not in text:
        return answer.status_code, media, sorted(httpx.Response(200, text=text).json())
    return answer.status_code, media, None


def foreign_texts(text: str, theirs: Account, sent: Iterable[str]) -> set[str]:
    """What stands in an answer that belongs to the other account, and was not in the request."""
    told = tuple(sent)
    return {secret for secret in theirs.secrets if secret in text and not any(secret in value for value in told)}


def may(endpoint: Endpoint, name: str) -> bool:
    """Whether a credential that can do everything in its account opens an endpoint."""
    return endpoint.scope is not None and (name == "owner" or (name == "admin" and endpoint.caller is Caller.ANYBODY))


async def harvest(house: House, account: Account) -> tuple[dict[str, str], set[str], set[str]]:
    """What an account reads of itself, by path; every id in it and its canary; and cursors of its lists."""
    told: dict[str, str] = {}
    cursors: set[str] = set()
    for endpoint in ENDPOINTS:
        if endpoint.method != "GET" or endpoint.scope is None or endpoint.name in (LIVE, "getOperation"):
            continue
        names = PARAMETER.findall(endpoint.path)
        for value in account.paths[names[0]] if names else ("",):
            path = dict.fromkeys(names, value)
            answer = await send(house, Ask(endpoint, path, base_query(endpoint)), account.owner)
            told[f"{endpoint.name} {value}"] = answer.text
            if "limit" in endpoint.query.model_fields:
                page = await send(house, Ask(endpoint, path, base_query(endpoint) | {"limit": "1"}), account.owner)
                if page.status_code == 200 and (cursor := page.json()["next_cursor"]) is not None:
                    cursors.add(cursor)
    ids = {account.canary, str(account.tenant_id), *account.paths["id"], *cursors, *account.secrets}
    ids |= {found for text in told.values() for found in UUID.findall(text)}
    return told, ids, cursors
