import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.client import ClientError, RestClient, find_endpoints
from server.settings import Settings, parse_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return parse_settings({"DRIFTLOCK_DATA_DIR": str(tmp_path)})


def test_defaults_without_a_running_server(settings: Settings) -> None:
    found = find_endpoints(settings)
    assert (found.rest, found.otlp_grpc, found.api_key) == ("http://127.0.0.1:8080", "127.0.0.1:4317", None)


def test_a_running_servers_files_are_used(settings: Settings) -> None:
    settings.endpoints_file.write_text(json.dumps({"http": "http://127.0.0.1:9", "otlp_grpc": "127.0.0.1:8"}))
    settings.api_key_file.write_text("dl_local_key\n")
    found = find_endpoints(settings)
    assert (found.rest, found.otlp_grpc, found.api_key) == ("http://127.0.0.1:9", "127.0.0.1:8", "dl_local_key")
    assert "dl_local_key" not in repr(found)


def test_the_local_key_is_never_sent_to_another_server(settings: Settings) -> None:
    settings.api_key_file.write_text("dl_local_key\n")
    assert find_endpoints(replace(settings, endpoint="https://drift.example")).api_key is None
    assert find_endpoints(replace(settings, otlp_endpoint="drift.example:4317")).api_key is None
    assert find_endpoints(replace(settings, endpoint="https://drift.example", api_key="own")).api_key == "own"


@pytest.mark.parametrize(
    ("endpoint", "otlp_endpoint", "expected"),
    [
        ("https://drift.example", None, ("https://drift.example", "drift.example:4317")),
        ("http://[::1]:8080", None, ("http://[::1]:8080", "[::1]:4317")),
        (None, "drift.example:4317", ("http://drift.example:8080", "drift.example:4317")),
        (None, "https://drift.example:443", ("http://drift.example:8080", "https://drift.example:443")),
        ("http://a:1", "b:2", ("http://a:1", "b:2")),
    ],
)
def test_one_address_implies_the_other(
    settings: Settings, endpoint: str | None, otlp_endpoint: str | None, expected: tuple[str, str]
) -> None:
    found = find_endpoints(replace(settings, endpoint=endpoint, otlp_endpoint=otlp_endpoint))
    assert (found.rest, found.otlp_grpc) == expected


def test_a_damaged_endpoints_file_says_what_to_do(settings: Settings) -> None:
    settings.endpoints_file.write_text("{")
    with pytest.raises(ClientError, match="set DRIFTLOCK_ENDPOINT"):
        find_endpoints(settings)


def stream(service: str, number: int, **changes: str) -> dict[str, Any]:
    return {"id": str(number), "slug": f"s{number}", "service": service, "signal": "logs", "namespace": "", "environment": "",
            **changes}  # fmt: skip


def client(handler: Any) -> RestClient:
    return RestClient("http://server", "k", transport=httpx.MockTransport(handler))


def test_a_stream_is_found_by_its_slug_or_in_the_pages_of_the_list() -> None:
    pages = {
        "": {"streams": [stream("x", 1, namespace="other"), stream("x", 2, signal="traces")], "next_cursor": "c2"},
        "c2": {"streams": [stream("x", 3)], "next_cursor": None},
    }

    def handler(request: httpx.Request) -> httpx.Response:
        assert request.headers["X-Api-Key"] == "k"
        if request.url.path == "/v1/streams":
            return httpx.Response(200, json=pages[request.url.params.get("cursor", "")])
        if request.url.path == "/v1/streams/direct":
            return httpx.Response(200, json=stream("direct", 9))
        return httpx.Response(404, json={"detail": "not found"})

    rest = client(handler)
    assert rest.find_stream("direct") == stream("direct", 9)
    assert rest.find_stream("x") == stream("x", 3)
    assert rest.find_stream("none") is None
    rest.close()


@pytest.mark.parametrize(
    ("response", "told"),
    [
        (httpx.Response(401, json={"detail": "no valid API key"}), "no valid API key; set --api-key"),
        (httpx.Response(503, json={"detail": "stopping"}), "answered 503: stopping"),
        (httpx.Response(200, text="<html>"), "is not a Driftlock server"),
    ],
)
def test_other_answers_are_clear_errors(response: httpx.Response, told: str) -> None:
    rest = client(lambda _request: response)
    with pytest.raises(ClientError, match=told):
        rest.stream("1")
    rest.close()


def test_no_answer_is_a_clear_error() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused")

    rest = client(handler)
    with pytest.raises(ClientError, match=r"no answer from http://server: connection refused; is the server running\?"):
        rest.stream("1")
    rest.close()
