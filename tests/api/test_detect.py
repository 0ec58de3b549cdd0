import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from uuid import UUID

import httpx
import pytest

from api.deps import ApiLimits
from api.models import DetectResponse
from api.ports import StreamRow
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.profile import DEFAULT_CODEC, PROFILES, custom
from driftlock.engine.verdict import Calibration, Finding
from driftlock.errors import InvalidArgument, Unavailable
from driftlock.storage.slugs import slug, unique_slug
from tests.accounts.counting import CountingMeter
from tests.api.conftest import Service
from tests.api.fakes import NOW_NS, TENANT, key, make_finding, make_stream, stream_id_of

WithDeps = Callable[..., httpx.AsyncClient]
RESPONSE_FIELDS = set(DetectResponse.model_fields)
KEY = StreamKey(Signal.LOGS, "new")


async def post(client: httpx.AsyncClient, body: object, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()} | {"Content-Type": "application/json"}
    return await client.post("/v1/detect", content=json.dumps(body), headers=named)


def problem_pointers(response: httpx.Response) -> list[str]:
    assert response.headers["Content-Type"] == "application/problem+json"
    return [member.get("pointer", member.get("parameter")) for member in response.json()["errors"]]


async def test_events_are_journaled_scored_and_answered(service: Service) -> None:
    service.house.detect = lambda stream, _: [make_finding(window=1, last_event=stream.events - 1)]
    response = await post(service.client, {"stream_id": "checkout", "events": ["a", "b"]}, X_Request_ID="me-1")
    assert response.status_code == 200
    body = DetectResponse.model_validate_json(response.content)
    assert (body.request_id, body.stream.slug, body.status, body.processed) == ("me-1", "checkout", "calibrating", 2)
    assert (body.calibration.events, body.calibration.needed, body.calibration.percent) == (2, 448, 91)
    assert (body.pending, body.duplicate, body.anomalies_truncated) == (0, False, False)
    assert [found.window for found in body.anomalies] == [1]
    assert (body.metrics.baseline, body.metrics.window, body.metrics.hop, body.metrics.codec) == (400, 50, 10, DEFAULT_CODEC)
    submission = service.house.submissions[0]
    assert (submission.tenant_id, submission.received_ns, submission.request_hash) == (TENANT, NOW_NS, None)
    assert submission.batches[0].key == StreamKey(Signal.LOGS, "checkout")
    assert list(submission.batches[0].batch.lines()) == [b"a", b"b"]
    assert service.house.waited == [1]


async def test_the_default_stream_is_called_default(service: Service) -> None:
    response = await post(service.client, {"events": ["a"]})
    assert response.json()["stream"]["slug"] == "default"


async def test_only_anomalies_of_the_new_events_are_answered(service: Service) -> None:
    def detect(stream: StreamRow, count: int) -> list[Finding]:
        return [make_finding(window=stream.events, last_event=stream.events - 1)]

    service.house.detect = detect
    first = await post(service.client, {"events": ["a", "b"]})
    second = await post(service.client, {"events": ["c", "d", "e"]})
    assert [found["window"] for found in first.json()["anomalies"]] == [2]
    assert [found["window"] for found in second.json()["anomalies"]] == [5]


async def test_anomalies_come_in_their_order_and_up_to_a_limit(service: Service, with_deps: WithDeps) -> None:
    def detect(stream: StreamRow, count: int) -> list[Finding]:
        return [make_finding(window=number, last_event=number) for number in range(count)]

    service.house.detect = detect
    async with with_deps(limits=ApiLimits(detect_anomalies_max=4)) as client:
        body = (await post(client, {"events": ["x"] * 10})).json()
    assert [found["window"] for found in body["anomalies"]] == [0, 1, 2, 3]
    assert body["anomalies_truncated"] is True


@pytest.mark.parametrize(
    ("calibration", "status"),
    [(Calibration.CALIBRATING, "calibrating"), (Calibration.PROVISIONAL, "provisional"), (Calibration.OK, "ready")],
)
async def test_the_status_is_that_of_the_stream(service: Service, calibration: Calibration, status: str) -> None:
    await post(service.client, {"events": ["a"]})
    rows = service.house.stream_rows[TENANT]
    stream_id = next(iter(rows))
    rows[stream_id] = replace(rows[stream_id], calibration=calibration)
    assert (await post(service.client, {"events": ["b"]})).json()["status"] == status


