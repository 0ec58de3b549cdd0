"""Both clients against the application over its fakes: what they send, and what they make of the answers."""

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import httpx
import pytest

from api.app import create_app
from api.deps import ApiLimits
from driftlock.accounts.keys import ALL_SCOPES
from driftlock_client import (
    AsyncClient,
    BadRequest,
    Client,
    Conflict,
    NotFound,
    OperationPending,
    PreconditionFailed,
    Unauthorized,
    answer_of,
    models,
)
from driftlock_client.operations import AsyncOperations, Operations
from tests.api.conftest import make_deps
from tests.api.fakes import TENANT, FakeDirectory, FakeHouse, RecordingAccess, key, make_finding
from tests.client.conftest import URL, LoopThread, Waits, world

PAGED = sorted(name for name in vars(Operations) if name.startswith("iter_"))


def odd(house: FakeHouse) -> None:
    house.detect = lambda stream, _: [make_finding(window=stream.events, last_event=stream.events - 1)]


def test_events_are_scored_and_read_back(client: Client, house: FakeHouse) -> None:
    odd(house)
    found = client.detect(stream_id="checkout", events=["a", {"time": 1773478283.9, "text": "b", "order": 7}])
    assert (found.stream.slug, found.processed, found.status, found.operation) == ("checkout", 2, "calibrating", None)
    assert answer_of(found).status == 200
    assert answer_of(found).request_id == found.request_id
    [anomaly] = found.anomalies
    shown = client.get_anomaly(anomaly.id)
    assert isinstance(shown.id, UUID)
    assert (shown.id, shown.question) == (anomaly.id, "novelty")
    assert shown.start == datetime(2008, 6, 14, 14, 56, 1, tzinfo=UTC)
    line = shown.lines[-1]
    assert isinstance(line, models.Line)
    assert (line.text, line.count, line.time) == ("disk é full", 2, datetime(2008, 6, 14, 14, 56, 1, 250_000, UTC))


def test_members_that_are_not_given_are_not_sent_and_null_is_a_value(client: Client) -> None:
    client.detect(stream_id="checkout", events=["a"])
    assert client.change_stream("checkout", retention_days=7).retention_days == 7
    assert client.change_stream("checkout", display_name="Till").retention_days == 7
    assert client.change_stream("checkout", retention_days=None).display_name == "Till"


def test_entity_tags_keep_two_people_from_each_other(client: Client) -> None:
    client.detect(stream_id="checkout", events=["a"])
    seen = client.get_stream("checkout")
    tag = answer_of(seen).etag
    assert client.change_stream("checkout", display_name="Till", if_match=tag).display_name == "Till"
    with pytest.raises(PreconditionFailed) as caught:
        client.change_stream("checkout", display_name="Desk", if_match=tag)
    assert (caught.value.status, caught.value.code) == (412, "precondition_failed")
    with pytest.raises(ValueError, match="not returned by a method"):
        answer_of(replace(seen))


def test_a_refused_request_says_where_it_is_wrong(client: Client) -> None:
    with pytest.raises(BadRequest) as caught:
        client.detect(events=["a", 7])  # type: ignore[list-item]
    error = caught.value
    assert (error.status, error.code, [member.pointer for member in error.errors]) == (400, "invalid_argument", ["/events/1"])
    assert error.request_id
    assert error.request_id in str(error)
    with pytest.raises(BadRequest) as caught:
        client.list_anomalies(limit=100_000)
    assert [member.parameter for member in caught.value.errors] == ["limit"]
    with pytest.raises(NotFound, match="not_found"):
        client.get_anomaly(uuid4())


