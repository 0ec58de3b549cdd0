"""What is sent again, when, and what it becomes when that does not help."""

import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock_client import ApiError, AsyncClient, Client, ConnectionFailed, RateLimited, Retry, ServerError, UnexpectedAnswer
from driftlock_client.errors import ProblemMember, error_of, retry_after_s
from tests.client.conftest import NOW, URL, Waits, answering, client_of, world

PLANS = {"plans": [], "currency": "usd"}


def problem(status: int, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json={"code": "unavailable", "detail": "later"}, headers=named)


def gone() -> httpx.Response:
    return httpx.Response(204)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_refusal_is_waited_out(status: int) -> None:
    waits = Waits()
    client_of(answering(problem(status), problem(status), gone()), waits).revoke_api_key("k")
    assert waits.seconds == [0.25, 0.5]


def test_the_server_says_how_long() -> None:
    waits = Waits()
    client_of(answering(problem(429, Retry_After="7"), gone()), waits).revoke_api_key("k")
    assert waits.seconds == [7.25]
    waits = Waits()
    with pytest.raises(RateLimited) as caught:  # an hour is not waited for
        client_of(answering(problem(429, Retry_After="3600")), waits).revoke_api_key("k")
    assert (waits.seconds, caught.value.retry_after_s) == ([], 3600)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 412, 413, 422, 500, 501])
def test_what_would_be_the_same_again_is_not_asked_again(status: int) -> None:
    waits = Waits()
    with pytest.raises(ApiError) as caught:
        client_of(answering(problem(status)), waits).revoke_api_key("k")
    assert (caught.value.status, waits.seconds) == (status, [])


def test_attempts_come_to_an_end() -> None:
    waits = Waits()
    with pytest.raises(ServerError):
        client_of(answering(*[problem(503)] * 3), waits, Retry(attempts_max=3)).revoke_api_key("k")
    assert len(waits.seconds) == 2
    with pytest.raises(ConnectionFailed, match="ReadTimeout: no answer after 3 attempts"):
        client_of(answering(*[httpx.ReadTimeout("")] * 3), waits, Retry(attempts_max=3)).revoke_api_key("k")
    with pytest.raises(ServerError):
        client_of(answering(problem(503)), waits, Retry(attempts_max=1)).revoke_api_key("k")


def test_a_post_is_sent_again_under_one_key() -> None:
    seen: list[httpx.Request] = []
    broken = httpx.RemoteProtocolError("the connection broke")
    transport = answering(broken, httpx.ReadTimeout(""), problem(502), httpx.Response(400, json={}), seen=seen)
    with pytest.raises(ApiError, match="http_400"):
        client_of(transport, Waits()).detect(events=["a"])
    assert len(seen) == 4
    assert len({request.headers["Idempotency-Key"] for request in seen}) == 1
    assert len({request.content for request in seen}) == 1
    assert json.loads(seen[0].content) == {"events": ["a"]}


@pytest.mark.parametrize("outcome", [httpx.ReadTimeout(""), problem(502), problem(504)], ids=["timeout", "502", "504"])
def test_a_change_that_may_have_been_made_is_not_made_again(outcome: httpx.Response | Exception) -> None:
    waits = Waits()
    with pytest.raises((ConnectionFailed, ServerError)):
        client_of(answering(outcome), waits).change_stream("checkout", display_name="Till")
    assert waits.seconds == []


@pytest.mark.parametrize("outcome", [httpx.ConnectError("refused"), problem(503), problem(429)], ids=["connect", "503", "429"])
def test_a_change_that_was_not_made_is_made_again(outcome: httpx.Response | Exception) -> None:
    waits = Waits()
    with pytest.raises(UnexpectedAnswer):
        client_of(answering(outcome, httpx.Response(200, json={})), waits).change_stream("checkout", display_name="Till")
    assert len(waits.seconds) == 1


async def test_the_same_in_a_loop() -> None:
    waits, seen = Waits(), list[httpx.Request]()
    transport = answering(httpx.ConnectError("refused"), problem(503, Retry_After="2"), gone(), seen=seen)
    async with AsyncClient(URL, "k", transport=transport, surroundings=world(), sleep=waits.later) as client:
        await client.withdraw_feedback("a b/c")
    assert waits.seconds == [0.25, 2.5]
    assert seen[0].url.raw_path == b"/v1/anomalies/a%20b%2Fc/feedback"


@given(attempt=st.integers(1, 10_000), asked=st.floats(0, 60), chance=st.floats(0, 1, exclude_max=True))
def test_waits_have_bounds(attempt: int, asked: float, chance: float) -> None:
    retry = Retry(attempts_max=20_000)
    wait_s = retry.wait_s(attempt, asked, chance)
    assert wait_s is not None
    assert asked <= wait_s <= asked + min(20.0, 0.5 * 2 ** min(attempt - 1, 10))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("12", 12.0),
        ("Sat, 31 Jan 2026 09:31:00 GMT", 60.0),
        ("Sat, 31 Jan 2026 09:29:00 GMT", 0.0),
        ("-1", None),
        ("1.5", None),
        ("²", None),
        ("soon", None),
        (None, None),
    ],
)
def test_retry_after_has_two_forms(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, NOW) == seconds


def test_an_answer_of_something_on_the_way_is_an_error_too() -> None:
    error = error_of(502, {"x-request-id": "r"}, b"<h1>Bad gateway</h1>" * 100, NOW)
    assert (type(error), error.code, len(error.detail), error.request_id) == (ServerError, "http_502", 500, "r")
    for body in (b"", b"\xff", b"[]", b'{"errors": 7, "code": 5}', b'{"errors": [7]}'):
        assert error_of(400, {}, body, NOW).errors == ()
    listed = b'{"errors": [{"detail": "d", "pointer": "/a"}, {"detail": "e", "parameter": "p"}]}'
    assert error_of(400, {}, listed, NOW).errors == (ProblemMember("d", "/a"), ProblemMember("e", None, "p"))


def test_another_server_is_noticed() -> None:
    with pytest.raises(UnexpectedAnswer, match="text/html, not JSON"):
        client_of(answering(httpx.Response(200, html="<p>hello</p>")), Waits()).list_streams()
    with pytest.raises(UnexpectedAnswer, match="/streams is missing"):
        client_of(answering(httpx.Response(200, json={})), Waits()).list_streams()
    page = {"streams": [], "next_cursor": "c", "what": "is new"}
    pages = client_of(answering(*[httpx.Response(200, json=page)] * 3), Waits()).iter_streams()
    with pytest.raises(UnexpectedAnswer, match="the same page"):
        list(pages)


def test_a_clock_with_a_zone_is_used_unless_told_otherwise() -> None:
    waits = Waits()
    later = (datetime.now(UTC) + timedelta(seconds=30)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    client = Client(URL, transport=answering(problem(503, Retry_After=later), gone()), sleep=waits)
    client.revoke_api_key("k")
    assert 20 < waits.seconds[0] < 31