async def test_journaled_records_are_never_answered_as_if_they_were_not(service: Service, with_deps: WithDeps) -> None:
    async def stopping(_stream_id: UUID, seq: int) -> None:
        raise Unavailable(f"stopping before {seq}")

    async with with_deps(scored=stopping) as client:
        response = await post(client, {"events": ["a"]})
    assert (response.status_code, response.json()["status"]) == (202, "pending")


@pytest.mark.parametrize("what", ["streams", "anomalies"])
async def test_journaled_records_are_accepted_when_their_stream_can_not_be_read(service: Service, what: str) -> None:
    await post(service.client, {"stream_id": "old", "events": ["a"]})
    real_get = service.deps.streams.get

    async def away(*_: object, **__: object) -> None:
        raise Unavailable("the database is away; retry")

    async def away_afterwards(tenant_id: UUID, stream: UUID | str) -> StreamRow | None:
        if isinstance(stream, UUID):
            await away()
        return await real_get(tenant_id, stream)

    if what == "streams":
        service.deps.streams.get = away_afterwards  # type: ignore[method-assign]
    else:
        service.deps.anomalies.of_row = away  # type: ignore[method-assign]
    for name in ("old", "new"):
        response = await post(service.client, {"stream_id": name, "events": ["b", "c"]})
        body = DetectResponse.model_validate_json(response.content)
        stream_id = stream_id_of(TENANT, StreamKey(Signal.LOGS, name))
        assert (response.status_code, body.status, body.processed) == (202, "pending", 2)
        assert (body.stream.id, body.anomalies) == (stream_id, ())
        assert response.headers["Location"] == f"/v1/operations/{body.operation}"
        known = what == "anomalies" or name == "old"
        assert body.stream.slug == (name if known else str(stream_id))
        assert (body.calibration.state == "unknown") is not known
        assert ("could not be read" in body.calibration.reason, body.pending) == (what == "streams", 2 * (what == "streams"))
    assert meter_of(service).counts["logs", "refused", "unavailable"] == 0


async def test_what_is_not_scored_in_time_is_accepted_and_told_where_to_look(service: Service, with_deps: WithDeps) -> None:
    service.house.gate = asyncio.Event()
    async with with_deps(limits=ApiLimits(detect_wait_ms_max=20)) as client:
        response = await post(client, {"events": ["a", "b"]})
    body = DetectResponse.model_validate_json(response.content)
    assert response.status_code == 202
    assert (body.status, body.pending, body.processed, body.anomalies) == ("pending", 2, 2, ())
    assert response.headers["Location"] == f"/v1/operations/{body.operation}"
    service.house.gate.set()
    assert (await service.client.get(response.headers["Location"])).json()["status"] == "done"


def meter_of(service: Service) -> CountingMeter:
    meter = service.deps.meter
    assert isinstance(meter, CountingMeter)
    return meter


REFUSED = {
    "unauthenticated": ({"events": ["a"]}, {"X_Api_Key": "junk"}, 0),
    "forbidden": ({"events": ["a"]}, {"X_Api_Key": key("reader")}, 0),
    "malformed": ('{"events"', {}, 0),
    "invalid": ({"events": ["a"], "flush": 1}, {}, 0),
    "bad_records": ({"events": ["a", 1]}, {}, 0),
    "too_many_records": ({"events": ["a"] * 10_001}, {}, 0),
    "unsupported_coding": ({"events": ["a"]}, {"Content_Encoding": "gzip"}, 0),
    "too_large": ({"events": ["a" * 6_000_000]}, {}, 0),
    "unavailable": ({"events": ["a", "b"]}, {}, 2),
    "not_storable": ({"events": ["a", "b"]}, {}, 2),
    "internal": ({"events": ["a", "b"]}, {}, 2),
}
FAILURES = {
    "unavailable": Unavailable("away"),
    "not_storable": InvalidArgument("a bad number"),
    "internal": RuntimeError("secret"),
}