def test_an_idempotency_key_stands_for_one_request(client: Client, house: FakeHouse) -> None:
    client.detect(events=["a"], idempotency_key="mine")
    assert client.detect(events=["a"], idempotency_key="mine").duplicate
    with pytest.raises(Conflict, match="idempotency_key_reused"):
        client.detect(events=["b"], idempotency_key="mine")
    assert len(house.submissions) == 1
    client.detect(events=["a"])
    client.detect(events=["a"])
    assert len(house.submissions) == 3
    assert len({submission.request_hash for submission in house.submissions}) == 3  # each has one that nobody else has
    made = client.create_api_key(scopes=["read"], name="one", idempotency_key="key-1")
    again = client.create_api_key(scopes=["read"], name="one", idempotency_key="key-1")
    assert (answer_of(made).status, answer_of(made).replayed, answer_of(again).replayed) == (201, False, True)
    assert answer_of(made).location == f"/v1/api-keys/{made.api_key.id}"
    client.revoke_api_key(made.api_key.id)
    with pytest.raises(Unauthorized):
        Client(URL, made.key, transport=client._http._transport).list_streams()


def test_pages_are_gone_through_as_they_are_needed(client: Client, house: FakeHouse) -> None:
    for number in range(7):
        client.detect(stream_id=f"s{number}", events=["a"])
    slugs = [stream.slug for stream in client.iter_streams(limit=3)]
    assert slugs == [f"s{number}" for number in range(7)]
    first = client.list_streams(limit=3)
    assert [stream.slug for stream in first.streams] == slugs[:3]
    assert [stream.slug for stream in client.list_streams(limit=3, cursor=first.next_cursor).streams] == slugs[3:6]


def test_filters_are_sent_as_the_api_reads_them(client: Client, house: FakeHouse) -> None:
    odd(house)
    client.detect(stream_id="checkout", events=["a"])
    assert len(list(client.iter_anomalies(stream="checkout", silenced=False, question="novelty"))) == 1
    assert list(client.iter_anomalies(since=datetime(2009, 1, 1, tzinfo=UTC))) == []
    assert list(client.iter_anomalies(incident=uuid4())) == []
    with pytest.raises(ValueError, match="no zone"):
        client.list_anomalies(since=datetime(2009, 1, 1))
    assert client.list_releases("checkout").releases == ()


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_can_not_become_another_address(client: Client, name: str) -> None:
    with pytest.raises(ValueError, match="part of an address"):
        client.delete_stream(name)
    with pytest.raises(NotFound):
        client.get_stream("../account?x=#y")  # escaped: it is looked for as it is


def test_files_come_with_their_type(client: Client, house: FakeHouse) -> None:
    odd(house)
    client.detect(stream_id="checkout", events=["a"])
    file = client.export_anomalies(format="csv", filters=models.ExportFilters(stream="checkout"))
    assert (file.media_type.partition(";")[0], len(file.text.splitlines())) == ("text/csv", 2)
    assert client.get_metrics().body == b"driftlock_build_info 1.0\n"
    assert client.get_openapi()["openapi"] == "3.1.0"
    assert client.get_version().version
    with pytest.raises(NotFound) as caught:
        client.evidence(client.list_anomalies().anomalies[0].id)
    assert caught.value.code in ("evidence_expired", "not_found")


async def test_the_same_without_waiting_threads(async_client: AsyncClient, house: FakeHouse) -> None:
    odd(house)
    answers = await asyncio.gather(*(async_client.detect(stream_id=f"s{n}", events=["a"]) for n in range(5)))
    assert [answer.stream.slug for answer in answers] == [f"s{n}" for n in range(5)]
    assert [stream.slug async for stream in async_client.iter_streams(limit=2)] == [f"s{n}" for n in range(5)]
    with pytest.raises(NotFound):
        await async_client.get_stream("nobody")
    made = await async_client.create_api_key(scopes=["read"])
    await async_client.revoke_api_key(made.api_key.id)
    assert (await async_client.get_api_key(made.api_key.id)).revoked_at is not None


@pytest.fixture
def slow(house: FakeHouse) -> Callable[..., object]:
    """The application with a detector that is not asked for anything until `house.gate` is set."""
    directory = FakeDirectory()
    directory.add("good", TENANT, ALL_SCOPES)
    odd(house)
    limits = ApiLimits(detect_wait_ms_max=10, operation_wait_ms_max=10)
    return create_app(replace(make_deps(house, RecordingAccess(directory)), limits=limits))


