"""Incidents, operations, exports, scores, plans, the public configuration and the waiting list over HTTP."""

import asyncio
import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import httpx
import pytest

from api.deps import ApiLimits
from api.operations import Operation, operation_id, parse_operation
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.scores import MinuteScore
from tests.api.conftest import Service
from tests.api.fakes import OTHER_TENANT, TENANT, key, make_finding, make_incident, make_stream, stream_id_of

WithDeps = Callable[..., httpx.AsyncClient]
KEY = StreamKey(Signal.LOGS, "shop")
OTHER = {"X-Api-Key": key("other")}
READER = {"X-Api-Key": key("reader")}
MINUTE_NS = 60_000_000_000


@pytest.fixture
def shop(service: Service) -> UUID:
    stream = make_stream(stream_id_of(TENANT, KEY), "shop", KEY)
    service.house.stream_rows[TENANT][stream.stream_id] = replace(stream, last_event_ns=1_000 * MINUTE_NS + 1, events=7)
    return stream.stream_id


@pytest.fixture
def incident(service: Service, shop: UUID) -> str:
    row = make_incident(1, service.house.stream_rows[TENANT][shop])
    service.house.incident_rows[TENANT].append(row)
    return f"/v1/incidents/{row.incident.incident_id}"


async def test_an_incident_is_acknowledged_and_resolved(service: Service, incident: str) -> None:
    first = await service.client.get(incident)
    assert (first.json()["status"], first.json()["action"], first.json()["reopened"]) == ("open", None, False)
    change = {"status": "acknowledged", "note": "on it"}
    done = await service.client.patch(incident, json=change, headers={"If-Match": first.headers["ETag"]})
    assert done.status_code == 200, done.text
    assert (done.json()["status"], done.json()["action"]["note"], done.json()["action"]["by_kind"]) == (
        "acknowledged",
        "on it",
        "key",
    )
    assert done.headers["ETag"] != first.headers["ETag"]
    stale = await service.client.patch(incident, json={"status": "resolved"}, headers={"If-Match": first.headers["ETag"]})
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
    kept = await service.client.patch(incident, json={"status": "resolved"})
    assert (kept.json()["status"], kept.json()["action"]["note"]) == ("resolved", "on it")
    assert (await service.client.patch(incident, json={"note": None})).json()["action"]["note"] == ""
    listed = (await service.client.get("/v1/incidents?status=resolved")).json()["incidents"]
    assert len(listed) == 1
    assert (await service.client.get("/v1/incidents?status=open")).json()["incidents"] == []


async def test_a_resolved_incident_with_more_anomalies_is_shown_as_open(service: Service, incident: str) -> None:
    await service.client.patch(incident, json={"status": "resolved"})
    [row] = service.house.incident_rows[TENANT]
    service.house.incident_rows[TENANT][0] = replace(row, incident=replace(row.incident, findings=3))
    body = (await service.client.get(incident)).json()
    assert (body["status"], body["reopened"], body["action"]["status"]) == ("open", True, "resolved")


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({}, ""),
        ({"status": "gone"}, "/status"),
        ({"note": "x" * 4097}, "/note"),
        ({"status": None}, "/status"),
        ({"a": 1}, "/a"),
    ],
    ids=["nothing", "status", "long", "null", "unknown"],
)
async def test_wrong_changes_of_incidents(service: Service, incident: str, change: dict[str, object], pointer: str) -> None:
    response = await service.client.patch(incident, json=change)
    assert response.status_code == 400
    assert response.json()["errors"][0].get("pointer", "") == pointer


async def test_only_who_may_changes_incidents_and_others_do_not_find_them(service: Service, incident: str) -> None:
    assert (await service.client.patch(incident, json={"status": "open"}, headers=READER)).status_code == 403
    assert (await service.client.patch(incident, json={"status": "open"}, headers=OTHER)).status_code == 404
    assert (await service.client.get(incident, headers=READER)).status_code == 200
    assert (await service.client.patch("/v1/incidents/x", json={"status": "open"})).status_code == 404


