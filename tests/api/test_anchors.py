"""Anchors over REST: freeze, settings, history, hours, and what streams without lines are told."""

import asyncio
from dataclasses import replace
from uuid import UUID

import httpx
import pytest

from api.anchor_models import AnchorPage, DriftPage, DriftState, StreamAnchor
from api.anchor_models import AnchorSettings as Shown
from api.deps import ApiLimits
from api.ports import StreamRow
from driftlock.accounts.actor import ActorKind
from driftlock.accounts.keys import Scope
from driftlock.engine.anchor import ANCHOR_LINES_MAX, AnchorChange, AnchorEnd, AnchorSettings, AnchorSource, AnchorStanding
from driftlock.engine.drift import HOUR_NS, DriftHour
from driftlock.engine.event import Signal, StreamKey
from tests.api.anchor_fakes import FakeAnchors
from tests.api.conftest import Service, client_of
from tests.api.fakes import OTHER_TENANT, TENANT, key, make_stream, stream_id_of

KEY = StreamKey(Signal.LOGS, "checkout")
ANCHOR, RESET = "/v1/streams/checkout/anchor", "/v1/streams/checkout/reset-anchor"
EVENTS = [f"order {number} paid" for number in range(60)]
HOUR_0 = 1_213_455_600 * 10**9 // HOUR_NS * HOUR_NS


@pytest.fixture
def stream(service: Service) -> StreamRow:
    return add(service, KEY)


@pytest.fixture
def anchors(service: Service) -> FakeAnchors:
    assert isinstance(service.deps.anchors, FakeAnchors)
    return service.deps.anchors


def add(service: Service, stream: StreamKey, tenant: UUID = TENANT) -> StreamRow:
    row = make_stream(stream_id_of(tenant, stream), stream.service, stream)
    service.house.stream_rows[tenant][row.stream_id] = row
    return row


