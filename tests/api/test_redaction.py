"""Redaction over REST: rules shown and changed, lines tried out, and what comes in loses what they find."""

from typing import Any

import pytest

from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.redaction import RULES_MAX, Rule
from tests.accounts.counting import CountingMeter
from tests.api.conftest import Service
from tests.api.fakes import OTHER_TENANT, TENANT, key
from tests.api.redaction_fakes import FakeRedaction

MAIL = {"name": "mail", "where": "text", "kind": "email", "mask": None, "action": "hash"}
USER = {"name": "user", "where": "attribute:user", "kind": None, "mask": None, "action": "drop"}
CHECKOUT = StreamKey(Signal.LOGS, "checkout")


def redaction(service: Service) -> FakeRedaction:
    fake = service.deps.redaction
    assert isinstance(fake, FakeRedaction)
    return fake


async def test_rules_are_shown_changed_and_guarded_by_their_etag(service: Service) -> None:
    empty = await service.client.get("/v1/redaction")
    assert empty.json() | {"effect": ""} == {
        "stream": None, "rules": [], "inherited": [], "position": None, "changed_at": None, "effect": "",
    }  # fmt: skip
    rules = {
        "rules": [
            {"name": "mail", "kind": "email", "action": "hash"},
            {"name": "user", "where": "attribute:user", "action": "drop"},
        ]
    }
    changed = await service.client.put("/v1/redaction", json=rules, headers={"If-Match": empty.headers["ETag"]})
    assert changed.status_code == 200
    assert changed.json()["rules"] == [MAIL, USER]
    assert changed.json()["position"] == 1
    again = await service.client.get("/v1/redaction")
    assert again.json() == changed.json()
    assert again.headers["ETag"] == changed.headers["ETag"] != empty.headers["ETag"]
    late = await service.client.put("/v1/redaction", json={"rules": []}, headers={"If-Match": empty.headers["ETag"]})
    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
    assert (await service.client.get("/v1/redaction")).json()["rules"] == [MAIL, USER]
    (_, actor) = redaction(service).noted[0]
    assert actor.id


async def test_rules_of_a_stream_stand_beside_those_of_the_account(service: Service) -> None:
    stream = service.house._stream(TENANT, CHECKOUT)
    await service.client.put("/v1/redaction", json={"rules": [{"name": "mail", "kind": "email"}]})
    changed = await service.client.put("/v1/streams/checkout/redaction", json={"rules": [{"name": "o", "mask": "o-{digits}"}]})
    body = changed.json()
    assert [rule["name"] for rule in body["rules"]] == ["o"]
    assert [rule["name"] for rule in body["inherited"]] == ["mail"]
    assert body["stream"] == {"id": str(stream.stream_id), "slug": "checkout"}
    foreign = service.house._stream(OTHER_TENANT, StreamKey(Signal.LOGS, "theirs"))
    for name in ("nothing", str(foreign.stream_id)):
        assert (await service.client.get(f"/v1/streams/{name}/redaction")).status_code == 404
        assert (await service.client.put(f"/v1/streams/{name}/redaction", json={"rules": []})).status_code == 404


