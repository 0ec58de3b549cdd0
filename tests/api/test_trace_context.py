"""traceparent: log lines of a request say which trace it belongs to; what is wrong is ignored."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.contextvars import get_contextvars

from api.endpoint import Call, Endpoint, Reply
from api.models import Liveness
from api.trace_context import trace_id_of
from tests.api.conftest import Service
from tests.api.serving import client_of

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{PARENT}-01"


@pytest.mark.parametrize(
    "text", [GOOD, f" {GOOD} ", f"00-{TRACE}-{PARENT}-ff", f"cc-{TRACE}-{PARENT}-00", f"cc-{TRACE}-{PARENT}-00-what"]
)
def test_what_names_a_trace(text: str) -> None:
    assert trace_id_of([text]) == TRACE


@pytest.mark.parametrize(
    "values",
    [
        [],
        [""],
        [GOOD, GOOD],
        [GOOD.upper()],
        [f"{GOOD}-more"],
        [f"ff-{TRACE}-{PARENT}-01"],
        [f"00-{'0' * 32}-{PARENT}-01"],
        [f"00-{TRACE}-{'0' * 16}-01"],
        [f"00-{TRACE}-{PARENT}"],
        [f"0-{TRACE}-{PARENT}-01"],
        [f"00-{TRACE}-{PARENT}-1"],
        [f"00-{TRACE[:-1]}-{PARENT}-01"],
        [f"00-{TRACE[:-1]}٣-{PARENT}-01"],
        [f"cc-{TRACE}-{PARENT}-01.more"],
        [f"cc-{TRACE}-{PARENT}-01-{'x' * 512}"],
    ],
    ids=lambda values: repr(values)[:60],
)
def test_what_names_none(values: list[str]) -> None:
    assert trace_id_of(values) is None


@given(st.lists(st.text(max_size=80), max_size=3))
def test_nothing_breaks_it(values: list[str]) -> None:
    assert trace_id_of(values) is None or len(trace_id_of(values) or "") == 32


@pytest.mark.parametrize(("sent", "trace"), [({"traceparent": GOOD}, TRACE), ({"traceparent": "wrong"}, None), ({}, None)])
async def test_lines_of_a_request_carry_it(service: Service, sent: dict[str, str], trace: str | None) -> None:
    seen: list[dict[str, object]] = []

    async def handler(call: Call) -> Reply:
        seen.append(dict(get_contextvars()))
        return Reply(Liveness(status="ok"))

    endpoint = Endpoint("GET", "/x", "x", "x", "x", handler, {200: Liveness})
    async with client_of(dataclasses.replace(service.deps), endpoint) as client:
        answer = await client.get("/x", headers={"X-Request-ID": "r-1", **sent})
    assert answer.status_code == 200
    assert seen == [{"request_id": "r-1"} | ({"trace_id": trace} if trace else {})]
    assert "trace_id" not in get_contextvars()
