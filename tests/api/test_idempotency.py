"""The Idempotency-Key of `POST /v1/detect`: one key is one request, and nothing is made of one that is refused."""

from uuid import UUID

import pytest

from driftlock.engine.profile import PROFILES
from tests.api.conftest import Service
from tests.api.fakes import TENANT, key
from tests.api.test_detect import meter_of, post, problem_pointers


async def test_a_repeated_idempotency_key_is_a_duplicate(service: Service) -> None:
    first = await post(service.client, {"events": ["a"]}, Idempotency_Key="k-1")
    again = await post(service.client, {"events": ["a"]}, Idempotency_Key="k-1")
    other_key = await post(service.client, {"events": ["a"]}, Idempotency_Key="k-2")
    other_tenant = await post(service.client, {"events": ["a"]}, Idempotency_Key="k-1", X_Api_Key=key("other"))
    assert [(r.json()["duplicate"], r.json()["processed"]) for r in (first, again, other_key, other_tenant)] == [
        (False, 1),
        (True, 0),
        (False, 1),
        (False, 1),
    ]
    submission = service.house.submissions[0]
    assert (len(submission.request_hash or b""), len(submission.content_hash or b"")) == (16, 16)
    assert submission.dedup_window_ns == 24 * 3600 * 10**9


OTHERS = {
    "other events": {"stream_id": "s", "events": ["b", "c"]},
    "the same text in other lines": {"stream_id": "s", "events": ["ab"]},
    "another stream": {"stream_id": "t", "events": ["a", "b"]},
    "other times": {"stream_id": "s", "events": [{"text": "a", "time": 5}, "b"]},
    "of the past": {"stream_id": "s", "events": ["a", "b"], "historical": True},
    "other thresholds": {"stream_id": "s", "events": ["a", "b"], "config_override": {"ncd_threshold": 0.5}},
}


@pytest.mark.parametrize("what", OTHERS)
async def test_an_idempotency_key_stands_for_one_request(service: Service, what: str) -> None:
    first = {"stream_id": "s", "events": ["a", "b"]}
    assert (await post(service.client, first, Idempotency_Key="k")).json()["duplicate"] is False
    refused = await post(service.client, OTHERS[what], Idempotency_Key="k")
    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
    reordered = {"events": ["a", "b"], "stream_id": "s"}
    assert (await post(service.client, reordered, Idempotency_Key="k")).json()["duplicate"] is True
    assert (await post(service.client, OTHERS[what], Idempotency_Key="another")).json()["duplicate"] is False
    counts = meter_of(service).counts
    records = len(OTHERS[what]["events"])  # type: ignore[arg-type]
    assert counts["logs", "refused", "key_reused"] == 1
    assert counts["logs", "refused records", "key_reused"] == records
    assert counts["logs", "duplicate", "records"] == 2
    assert counts["logs", "accepted", "records"] == 2 + records
    assert counts["logs", "received", "records"] == 4 + 2 * records


async def test_a_retry_is_a_duplicate_after_the_profile_has_changed(service: Service) -> None:
    body = {"stream_id": "s", "events": ["a"], "config_override": {"window_size": 25, "p_value_threshold": 0.01}}
    first = await post(service.client, body, Idempotency_Key="k")
    await service.house.configure(TENANT, UUID(first.json()["stream"]["id"]), PROFILES["strict"])
    again = await post(service.client, body, Idempotency_Key="k")
    assert (again.status_code, again.json()["duplicate"], again.json()["processed"]) == (200, True, 0)
    assert again.json()["stream"] == first.json()["stream"]
    assert (await post(service.client, body, Idempotency_Key="another")).status_code == 400


async def test_a_request_with_a_used_key_leaves_nothing_behind(service: Service) -> None:
    await post(service.client, {"stream_id": "s", "events": ["a"]}, Idempotency_Key="k")
    body = {"stream_id": "t", "events": ["a"], "config_override": {"window_size": 25}}
    assert (await post(service.client, body, Idempotency_Key="k")).status_code == 422
    assert [row.slug for row in service.house.stream_rows[TENANT].values()] == ["s"]
    assert service.house.configured == []


@pytest.mark.parametrize("key", ["", "x" * 256, "k\tk", "schlüssel"])
async def test_a_bad_idempotency_key_is_refused(service: Service, key: str) -> None:
    response = await service.client.post("/v1/detect", json={"events": ["a"]}, headers=[(b"Idempotency-Key", key.encode())])
    assert response.status_code == 400
    assert problem_pointers(response) == ["Idempotency-Key"]


async def test_two_idempotency_keys_are_refused(service: Service) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    response = await service.client.post("/v1/detect", json={"events": ["a"]}, headers=headers)
    assert response.status_code == 400


async def test_the_longest_idempotency_key_is_accepted(service: Service) -> None:
    assert (await post(service.client, {"events": ["a"]}, Idempotency_Key="x" * 255)).status_code == 200
