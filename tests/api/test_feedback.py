"""Feedback over REST: what is said, what it would change, and what makes no sense."""

from dataclasses import replace
from uuid import UUID

import httpx
import pytest

from api.rfc3339 import rfc3339
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.lessons import LESSON_DAYS_MAX, Verdict
from driftlock.errors import Conflict
from tests.api.conftest import Service, client_of
from tests.api.fakes import NOW_NS, TENANT, make_finding, make_stream, stream_id_of
from tests.api.lesson_fakes import FakeFeedback

DAY_NS = 24 * 3600 * 10**9


@pytest.fixture
def anomaly(service: Service) -> UUID:
    """One of two anomalies about the same line."""
    key = StreamKey(Signal.LOGS, "checkout")
    stream = make_stream(stream_id_of(TENANT, key), "checkout", key)
    service.house.stream_rows[TENANT][stream.stream_id] = stream
    rows = [service.house.add_anomaly(TENANT, stream, make_finding(window, p_without=0.9)) for window in (3, 4)]
    return rows[0].anomaly_id


def given(service: Service) -> FakeFeedback:
    assert isinstance(service.deps.feedback, FakeFeedback)
    return service.deps.feedback


async def say(service: Service, anomaly: UUID | str, **body: object) -> httpx.Response:
    return await service.client.post(f"/v1/anomalies/{anomaly}/feedback", json=body)


async def test_feedback_is_given_read_and_withdrawn(service: Service, anomaly: UUID) -> None:
    until = rfc3339(NOW_NS + DAY_NS)
    answer = await say(service, anomaly, verdict="expected", until=until, note="a release")
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["preview"] is None
    read = await service.client.get(f"/v1/anomalies/{anomaly}/feedback")
    assert (read.status_code, read.json()) == (200, told["feedback"])
    assert read.json() == {
        "anomaly_id": str(anomaly),
        "stream_id": str(stream_id_of(TENANT, StreamKey(Signal.LOGS, "checkout"))),
        "verdict": "expected",
        "until": until,
        "note": "a release",
        "taught": True,
        "given_at": "2027-02-03T04:05:06Z",
        "given_by": "",
    }
    gone = await service.client.delete(f"/v1/anomalies/{anomaly}/feedback")
    assert (gone.status_code, gone.content) == (204, b"")
    assert [actor.kind.value for actor in given(service).actors] == ["key", "key"]
    for method in ("GET", "DELETE"):
        assert (await service.client.request(method, f"/v1/anomalies/{anomaly}/feedback")).status_code == 404


async def test_a_preview_names_what_would_be_silenced_and_stores_nothing(service: Service, anomaly: UUID) -> None:
    answer = await say(service, anomaly, verdict="false_positive", preview=True)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["feedback"] is None
    assert len(told["preview"]["silences"]) == told["preview"]["silences_total"] == 2
    assert told["preview"]["silences"][0]["id"] == str(anomaly)
    assert {name: told["preview"][name] for name in ("teaches", "examined", "days", "cut", "brings_back_total")} == {
        "teaches": True,
        "examined": 2,
        "days": 30,
        "cut": False,
        "brings_back_total": 0,
    }
    assert given(service).rows == {}


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        ({}, "/verdict", "required"),
        ({"verdict": "nonsense"}, "/verdict", "confirmed"),
        ({"verdict": "expected", "until": rfc3339(NOW_NS)}, "/until", "in the past"),
        ({"verdict": "expected", "until": rfc3339(NOW_NS + LESSON_DAYS_MAX * DAY_NS + 1)}, "/until", "lesson_days_max"),
        ({"verdict": "confirmed", "until": rfc3339(NOW_NS + DAY_NS)}, "/until", "does not learn"),
        ({"verdict": "expected", "until": "tomorrow"}, "/until", "2026-01-31"),
        ({"verdict": "expected", "note": "x" * 1001}, "/note", "1000"),
        ({"verdict": "expected", "scope": "all"}, "/scope", "not a known field"),
    ],
    ids=["none", "nonsense", "past", "far", "confirmed until", "no time", "long note", "unknown"],
)
async def test_what_makes_no_sense_is_named(
    service: Service, anomaly: UUID, body: dict[str, object], pointer: str, detail: str
) -> None:
    answer = await say(service, anomaly, **body)
    assert answer.status_code == 400, answer.text
    [error] = answer.json()["errors"]
    assert error["pointer"] == pointer
    assert detail in error["detail"]
    assert given(service).rows == {}


async def test_the_last_moment_that_can_be_named_is_taken(service: Service, anomaly: UUID) -> None:
    answer = await say(service, anomaly, verdict="expected", until=rfc3339(NOW_NS + LESSON_DAYS_MAX * DAY_NS))
    assert answer.status_code == 200, answer.text
    assert given(service).rows[TENANT, anomaly].opinion.until_ns == NOW_NS + LESSON_DAYS_MAX * DAY_NS


async def test_foreign_and_unknown_anomalies_are_not_there(service: Service, anomaly: UUID) -> None:
    await say(service, anomaly, verdict="false_positive")
    async with client_of(service.deps, "other") as other:
        for method, body in (("GET", None), ("POST", {"verdict": "confirmed"}), ("DELETE", None)):
            answer = await other.request(method, f"/v1/anomalies/{anomaly}/feedback", json=body)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await say(service, "nonsense", verdict="confirmed")).status_code == 404
    assert given(service).rows[TENANT, anomaly].opinion.verdict is Verdict.FALSE_POSITIVE


async def test_readers_read_and_do_not_judge(service: Service, anomaly: UUID) -> None:
    await say(service, anomaly, verdict="false_positive")
    async with client_of(service.deps, "reader") as reader:
        assert (await reader.get(f"/v1/anomalies/{anomaly}/feedback")).status_code == 200
        assert (await reader.delete(f"/v1/anomalies/{anomaly}/feedback")).status_code == 403
        answer = await reader.post(f"/v1/anomalies/{anomaly}/feedback", json={"verdict": "confirmed"})
        assert answer.status_code == 403


async def test_a_stream_that_can_learn_no_more_says_so(service: Service, anomaly: UUID) -> None:
    service.house.failure = Conflict("this stream has learned as much as it can; withdraw some")
    answer = await say(service, anomaly, verdict="false_positive")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "withdraw" in answer.json()["detail"]


async def test_silenced_anomalies_are_listed_on_request(service: Service, anomaly: UUID) -> None:
    rows = service.house.anomaly_rows[TENANT]
    rows[1] = replace(rows[1], silenced_by=anomaly)
    told = (await service.client.get("/v1/anomalies")).json()["anomalies"]
    assert [(it["id"], it["silenced_by"]) for it in told] == [(str(anomaly), None)]
    silent = (await service.client.get("/v1/anomalies?silenced=true")).json()["anomalies"]
    assert [(it["id"], it["silenced_by"]) for it in silent] == [(str(rows[1].anomaly_id), str(anomaly))]
    one = (await service.client.get(f"/v1/anomalies/{rows[1].anomaly_id}")).json()
    assert one["silenced_by"] == str(anomaly)