@pytest.mark.parametrize(
    ("rule", "member"),
    [
        ({"name": "A", "kind": "email"}, "name"),
        ({"name": "", "kind": "email"}, "name"),
        ({"name": "a" * 33, "kind": "email"}, "name"),
        ({"name": "a", "kind": "mail"}, "kind"),
        ({"name": "a"}, "kind"),
        ({"name": "a", "kind": "email", "mask": "a{digits}"}, "mask"),
        ({"name": "a", "mask": "a{digits"}, "mask"),
        ({"name": "a", "mask": "abc{digits}{as:X}"}, "mask"),
        ({"name": "a", "kind": "email", "where": "body"}, "where"),
        ({"name": "a", "where": "attribute:"}, "where"),
        ({"name": "a", "where": "attribute:a b"}, "where"),
        ({"name": "a", "where": "attribute:" + "a" * 257}, "where"),
        ({"name": "a", "kind": "email", "action": "drop"}, "action"),
        ({"name": "a", "kind": "email", "action": "keep"}, "action"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_wrong_rules_are_pointed_at(service: Service, rule: dict[str, Any], member: str) -> None:
    good = {"name": "good", "kind": "ip"}
    answer = await service.client.put("/v1/redaction", json={"rules": [good, rule]})
    assert answer.status_code == 400
    assert [error["pointer"] for error in answer.json()["errors"]] == [f"/rules/1/{member}"]
    assert redaction(service).kept == {}


async def test_limits_of_rules(service: Service) -> None:
    def rules(count: int) -> dict[str, Any]:
        return {"rules": [{"name": f"r{number}", "kind": "email"} for number in range(count)]}

    assert (await service.client.put("/v1/redaction", json=rules(RULES_MAX))).status_code == 200
    many = await service.client.put("/v1/redaction", json=rules(RULES_MAX + 1))
    assert [error["pointer"] for error in many.json()["errors"]] == ["/rules"]
    twice = {"rules": [{"name": "a", "kind": "email"}, {"name": "a", "kind": "ip"}]}
    assert (await service.client.put("/v1/redaction", json=twice)).json()["errors"][0]["pointer"] == "/rules/1/name"
    unknown = {"rules": [{"name": "a", "kind": "email", "regex": ".*"}]}
    assert (await service.client.put("/v1/redaction", json=unknown)).json()["errors"][0]["pointer"] == "/rules/0/regex"


async def test_lines_are_tried_out_and_not_stored(service: Service) -> None:
    service.house._stream(TENANT, CHECKOUT)
    body = {
        "lines": ["hi bob@x.de", "user=bob z=1", "plain", ""],
        "rules": [{"name": "mail", "kind": "email"}, {"name": "user", "where": "attribute:user", "action": "drop"}],
    }
    tried = await service.client.post("/v1/redaction/test", json=body)
    assert tried.json() == {
        "lines": [
            {"text": "hi [mail]", "changed": True},
            {"text": "z=1", "changed": True},
            {"text": "plain", "changed": False},
            {"text": "", "changed": False},
        ],
        "changed": 2,
        "rules": [{"name": "mail", "found": 1}, {"name": "user", "found": 1}],
    }
    assert redaction(service).kept == {}
    assert service.house.submissions == []
    await service.client.put("/v1/redaction", json={"rules": [{"name": "mail", "kind": "email"}]})
    await service.client.put("/v1/streams/checkout/redaction", json={"rules": [{"name": "o", "mask": "o-{digits}"}]})
    in_force = await service.client.post("/v1/redaction/test", json={"lines": ["a@b o-12"]})
    assert in_force.json()["lines"][0]["text"] == "[mail] o-12"
    of_stream = await service.client.post("/v1/redaction/test", json={"lines": ["a@b o-12"], "stream": "checkout"})
    assert of_stream.json()["lines"][0]["text"] == "[mail] [o]"
    many = await service.client.post("/v1/redaction/test", json={"lines": ["x"] * 201})
    assert (many.status_code, many.json()["errors"][0]["pointer"]) == (400, "/lines")
    long = await service.client.post("/v1/redaction/test", json={"lines": ["x" * (1 << 20), "y"]})
    assert long.json()["errors"][0]["pointer"] == "/lines"


@pytest.mark.parametrize("name", ["reader", "writer"])
async def test_rules_are_for_those_who_administer(service: Service, name: str) -> None:
    headers = {"X-Api-Key": key(name)}
    for method, path in (("GET", "/v1/redaction"), ("PUT", "/v1/redaction"), ("POST", "/v1/redaction/test")):
        answer = await service.client.request(method, path, json={"rules": [], "lines": []}, headers=headers)
        assert answer.status_code == 403


async def test_what_is_detected_has_lost_what_rules_find(service: Service) -> None:
    service.house._stream(TENANT, CHECKOUT)
    fake = redaction(service)
    await fake.put(TENANT, None, [Rule("mail", kind="email", action="hash")], None)  # type: ignore[arg-type]
    await service.client.put(
        "/v1/streams/checkout/redaction", json={"rules": [{"name": "user", "where": "attribute:user", "action": "drop"}]}
    )
    events = ["from bob@x.de", {"text": "login", "user": "bob", "z": 1}, "plain"]
    for stream in ("checkout", "other"):
        answer = await service.client.post(
            "/v1/detect", json={"stream_id": stream, "events": events}, headers={"Idempotency-Key": stream}
        )
        assert answer.status_code == 200
    here, there = (list(each.batches[0].batch.lines()) for each in service.house.submissions)
    assert [line.split(b"[")[0] for line in here] == [b"from ", b"login z=1", b"plain"]
    assert here[0] == there[0]  # equal values stay equal
    assert b"bob@x" not in here[0]
    assert there[1] == b"login user=bob z=1"
    meter = service.deps.meter
    assert isinstance(meter, CountingMeter)
    # The key stands for what was sent: it is the same request when rules have changed since.
    await fake.put(TENANT, None, [], None)  # type: ignore[arg-type]
    again = await service.client.post(
        "/v1/detect", json={"stream_id": "checkout", "events": events}, headers={"Idempotency-Key": "checkout"}
    )
    assert again.json()["duplicate"] is True