@pytest.mark.parametrize("reason", REFUSED)
async def test_a_refusal_is_counted_once_with_its_reason_and_records(service: Service, reason: str) -> None:
    body, headers, records = REFUSED[reason]
    service.house.failure = FAILURES.get(reason)
    content = body if isinstance(body, str) else json.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()} | {"Content-Type": "application/json"}
    answer = await service.client.post("/v1/detect", content=content, headers=named)
    assert answer.status_code >= 400
    counts = +meter_of(service).counts
    assert counts.pop(("logs", "refused", reason)) == 1
    left = {("logs", "received", "records"): records, ("logs", "refused records", reason): records}
    assert counts == ({} if not records else left)


async def test_a_sender_that_hangs_up_is_counted(service: Service) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b'{"events": ["a"'
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await service.client.post("/v1/detect", content=broken(), headers={"Content-Type": "application/json"})
    assert +meter_of(service).counts == {("logs", "refused", "draining"): 1}


async def test_what_was_journaled_is_not_refused_when_its_answer_fails(service: Service) -> None:
    service.house.stream_rows[TENANT].clear()

    async def gone(*_: object) -> None:
        return None

    service.deps.streams.get = gone  # type: ignore[method-assign]
    assert (await post(service.client, {"events": ["a", "b"]})).status_code == 500
    counts = meter_of(service).counts
    assert (counts["logs", "accepted", "records"], counts["logs", "refused records", "internal"]) == (2, 0)
    assert counts["logs", "refused", "internal"] == 1


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, ["/events"]),
        ({"events": []}, ["/events"]),
        ({"events": "a"}, ["/events"]),
        ({"events": None}, ["/events"]),
        ({"events": {"0": "a"}}, ["/events"]),
        ({"events": ["a"], "flush": True}, ["/flush"]),
        ({"events": ["a"], "tenant_id": "x", "a/b": 1}, ["/tenant_id", "/a~1b"]),
        ({"events": ["a"], "historical": "yes"}, ["/historical"]),
        ({"events": ["a"], "historical": 1}, ["/historical"]),
        ({"events": ["a"], "stream_id": 7}, ["/stream_id"]),
        ({"events": ["a"], "stream_id": None}, ["/stream_id"]),
        ({"events": ["a"], "stream_id": ""}, ["/stream_id"]),
        ({"events": ["a"], "stream_id": "\u202e\r\n"}, ["/stream_id"]),
        ({"events": ["a"], "stream_id": "x" * 257}, ["/stream_id"]),
        ({"events": ["a", 1]}, ["/events/1"]),
        ({"events": [None]}, ["/events/0"]),
        ({"events": [["a"]]}, ["/events/0"]),
        ({"events": [{"text": 1}]}, ["/events/0/text"]),
        ({"events": [{"time": "yesterday"}]}, ["/events/0/time"]),
        ({"events": [{"time": True}]}, ["/events/0/time"]),
        ({"events": [{"time": []}]}, ["/events/0/time"]),
        ({"events": [{"time": -1}]}, ["/events/0/time"]),
        ({"events": ["a", {"time": 1_800_000_000_000}]}, ["/events/1/time"]),
        ([], [""]),
        ("x", [""]),
        (None, [""]),
    ],
)
async def test_a_wrong_body_is_refused_where_it_is_wrong(service: Service, body: object, pointers: list[str]) -> None:
    response = await post(service.client, body)
    assert response.status_code == 400
    assert response.json()["code"] == "invalid_argument"
    assert problem_pointers(response) == pointers
    assert service.house.submissions == []