async def test_a_late_result_is_waited_for(house: FakeHouse, slow: Callable[..., object]) -> None:
    house.gate = gate = asyncio.Event()
    asks: list[float] = []

    async def sleep(seconds: float) -> None:
        asks.append(seconds)
        if len(asks) == 2:
            gate.set()
        await asyncio.sleep(0)

    transport = httpx.ASGITransport(app=slow, raise_app_exceptions=False)  # type: ignore[arg-type]
    async with AsyncClient(URL, key("good"), transport=transport, surroundings=world(), sleep=sleep) as client:
        found = await client.detect_and_wait(["a", "b"], stream_id="checkout")
        assert (found.processed, len(found.anomalies), found.operation, len(asks)) == (2, 1, None, 2)
        gate.clear()
        with pytest.raises(OperationPending) as caught:
            await client.detect_and_wait(["c"], wait_s=0)
        gate.set()
        operation = await client.get_operation(caught.value.operation_id)
        assert operation.result is not None
        assert operation.result.processed == 1


def test_a_late_result_is_waited_for_in_a_thread(house: FakeHouse, slow: Callable[..., object]) -> None:
    house.gate = asyncio.Event()
    transport = LoopThread(slow)

    def sleep(seconds: float) -> None:
        assert house.gate is not None
        transport._loop.call_soon_threadsafe(house.gate.set)

    with Client(URL, key("good"), transport=transport, surroundings=world(), sleep=sleep) as client:
        found = client.detect_and_wait(["a", "b"], stream_id="checkout")
        assert (found.processed, len(found.anomalies), found.operation) == (2, 1, None)


def test_both_clients_have_the_same_operations() -> None:
    public = [{name for name in vars(kind) if not name.startswith("_")} for kind in (Operations, AsyncOperations)]
    assert public[0] == public[1]
    for name in public[0]:
        one, other = (inspect.signature(getattr(kind, name)) for kind in (Operations, AsyncOperations))
        assert one.parameters == other.parameters, name
    assert len(public[0]) > 60


@pytest.mark.parametrize("name", PAGED)
def test_every_list_can_be_gone_through(client: Client, name: str) -> None:
    needs_stream = "stream" in [
        n for n, p in inspect.signature(getattr(Operations, name)).parameters.items() if p.default is p.empty
    ]
    client.detect(stream_id="checkout", events=["a"])
    arguments = ("checkout",) if needs_stream else ()
    if name in ("iter_members", "iter_invitations"):
        with pytest.raises((NotFound, Conflict)):  # the fakes have keys alone
            list(getattr(client, name)(*arguments))
    elif name == "iter_series":
        with pytest.raises(NotFound):  # of metrics only
            list(getattr(client, name)(*arguments))
    else:
        assert isinstance(list(getattr(client, name)(*arguments)), list)


def test_address_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DRIFTLOCK_ENDPOINT", raising=False)
    monkeypatch.delenv("DRIFTLOCK_API_KEY", raising=False)
    with Client() as client:
        assert str(client._http.base_url) == "http://127.0.0.1:8080"
        assert "X-Api-Key" not in client._http.headers
    monkeypatch.setenv("DRIFTLOCK_ENDPOINT", "https://drift.example/base")
    monkeypatch.setenv("DRIFTLOCK_API_KEY", "dl_live_secret")
    with Client() as client:
        assert client._http.build_request("GET", "/v1/streams").url == "https://drift.example/base/v1/streams"
        assert client._http.headers["X-Api-Key"] == "dl_live_secret"
        assert "secret" not in repr(client)
    account = uuid4()
    with Client(token="jwt", account_id=account) as client:
        assert (client._http.headers["Authorization"], "X-Api-Key" in client._http.headers) == ("Bearer jwt", False)
        assert client._http.headers["X-Driftlock-Tenant"] == str(account)
    with pytest.raises(ValueError, match="not both"):
        Client(api_key="a", token="b")
    with pytest.raises(ValueError, match="no scheme"):
        Client("localhost:8080")


def test_a_redirect_does_not_take_the_key_along() -> None:
    seen = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return httpx.Response(307, headers={"Location": "https://elsewhere.example/"})

    client = Client(URL, "dl_live_x", transport=httpx.MockTransport(handle), sleep=Waits())
    with pytest.raises(Exception, match="answered 307"):
        client.list_streams()
    assert seen == [f"{URL}/v1/streams"]