async def test_incidents_are_filtered(service: Service, incident: str) -> None:
    for query, count in (
        ("state=open", 1),
        ("state=closed", 0),
        ("stream=shop", 1),
        ("alerted=false", 0),
        ("until=2000-01-01T00:00:00Z", 0),
        ("since=2000-01-01T00:00:00Z", 1),
    ):
        found = (await service.client.get(f"/v1/incidents?{query}")).json()["incidents"]
        assert len(found) == count, query
    assert (await service.client.get("/v1/incidents?state=odd")).status_code == 400
    assert (await service.client.get("/v1/incidents?stream=nobody")).status_code == 404


# ---- operations ----------------------------------------------------------------------------------------------------------


async def test_the_result_of_a_late_detect_is_never_lost(service: Service, with_deps: WithDeps) -> None:
    service.house.gate = asyncio.Event()
    service.house.detect = lambda stream, _: [make_finding(window=stream.events, last_event=stream.events - 1)]
    async with with_deps(limits=ApiLimits(detect_wait_ms_max=20, operation_wait_ms_max=20)) as client:
        late = await client.post("/v1/detect", json={"events": ["a", "b"]})
        assert late.status_code == 202
        pending = await client.get(late.headers["Location"])
        assert (pending.status_code, pending.json()["status"], pending.json()["result"]) == (200, "pending", None)
        assert pending.headers["Retry-After"] == "1"
        assert (await client.get(late.headers["Location"], headers=OTHER)).status_code == 404
    service.house.gate.set()
    assert (await service.client.get(late.headers["Location"])).json()["status"] == "done"
    await service.client.post("/v1/detect", json={"events": ["later", "and", "later"]})
    done = (await service.client.get(late.headers["Location"])).json()  # what came since is not in it
    assert (done["status"], done["id"]) == ("done", late.json()["operation"])
    result = done["result"]
    assert (result["processed"], result["operation"], len(result["anomalies"])) == (2, None, 1)
    same = ["stream", "processed", "duplicate", "cuts"]
    assert {name: result[name] for name in same} == {name: late.json()[name] for name in same}


def test_names_of_operations_are_checked() -> None:
    operation = Operation(UUID(int=5), 2**63 - 1, 2**62, 10_000, 1, 2, 3, True)
    name = operation_id(TENANT, operation)
    assert parse_operation(TENANT, name) == operation
    assert parse_operation(OTHER_TENANT, name) is None
    for place in range(len(name)):
        for other in "Ab_":
            broken = name[:place] + other + name[place + 1 :]
            assert broken == name or parse_operation(TENANT, broken) is None, broken
    for broken in ("", "op_", name[:-1], name + "A", name + "=", name + "\n", "op_" + "A" * 500, "op_\u00e9"):
        assert parse_operation(TENANT, broken) is None, broken


# ---- exports -------------------------------------------------------------------------------------------------------------


def fill(service: Service, shop: UUID, count: int, **changes: object) -> None:
    stream = service.house.stream_rows[TENANT][shop]
    for window in range(count):
        service.house.add_anomaly(TENANT, stream, make_finding(window=window, last_event=60 + window, **changes))


async def export(service: Service, **body: object) -> httpx.Response:
    return await service.client.post("/v1/anomalies/export", json=body)