async def ask(service: Service, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
    kept = {"X-Api-Key": key("good")} | {name.replace("_", "-"): value for name, value in headers.items()}
    return await service.client.request(method, path, json=body, headers=kept)


def hours(anchor_id: UUID, count: int, since_ns: int = 0) -> list[DriftHour]:
    return [
        DriftHour(anchor_id, HOUR_0 + n * HOUR_NS, n / 10, 3, None if n < 5 else 0.4, since_ns if n >= 5 else 0)
        for n in range(count)
    ]


async def test_a_stream_without_an_anchor_says_so(service: Service, stream: StreamRow) -> None:
    answer = await ask(service, "GET", ANCHOR)
    body = StreamAnchor.model_validate_json(answer.content)
    assert answer.status_code == 200
    assert (body.anchor, body.state, body.pending, body.newest_hour) == (None, DriftState.NONE, False, None)
    assert (body.settings.drift_ncd_threshold, body.settings.reset_on_drift) == (0.35, False)
    assert body.recovery_ncd_threshold == pytest.approx(0.28)
    assert body.stream.id == stream.stream_id


async def test_setting_an_anchor_freezes_once_and_the_same_again_changes_nothing(
    service: Service, stream: StreamRow, anchors: FakeAnchors
) -> None:
    wanted = {"drift_ncd_threshold": 0.5, "reset_on_drift": True}
    answer = await ask(service, "PUT", ANCHOR, wanted)
    body = StreamAnchor.model_validate_json(answer.content)
    assert (answer.status_code, body.pending, body.state) == (200, False, DriftState.MEASURING)
    assert body.anchor is not None
    assert (body.anchor.standing, body.anchor.source) == (AnchorStanding.IN_FORCE, AnchorSource.BASELINE)
    assert service.house.waited == [1]
    again = await ask(service, "PUT", ANCHOR, wanted)
    assert again.json() == answer.json()
    other = StreamAnchor.model_validate_json((await ask(service, "PUT", ANCHOR, {})).content)
    assert other.anchor == body.anchor
    assert other.settings.drift_ncd_threshold == 0.35
    assert [(it.action, it.actor.kind) for it in anchors.noted] == [("anchor.set", ActorKind.KEY)] * 2
    assert anchors.noted[0].detail == wanted
    assert stream.stream_id in anchors.anchors


async def test_a_freeze_that_takes_too_long_is_pending_and_not_asked_for_twice(
    service: Service, stream: StreamRow, anchors: FakeAnchors
) -> None:
    service.house.gate = asyncio.Event()
    slow = replace(service.deps, limits=ApiLimits(detect_wait_ms_max=10))
    async with client_of(slow) as client:
        first = await client.put(ANCHOR, json={})
        second = await client.put(ANCHOR, json={"drift_ncd_threshold": 0.5})
        dropped = await client.delete(ANCHOR)
    for answer in (first, second, dropped):
        assert answer.status_code == 202
        assert answer.headers["Location"] == f"/v1/streams/{stream.stream_id}/anchor"
    assert first.json()["pending"]
    assert first.json()["anchor"] is None
    assert [change.freeze is not None for _, _, change in anchors.changes] == [True, False, False]
    service.house.gate.set()
    assert (await ask(service, "GET", ANCHOR)).json()["pending"] is False


async def test_a_reset_takes_the_place_of_the_anchor_and_keeps_the_old_one(service: Service, stream: StreamRow) -> None:
    first = StreamAnchor.model_validate_json((await ask(service, "POST", RESET, {})).content)
    second = StreamAnchor.model_validate_json((await ask(service, "POST", RESET, {"events": EVENTS, "codec": "zstd"})).content)
    assert first.anchor is not None
    assert second.anchor is not None
    assert first.anchor.id != second.anchor.id
    assert (second.anchor.source, second.anchor.lines, second.anchor.codec.name) == (AnchorSource.EVENTS, 60, "zstd")
    page = AnchorPage.model_validate_json((await ask(service, "GET", "/v1/streams/checkout/anchors")).content)
    assert [it.id for it in page.anchors] == [second.anchor.id, first.anchor.id]
    assert page.anchors[1].ended_because is AnchorEnd.RESET
    assert page.anchors[1].ended_at is not None
    short = (await ask(service, "GET", "/v1/streams/checkout/anchors?limit=1")).json()
    rest = (await ask(service, "GET", f"/v1/streams/checkout/anchors?limit=1&cursor={short['next_cursor']}")).json()
    assert [it["id"] for it in (*short["anchors"], *rest["anchors"])] == [str(it.id) for it in page.anchors]
    assert rest["next_cursor"] is None
    assert stream.slug == "checkout"


async def test_the_events_are_those_of_detection(service: Service, stream: StreamRow, anchors: FakeAnchors) -> None:
    service.house.gate = asyncio.Event()
    service.house.gate.set()
    events = [{"time": "2026-01-02T03:04:05Z", "text": f"order {n} paid", "user": "ann"} for n in range(60)]
    seen: list[bytes] = []
    change = anchors.change

    async def noting(*args: object, **named: object) -> int:
        freeze = args[2].freeze  # type: ignore[attr-defined]
        seen.append(freeze.text[: freeze.lengths[0]])
        return await change(*args, **named)  # type: ignore[arg-type]

    anchors.change = noting  # type: ignore[method-assign]
    assert (await ask(service, "POST", RESET, {"events": events})).status_code == 200
    assert b"order 0 paid" in seen[0]
    assert b"ann" in seen[0]
    assert b"2026" not in seen[0]
    assert stream.stream_id


async def test_dropping_answers_without_a_body_and_once(service: Service, stream: StreamRow, anchors: FakeAnchors) -> None:
    await ask(service, "PUT", ANCHOR, {"drift_ncd_threshold": 0.6})
    dropped = await ask(service, "DELETE", ANCHOR)
    assert (dropped.status_code, dropped.content) == (204, b"")
    body = StreamAnchor.model_validate_json((await ask(service, "GET", ANCHOR)).content)
    assert (body.anchor, body.settings.drift_ncd_threshold) == (None, 0.6)
    assert (await ask(service, "DELETE", ANCHOR)).status_code == 404
    assert anchors.anchors[stream.stream_id][0].ended_because is AnchorEnd.DROPPED


async def test_a_baseline_that_is_too_short_is_refused_in_words(
    service: Service, stream: StreamRow, anchors: FakeAnchors
) -> None:
    anchors.lines = 12
    answer = await ask(service, "POST", RESET, {})
    assert answer.status_code == 409
    assert "12 lines could be frozen" in answer.json()["detail"]
    assert "give some" in answer.json()["detail"]
    assert (await ask(service, "GET", ANCHOR)).json()["anchor"] is None
    assert stream.stream_id in anchors.anchors


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"events": EVENTS[:49]}, "/events"),
        ({"events": ["x"] * (ANCHOR_LINES_MAX + 1)}, "/events"),
        ({"events": [*EVENTS, 7]}, "/events/60"),
        ({"codec": "brotli"}, "/codec"),
        ({"codec": "zstd", "codec_level": 10}, "/codec_level"),
        ({"anchor": 1}, "/anchor"),
    ],
    ids=["few", "many", "no event", "codec", "level", "unknown"],
)
async def test_wrong_resets_are_named(service: Service, stream: StreamRow, body: object, pointer: str) -> None:
    answer = await ask(service, "POST", RESET, body)
    assert answer.status_code in (400, 413)
    shown = answer.json()
    assert pointer in {shown.get("pointer"), *(error.get("pointer") for error in shown.get("errors", []))}
    assert (await ask(service, "GET", ANCHOR)).json()["anchor"] is None
    assert stream.slug


