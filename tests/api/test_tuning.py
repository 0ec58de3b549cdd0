"""Tuning over REST: the history of a stream's profile, its undoing, and whether thresholds follow feedback."""

from dataclasses import replace
from uuid import UUID

import pytest

from driftlock.engine.event import TRACES_SERVICE, Signal, StreamKey
from driftlock.engine.profile import PROFILES, custom
from driftlock.storage.tuning import TuningKind, TuningRow
from tests.api.conftest import Service, client_of
from tests.api.fakes import TENANT, make_stream, stream_id_of
from tests.api.lesson_fakes import GIVEN_AT, FakeTuning

BALANCED, STRICT = PROFILES["balanced"], PROFILES["strict"]
TUNED = custom(BALANCED, {"ncd_threshold": 0.33, "masks": ["order-{digits}"]})
PATH = "/v1/streams/checkout/tuning"


@pytest.fixture
def stream(service: Service) -> UUID:
    key = StreamKey(Signal.LOGS, "checkout")
    row = make_stream(stream_id_of(TENANT, key), "checkout", key)
    service.house.stream_rows[TENANT][row.stream_id] = row
    assert isinstance(service.deps.tuning, FakeTuning)
    service.deps.tuning.entries[row.stream_id] = [
        TuningRow(1, GIVEN_AT, TuningKind.MANUAL, STRICT, BALANCED),
        TuningRow(2, GIVEN_AT, TuningKind.AUTOMATIC, BALANCED, TUNED, "most were false alarms"),
    ]
    return row.stream_id


async def test_the_history_names_what_changed(service: Service, stream: UUID) -> None:
    page = (await service.client.get(f"{PATH}?limit=1")).json()
    assert page["stream"] == {"id": str(stream), "slug": "checkout"}
    assert (page["automatic"], page["members"]) == (False, ["ncd_threshold", "p_value_threshold"])
    assert page["entries"] == [
        {
            "n": 2,
            "at": "2027-02-03T04:05:06Z",
            "kind": "automatic",
            "changes": [
                {"member": "name", "before": "balanced", "after": "custom"},
                {"member": "ncd_threshold", "before": 0.3, "after": 0.33},
                {"member": "masks", "before": [], "after": ["order-{digits}"]},
            ],
            "reason": "most were false alarms",
            "undoes": None,
            "undone_by": None,
        }
    ]
    rest = (await service.client.get(f"{PATH}?limit=1&cursor={page['next_cursor']}")).json()
    assert ([entry["n"] for entry in rest["entries"]], rest["next_cursor"]) == ([1], None)


@pytest.mark.usefixtures("stream")
async def test_thresholds_follow_feedback_where_that_is_switched_on(service: Service) -> None:
    for automatic in (True, False):
        answer = await service.client.patch(PATH, json={"automatic": automatic})
        assert (answer.status_code, answer.json()["automatic"]) == (200, automatic), answer.text
        assert (await service.client.get(PATH)).json()["automatic"] is automatic
    assert (await service.client.patch(PATH, json={})).status_code == 400
    async with client_of(service.deps, "reader") as reader:
        assert (await reader.patch(PATH, json={"automatic": True})).status_code == 403
        assert (await reader.get(PATH)).status_code == 200


async def test_the_switch_is_turned_only_as_it_was_read(service: Service, stream: UUID) -> None:
    read = (await service.client.get(PATH)).headers["ETag"]
    on = await service.client.patch(PATH, json={"automatic": True}, headers={"If-Match": read})
    assert (on.status_code, on.headers["ETag"]) == (200, (await service.client.get(PATH)).headers["ETag"])
    late = await service.client.patch(PATH, json={"automatic": False}, headers={"If-Match": read})
    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
    tuning = service.deps.tuning
    assert isinstance(tuning, FakeTuning)
    tuning.meanwhile = lambda: tuning.switched.discard(stream)
    crossed = await service.client.patch(PATH, json={"automatic": True}, headers={"If-Match": on.headers["ETag"]})
    assert (crossed.status_code, (await service.client.get(PATH)).json()["automatic"]) == (412, False)


async def test_traces_have_one_threshold(service: Service) -> None:
    key = StreamKey(Signal.TRACES, TRACES_SERVICE)
    row = replace(make_stream(stream_id_of(TENANT, key), "traces", key))
    service.house.stream_rows[TENANT][row.stream_id] = row
    assert (await service.client.get("/v1/streams/traces/tuning")).json()["members"] == ["p_value_threshold"]


@pytest.mark.usefixtures("stream")
async def test_the_newest_change_can_be_undone(service: Service) -> None:
    answer = await service.client.post(f"{PATH}/2/undo")
    assert answer.status_code == 200, answer.text
    assert (answer.json()["n"], answer.json()["kind"], answer.json()["undoes"]) == (3, "undo", 2)
    again = await service.client.post(f"{PATH}/2/undo")
    assert (again.status_code, again.json()["code"]) == (409, "conflict")


@pytest.mark.usefixtures("stream")
@pytest.mark.parametrize("number", ["9", "-1", "x", "1e3", "9" * 30])
async def test_a_change_that_is_not_there_is_not_undone(service: Service, number: str) -> None:
    assert (await service.client.post(f"{PATH}/{number}/undo")).status_code == 404


@pytest.mark.usefixtures("stream")
async def test_another_tenants_stream_is_not_there(service: Service) -> None:
    async with client_of(service.deps, "other") as other:
        assert (await other.get(PATH)).status_code == 404
        assert (await other.patch(PATH, json={"automatic": True})).status_code == 404
        assert (await other.post(f"{PATH}/2/undo")).status_code == 404