async def test_files_hold_the_list_and_go_on_where_they_end(service: Service, shop: UUID) -> None:
    fill(service, shop, 450)
    listed: list[str] = []
    cursor = None
    while True:
        page = (
            await service.client.get("/v1/anomalies", params={"limit": 200} | ({"cursor": cursor} if cursor else {}))
        ).json()
        listed += [row["id"] for row in page["anomalies"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    whole = await export(service, format="jsonl")
    assert [json.loads(line)["id"] for line in whole.text.splitlines()] == listed
    assert whole.headers["Content-Type"].startswith("application/x-ndjson")
    assert whole.headers["Content-Disposition"] == 'attachment; filename="anomalies-2027-01-15.jsonl"'
    assert "X-Next-Cursor" not in whole.headers
    parts: list[str] = []
    body: dict[str, object] = {"format": "jsonl", "rows": 201}
    for count in (201, 201, 48):
        part = await export(service, **body)
        ids = [json.loads(line)["id"] for line in part.text.splitlines()]
        assert len(ids) == count
        parts += ids
        body["cursor"] = part.headers.get("X-Next-Cursor")
    assert parts == listed
    assert body["cursor"] is None


async def test_what_comes_in_meanwhile_moves_no_row_out_of_the_files(service: Service, shop: UUID) -> None:
    fill(service, shop, 30)
    anomalies, real = service.deps.anomalies, service.deps.anomalies.place

    async def place_then_more(*arguments: object, **named: object) -> object:
        end = await real(*arguments, **named)  # type: ignore[arg-type]
        service.house.add_anomaly(TENANT, service.house.stream_rows[TENANT][shop], make_finding(window=500, last_event=900))
        return end

    anomalies.place = place_then_more  # type: ignore[method-assign, assignment]
    first = await export(service, format="jsonl", rows=10)
    anomalies.place = real  # type: ignore[method-assign]
    rest = await export(service, format="jsonl", cursor=first.headers["X-Next-Cursor"])
    windows = [json.loads(line)["window"] for part in (first, rest) for line in part.text.splitlines()]
    assert sorted(windows) == [*range(30), 500]


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-2+3", "@SUM(A1)", "\t=1", " =1", "\uff1d1"])
async def test_no_cell_is_a_formula(service: Service, shop: UUID, text: str) -> None:
    line = replace(make_finding().lines[1], text=text)
    fill(service, shop, 1, explanation=text, subject=text, lines=(line,))
    response = await export(service, format="csv")
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    [row] = csv.DictReader(io.StringIO(response.text, newline=""))
    assert (row["explanation"], row["subject"], row["top_line"]) == ("'" + text,) * 3
    assert (row["stream"], row["p_value"], row["question"]) == ("shop", "0.002", "novelty")


async def test_markdown_shows_texts_as_they_stand(service: Service, shop: UUID) -> None:
    fill(service, shop, 1, explanation="<img src=x onerror=a>\n# [x](javascript:y) `|`")
    text = (await export(service, format="markdown")).text
    assert "\n## \\<img src\\=x onerror\\=a\\> \\# \\[x\\]\\(javascript\\:y\\) \\`\\|\\`\n" in text
    assert "<img" not in text.replace("\\<", "")


async def test_filters_and_limits_of_exports(service: Service, shop: UUID, with_deps: WithDeps) -> None:
    fill(service, shop, 5)
    some = await export(service, format="jsonl", filters={"stream": "shop", "since": "2008-01-01T00:00:00Z", "min_ncd": 0.5})
    assert len(some.text.splitlines()) == 5
    assert (await export(service, format="jsonl", filters={"question": "silence"})).text == ""
    assert (await export(service, format="csv", filters={"max_p_value": 0.0001})).text.count("\r\n") == 1
    assert (await export(service, format="jsonl", filters={"stream": "nobody"})).status_code == 404
    assert (await export(service, format="jsonl", filters={"incident": str(UUID(int=1))})).text == ""
    first = await export(service, format="jsonl", rows=2)
    wrong = await export(service, format="jsonl", cursor=first.headers["X-Next-Cursor"], filters={"stream": "shop"})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (400, "/cursor")
    for body, pointer in (
        ({"format": "pdf"}, "/format"),
        ({"format": "csv", "rows": 0}, "/rows"),
        ({"format": "csv", "filters": {"odd": 1}}, "/filters/odd"),
        ({"format": "csv", "cursor": "x" * 2000}, "/cursor"),
    ):
        response = await export(service, **body)  # type: ignore[arg-type]
        assert (response.status_code, response.json()["errors"][0]["pointer"]) == (400, pointer)
    async with with_deps(limits=ApiLimits(export_rows_max=3)) as client:
        assert "export_rows_max" in (await client.post("/v1/anomalies/export", json={"format": "csv", "rows": 4})).text
        capped = await client.post("/v1/anomalies/export", json={"format": "jsonl"})
        assert (len(capped.text.splitlines()), "X-Next-Cursor" in capped.headers) == (3, True)
    assert (await service.client.post("/v1/anomalies/export", json={"format": "jsonl"}, headers=OTHER)).text == ""


# ---- scores --------------------------------------------------------------------------------------------------------------


async def test_scores_come_with_thresholds_and_findings(service: Service, shop: UUID) -> None:
    scores = service.deps.views.scores.minutes  # type: ignore[attr-defined]
    scores[shop] = [MinuteScore(990, 4, 1, 0, 2.0, 0.1, 0.3), MinuteScore(1_000, 3, 1, 1, 9.0, 0.7, 0.001)]
    fill(service, shop, 1, start_ns=999 * MINUTE_NS, end_ns=1_000 * MINUTE_NS)
    fill(service, shop, 1, start_ns=10 * MINUTE_NS, end_ns=11 * MINUTE_NS)
    body = (await service.client.get("/v1/streams/shop/scores?since=1970-01-01T16:00:00Z")).json()
    assert body["step_seconds"] == 60
    assert [(point["time"], point["events"], point["flagged"]) for point in body["points"]] == [
        ("1970-01-01T16:30:00Z", 4, 0),
        ("1970-01-01T16:40:00Z", 3, 1),
    ]
    assert body["thresholds"] == {"ncd": 0.3, "p_value": 0.05}
    assert len(body["findings"]) == 1
    hourly = (await service.client.get("/v1/streams/shop/scores?step=3600&until=1970-01-01T17:00:00Z")).json()
    assert [(point["time"], point["events"], point["p_value_min"]) for point in hourly["points"]] == [
        ("1970-01-01T16:00:00Z", 7, 0.001)
    ]
    for query in ("step=61", "step=30", "step=60", "since=1970-01-02T00:00:00Z&until=1970-01-01T00:00:00Z", "until=x"):
        long = "&since=1970-01-01T00:00:00Z&until=1970-02-15T00:00:00Z" if query == "step=60" else ""
        response = await service.client.get(f"/v1/streams/shop/scores?{query}{long}")
        assert (response.status_code, query) == (400, query)
    assert (await service.client.get("/v1/streams/shop/scores", headers=OTHER)).status_code == 404


# ---- what anybody may know -----------------------------------------------------------------------------------------------


async def test_plans_and_the_public_configuration_need_nobody(with_deps: WithDeps) -> None:
    async with with_deps(name=None) as client:
        plans = (await client.get("/v1/plans")).json()
        assert [plan["name"] for plan in plans["plans"]] == ["free", "starter", "pro", "team", "scale", "enterprise"]
        assert (plans["plans"][1]["price_cents"], plans["plans"][-1]["price_cents"], plans["trial_days"]) == (2900, None, 14)
        config = (await client.get("/v1/public-config")).json()
        assert config == {
            "version": "0.1.0",
            "sign_in": "local",
            "firebase": None,
            "demo": False,
            "plans_url": "/v1/plans",
        }


async def test_an_address_is_noted_once_and_the_answer_tells_nothing(service: Service, with_deps: WithDeps) -> None:
    async with with_deps(name=None) as client:
        answers = [
            await client.post("/v1/waitlist", json={"email": email}) for email in ("Ann@Example.com", "ann@example.COM ")
        ]
        assert {(answer.status_code, answer.text) for answer in answers} == {(202, '{"status":"noted"}')}
        assert service.deps.views.waitlist.emails == ["ann@example.com"]  # type: ignore[attr-defined]
        for email in (
            "x",
            "a@b",
            "a@b.c",
            "a b@c.de",
            "@x.org",
            "a@-x.org",
            "a@x..org",
            "a@x.org\n<b@y.org>",
            "a" * 65 + "@x.org",
        ):
            refused = await client.post("/v1/waitlist", json={"email": email})
            assert refused.status_code in (400, 429), email
        while (refused := await client.post("/v1/waitlist", json={"email": "z@x.org"})).status_code != 429:
            pass
        assert "Retry-After" in refused.headers