async def test_events_of_too_many_bytes_are_refused(
    service: Service, stream: StreamRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.routes.anchors.ANCHOR_TEXT_BYTES_MAX", 1000)
    answer = await ask(service, "POST", RESET, {"events": ["x" * 30] * 60})
    assert answer.status_code == 413
    assert "anchor_text_bytes_max" in answer.json()["detail"]
    assert stream.slug


@pytest.mark.parametrize("value", [0, 0.009, 1.01, "0.5", None])
async def test_thresholds_out_of_range_are_named(service: Service, stream: StreamRow, value: object) -> None:
    answer = await ask(service, "PUT", ANCHOR, {"drift_ncd_threshold": value})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == "/drift_ncd_threshold"
    assert stream.slug


@pytest.mark.parametrize(
    ("other", "said"),
    [(StreamKey(Signal.METRICS, "numbers"), "numbers"), (StreamKey(Signal.TRACES, "_traces"), "whole traces")],
    ids=["metrics", "traces"],
)
async def test_streams_without_lines_have_no_anchor(service: Service, other: StreamKey, said: str) -> None:
    row = add(service, other)
    path = f"/v1/streams/{row.stream_id}"
    changes: list[tuple[str, str, object]] = [
        ("PUT", "/anchor", {}),
        ("DELETE", "/anchor", None),
        ("POST", "/reset-anchor", {}),
    ]
    for method, tail, body in changes:
        answer = await ask(service, method, path + tail, body)
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert said in answer.json()["detail"]
    for tail in ("/anchor", "/anchors", "/drift"):
        assert (await ask(service, "GET", path + tail)).status_code == 404


async def test_another_tenants_stream_is_not_there(service: Service) -> None:
    foreign = add(service, StreamKey(Signal.LOGS, "theirs"), OTHER_TENANT)
    path = f"/v1/streams/{foreign.stream_id}"
    for method, tail, body in (
        ("GET", "/anchor", None),
        ("PUT", "/anchor", {}),
        ("DELETE", "/anchor", None),
        ("POST", "/reset-anchor", {}),
        ("GET", "/anchors", None),
        ("GET", "/drift", None),
    ):
        assert (await ask(service, method, path + tail, body)).status_code == 404


async def test_reading_is_not_changing(service: Service, stream: StreamRow) -> None:
    for method, path in (("PUT", ANCHOR), ("DELETE", ANCHOR), ("POST", RESET)):
        answer = await ask(service, method, path, {} if method != "DELETE" else None, X_Api_Key=key("reader"))
        assert (answer.status_code, Scope.ADMIN in answer.json()["detail"]) == (403, True)
    assert (await ask(service, "GET", ANCHOR, X_Api_Key=key("reader"))).status_code == 200
    assert stream.slug


async def test_a_change_that_is_based_on_what_was_read_and_has_moved_is_refused(service: Service, stream: StreamRow) -> None:
    read = (await ask(service, "GET", ANCHOR)).headers["ETag"]
    assert (await ask(service, "PUT", ANCHOR, {"drift_ncd_threshold": 0.5}, If_Match=read)).status_code == 200
    late = await ask(service, "PUT", ANCHOR, {"drift_ncd_threshold": 0.6}, If_Match=read)
    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
    assert (await ask(service, "DELETE", ANCHOR, If_Match=read)).status_code == 412
    body = (await ask(service, "GET", ANCHOR)).json()
    assert body["settings"]["drift_ncd_threshold"] == 0.5
    assert body["anchor"] is not None
    assert stream.slug


async def test_a_reset_is_a_change_and_heeds_those_of_others(service: Service, stream: StreamRow, anchors: FakeAnchors) -> None:
    read = (await ask(service, "PUT", ANCHOR, {})).headers["ETag"]
    first = await ask(service, "POST", RESET, {}, If_Match=read)
    assert (first.status_code, first.headers["ETag"] != read) == (200, True)
    for method, path, body in (("POST", RESET, {}), ("DELETE", ANCHOR, None), ("PUT", ANCHOR, {"drift_ncd_threshold": 0.5})):
        assert (await ask(service, method, path, body, If_Match=read)).status_code == 412
    assert [note.ended_because for note in anchors.anchors[stream.stream_id]] == [AnchorEnd.RESET, None]
    assert (await ask(service, "POST", RESET, {}, If_Match=first.headers["ETag"])).status_code == 200


async def test_events_to_freeze_are_redacted_once_as_records_are(
    service: Service, stream: StreamRow, anchors: FakeAnchors
) -> None:
    rules = {"rules": [{"name": "psp1", "mask": "psp{digits}"}]}
    assert (await service.client.put("/v1/redaction", json=rules)).status_code == 200
    seen: list[AnchorChange] = []
    apply = anchors._apply

    def spy() -> None:
        seen.extend(change for _, _, change in anchors.changes)
        apply()

    anchors._apply = spy  # type: ignore[method-assign]
    assert (await ask(service, "POST", RESET, {"events": ["sent psp7"] * 60})).status_code == 200
    assert seen[0].freeze is not None
    assert seen[0].freeze.text == b"sent [psp1]" * 60
    assert stream.slug


async def test_hours_are_listed_with_the_thresholds(service: Service, stream: StreamRow, anchors: FakeAnchors) -> None:
    await ask(service, "PUT", ANCHOR, {"drift_ncd_threshold": 0.5})
    anchor_id = anchors.anchors[stream.stream_id][0].anchor_id
    anchors.hours[stream.stream_id] = hours(anchor_id, 8, since_ns=HOUR_0 + 6 * HOUR_NS)
    drifting = StreamAnchor.model_validate_json((await ask(service, "GET", ANCHOR)).content)
    assert drifting.state is DriftState.DRIFTING
    assert drifting.newest_hour is not None
    assert drifting.newest_hour.distance == 0.7
    page = DriftPage.model_validate_json((await ask(service, "GET", "/v1/streams/checkout/drift")).content)
    assert (page.drift_ncd_threshold, page.recovery_ncd_threshold) == (0.5, 0.4)
    assert [hour.distance for hour in page.hours] == [n / 10 for n in range(8)][::-1]
    assert [hour.drifting for hour in page.hours] == [True] * 3 + [False] * 5
    assert page.hours[0].since == "2008-06-14T21:00:00Z"
    walked, cursor = [], ""
    while True:
        body = (await ask(service, "GET", f"/v1/streams/checkout/drift?limit=3{cursor}")).json()
        walked += body["hours"]
        if body["next_cursor"] is None:
            break
        cursor = f"&cursor={body['next_cursor']}"
    assert walked == [hour.model_dump(mode="json") for hour in page.hours]
    bounds = "since=2008-06-14T16:00:00Z&until=2008-06-14T18:00:00Z"
    some = (await ask(service, "GET", f"/v1/streams/checkout/drift?{bounds}&anchor={anchor_id}")).json()
    assert [hour["hour"] for hour in some["hours"]] == ["2008-06-14T17:00:00Z", "2008-06-14T16:00:00Z"]
    none = (await ask(service, "GET", f"/v1/streams/checkout/drift?anchor={UUID(int=3)}")).json()
    assert none["hours"] == []
    assert (await ask(service, "GET", "/v1/streams/checkout/drift?since=yesterday")).status_code == 400


@pytest.mark.parametrize(("count", "state"), [(0, "measuring"), (3, "measuring"), (6, "steady")])
async def test_the_state_is_that_of_the_newest_hour(
    service: Service, stream: StreamRow, anchors: FakeAnchors, count: int, state: str
) -> None:
    await ask(service, "PUT", ANCHOR, {})
    anchors.hours[stream.stream_id] = hours(anchors.anchors[stream.stream_id][0].anchor_id, count)
    assert (await ask(service, "GET", ANCHOR)).json()["state"] == state


def test_the_defaults_of_the_bodies_are_the_engines() -> None:
    assert Shown().drift_ncd_threshold == AnchorSettings().drift_ncd_threshold
    assert Shown().reset_on_drift == AnchorSettings().reset_on_drift