@pytest.mark.parametrize(
    "body",
    [b'{"events":["a"],"events":["b"]}', b'{"events":[NaN]}', b"\xff", b"", b'{"events":' + b"[" * 40 + b"]" * 40 + b"}"],
)
async def test_json_is_read_strictly(service: Service, body: bytes) -> None:
    response = await service.client.post("/v1/detect", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert service.house.submissions == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
async def test_other_encodings_are_refused(service: Service, headers: dict[str, str]) -> None:
    response = await service.client.post("/v1/detect", content=b'{"events":["a"]}', headers=headers)
    assert response.status_code == 415
    assert response.json()["code"] == "unsupported_encoding"


async def test_json_may_name_its_charset(service: Service) -> None:
    headers = {"Content-Type": 'application/json; charset="UTF-8"'}
    assert (await service.client.post("/v1/detect", content=b'{"events":["a"]}', headers=headers)).status_code == 200


async def test_too_many_events_are_refused(service: Service, with_deps: WithDeps) -> None:
    async with with_deps(limits=ApiLimits(events_max=3)) as client:
        assert (await post(client, {"events": ["a"] * 3})).status_code == 200
        response = await post(client, {"events": ["a"] * 4})
    assert response.status_code == 413
    assert "events_max" in response.json()["detail"]
    assert problem_pointers(response) == ["/events"]


async def test_ten_thousand_events_in_a_large_body_are_accepted(service: Service) -> None:
    events = [{"time": 1_800_000_000 + index, "text": f"line {index}", "user": "ann"} for index in range(10_000)]
    response = await post(service.client, {"events": events})
    assert response.json()["processed"] == 10_000
    assert (await post(service.client, {"events": ["a"] * 10_001})).status_code == 413


async def test_a_body_over_the_limit_is_refused(service: Service, with_deps: WithDeps) -> None:
    async with with_deps(limits=ApiLimits(request_bytes_max=100)) as client:
        response = await post(client, {"events": ["a" * 100]})
    assert response.status_code == 413
    assert response.json()["code"] == "payload_too_large"


async def test_bodies_in_flight_are_limited(service: Service, with_deps: WithDeps) -> None:
    go_on = asyncio.Event()

    async def slow_body() -> AsyncIterator[bytes]:
        yield b'{"events":'
        await go_on.wait()
        yield b'["a"]}'

    json_headers = {"Content-Type": "application/json"}
    async with with_deps(limits=ApiLimits(bodies_in_flight_max=1)) as client:
        slow = asyncio.create_task(client.post("/v1/detect", content=slow_body(), headers=json_headers))
        await asyncio.sleep(0.02)
        refused = await post(client, {"events": ["a"]})
        go_on.set()
        assert (await slow).status_code == 200
        assert (await post(client, {"events": ["a"]})).status_code == 200
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "1"
    assert "bodies_in_flight_max" in refused.json()["detail"]


async def test_a_full_journal_is_a_retryable_problem(service: Service) -> None:
    service.house.failure = Unavailable("the journal is full; retry", retry_after_ms=1500)
    response = await post(service.client, {"events": ["a"]})
    assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
    assert response.json()["code"] == "unavailable"


async def test_look_alike_stream_names_are_one_stream(service: Service) -> None:
    for name in ("cafe\u0301", "caf\u00e9", " caf\u00e9\u200b "):
        await post(service.client, {"stream_id": name, "events": ["a"]})
    assert {submission.batches[0].key.service for submission in service.house.submissions} == {"caf\u00e9"}


async def test_what_was_cut_is_told(service: Service) -> None:
    body = (
        await post(service.client, {"events": ["x" * 300_000, "\ud800", {"text": "a"} | {f"k{i}": i for i in range(130)}]})
    ).json()
    assert body["cuts"] == {"truncated": 1, "attributes_dropped": 2, "replaced": 1}


async def test_anomalies_are_not_missed_when_others_write_to_the_stream_meanwhile(service: Service) -> None:
    """The detector is held until a second request has been journaled, so both are scored before the first is answered."""

    def detect(stream: StreamRow, count: int) -> list[Finding]:
        return [make_finding(window=number, last_event=stream.events - count + number) for number in range(count)]

    await post(service.client, {"events": ["old"]})
    service.house.detect = detect
    service.house.gate = asyncio.Event()
    first = asyncio.create_task(post(service.client, {"events": ["a", "b"]}))
    await until(lambda: len(service.house.submissions) == 2)
    second = asyncio.create_task(post(service.client, {"events": ["c", "d"]}))
    await until(lambda: len(service.house.submissions) == 3)
    service.house.gate.set()
    assert [found["last_event"] for found in (await first).json()["anomalies"]] == [1, 2]
    assert [found["last_event"] for found in (await second).json()["anomalies"]] == [3, 4]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 (what is waited for happens in the application)
            await asyncio.sleep(0.005)


async def test_thresholds_of_a_request_go_with_its_records(service: Service) -> None:
    override = {"ncd_threshold": 0.4, "p_value_threshold": 0.01}
    response = await post(service.client, {"events": ["a"], "config_override": override})
    assert response.status_code == 200
    batch = service.house.submissions[0].batches[0].batch
    assert (batch.ncd_threshold, batch.p_value_threshold) == (0.4, 0.01)
    assert (service.house.configured, response.json()["metrics"]["profile"]) == ([], "balanced")


async def test_only_the_threshold_that_is_named_is_overridden(service: Service) -> None:
    await post(service.client, {"events": ["a"], "config_override": {"p_value_threshold": 0.05}})
    await post(service.client, {"events": ["b"], "config_override": {}})
    batches = [submission.batches[0].batch for submission in service.house.submissions]
    assert [(batch.ncd_threshold, batch.p_value_threshold) for batch in batches] == [(0.0, 0.05), (0.0, 0.0)]


async def test_a_request_configures_the_stream_that_it_creates(service: Service) -> None:
    override = {"window_size": 25, "codec": "lz4", "ncd_threshold": 0.9}
    response = await post(service.client, {"stream_id": "new", "events": ["a"], "config_override": override})
    wanted = custom(PROFILES["balanced"], {"window_size": 25, "codec": "lz4"})
    assert service.house.configured == [(UUID(response.json()["stream"]["id"]), wanted)]
    metrics = response.json()["metrics"]
    assert [metrics[name] for name in ("profile", "baseline", "window", "hop", "codec")] == ["custom", 400, 25, 10, "lz4"]
    again = await post(service.client, {"stream_id": "new", "events": ["b"], "config_override": override})
    assert again.status_code == 200
    assert len(service.house.configured) == 1


async def test_a_new_stream_with_the_default_values_is_not_configured(service: Service) -> None:
    response = await post(service.client, {"events": ["a"], "config_override": {"window_size": 50, "codec": DEFAULT_CODEC}})
    assert (response.status_code, service.house.configured) == (200, [])


async def test_what_belongs_to_the_stream_is_not_overridden_by_a_request(service: Service) -> None:
    await post(service.client, {"events": ["a"]})
    override = {"window_size": 25, "codec": "lz4", "hop_size": 10, "ncd_threshold": 0.9}
    response = await post(service.client, {"events": ["b"], "config_override": override})
    assert response.status_code == 400
    assert problem_pointers(response) == ["/config_override/codec", "/config_override/window_size"]
    assert "PATCH /v1/streams/{id}/profile" in response.json()["detail"]
    assert len(service.house.submissions) == 1
    in_force = {"window_size": 50, "hop_size": 10, "codec": DEFAULT_CODEC, "codec_level": 0, "baseline_size": 400}
    assert (await post(service.client, {"events": ["b"], "config_override": in_force})).status_code == 200


async def test_who_is_second_to_create_a_stream_is_told(service: Service) -> None:
    def another_request() -> None:
        service.house.stream_rows[TENANT][stream_id_of(TENANT, KEY)] = make_stream(stream_id_of(TENANT, KEY), "new", KEY)

    service.house.meanwhile = another_request
    response = await post(service.client, {"stream_id": "new", "events": ["a"], "config_override": {"window_size": 25}})
    assert (response.status_code, problem_pointers(response)) == (400, ["/config_override/window_size"])
    assert service.house.submissions == []


async def test_a_tenant_without_room_for_another_stream_configures_none(service: Service) -> None:
    service.house.full = True
    response = await post(service.client, {"stream_id": "new", "events": ["a"], "config_override": {"window_size": 25}})
    assert (response.status_code, problem_pointers(response)) == (400, ["/config_override/window_size"])


async def test_a_stream_whose_short_name_is_another_ones_is_found(service: Service) -> None:
    """Names that differ in what a slug can not show."""
    first, second = StreamKey(Signal.LOGS, "check out"), StreamKey(Signal.LOGS, "check/out")
    rows = service.house.stream_rows[TENANT]
    for stream_id, key_, name, profile in (
        (UUID(int=1), first, slug(first), PROFILES["balanced"]),
        (UUID(int=2), second, unique_slug(second), PROFILES["strict"]),
    ):
        rows[stream_id] = replace(make_stream(stream_id, name, key_), profile=profile)
    for name, status in (("check out", 400), ("check/out", 200)):
        override = {"window_size": PROFILES["strict"].window_size}
        response = await post(service.client, {"stream_id": name, "events": ["a"], "config_override": override})
        assert response.status_code == status, name


@pytest.mark.parametrize(
    ("override", "pointers"),
    [
        ({"ncd_threshold": 0}, ["/config_override/ncd_threshold"]),
        ({"ncd_threshold": 1e308}, ["/config_override/ncd_threshold"]),
        (
            {"p_value_threshold": -1, "ncd_threshold": 2},
            ["/config_override/ncd_threshold", "/config_override/p_value_threshold"],
        ),
        ({"ncd_threshold": True}, ["/config_override/ncd_threshold"]),
        ({"ncd_threshold": None}, ["/config_override/ncd_threshold"]),
        ({"window_size": 25.5}, ["/config_override/window_size"]),
        ({"window_size": 10**15}, ["/config_override/window_size"]),
        ({"hop_size": 60}, ["/config_override/hop_size"]),
        ({"codec": "rar"}, ["/config_override/codec"]),
        ({"codec_level": 10**9}, ["/config_override/codec_level"]),
        ({"profile": "strict"}, ["/config_override/profile"]),
        ({"a/b": 1}, ["/config_override/a~1b"]),
        ([], ["/config_override"]),
        (None, ["/config_override"]),
    ],
)
async def test_a_wrong_override_is_refused_where_it_is_wrong(service: Service, override: object, pointers: list[str]) -> None:
    response = await post(service.client, {"events": ["a"], "config_override": override})
    assert (response.status_code, problem_pointers(response)) == (400, pointers)
    assert (service.house.submissions, service.house.configured) == ([], [])


async def test_the_same_events_with_other_thresholds_are_another_request(service: Service) -> None:
    bodies = [{"events": ["a"]}, {"events": ["a"], "config_override": {"ncd_threshold": 0.5}}]
    answers = [(await post(service.client, bodies[n], Idempotency_Key=f"k{n}")).json()["duplicate"] for n in (0, 1, 0, 1)]
    assert answers == [False, False, True, True]
    hashes = [submission.content_hash for submission in service.house.submissions]
    assert hashes[0] != hashes[1]


async def test_anomalies_of_a_stream_before_it_lost_its_state_are_not_answered_again(service: Service) -> None:
    """Its events are counted from 0 again, so old anomalies lie beyond the new ones; its windows go on."""
    service.house.detect = lambda stream, _: [make_finding(window=700, last_event=stream.events - 1)]
    await post(service.client, {"stream_id": "shop", "events": ["x"] * 9})
    rows = service.house.stream_rows[TENANT]
    (stream_id,) = rows
    rows[stream_id] = replace(rows[stream_id], events=0, windows=701)
    service.house.detect = lambda stream, _: [make_finding(window=9000, last_event=stream.events - 1)]
    again = await post(service.client, {"stream_id": "shop", "events": ["y"] * 3})
    assert [found["window"] for found in again.json()["anomalies"]] == [9000]


async def test_an_interaction_judged_before_the_next_window_is_answered(service: Service) -> None:
    await post(service.client, {"events": ["a"] * 10})
    rows = service.house.stream_rows[TENANT]
    stream_id = next(iter(rows))
    rows[stream_id] = replace(rows[stream_id], windows=5)
    service.house.detect = lambda stream, _: [make_finding(window=4, last_event=stream.events - 1, interaction=3)]
    assert len((await post(service.client, {"events": ["b"]})).json()["anomalies"]) == 1
