"""The command line's view of a running server: where it is, with which key, and the few REST calls that commands need."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from server.addresses import Address
from server.settings import Settings

TIMEOUT_S = 30.0
PAGE_ITEMS = 200


class ClientError(Exception):
    """A server can not be used; the text is one line that says what to do."""


class Conflicting(ClientError):
    """A request contradicts the state of the server (409)."""

    def __init__(self, message: str, detail: str) -> None:
        """`detail` is what the server says, without where it is."""
        super().__init__(message)
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a server is: REST as a URL, OTLP/gRPC as host:port or a URL, and the key to present."""

    rest: str
    otlp_grpc: str
    api_key: str | None = field(repr=False)


def find_endpoints(settings: Settings) -> Endpoints:
    """Settings first; then the addresses and the key that a server wrote to the data folder; then its default addresses.

    When only one of the two addresses is set, the other one is taken on the same host with its default port.
    """
    running: dict[str, Any] = {}
    try:
        running = json.loads(settings.endpoints_file.read_text("utf-8"))
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise ClientError(f"{settings.endpoints_file} can not be read ({error}); set DRIFTLOCK_ENDPOINT instead") from None
    api_key = settings.api_key
    # The local key is for the local server: it is never sent to an address that the user named.
    if api_key is None and settings.endpoint is None and settings.otlp_endpoint is None:
        try:
            api_key = settings.api_key_file.read_text("ascii").strip()
        except (OSError, ValueError):
            api_key = None
    if settings.endpoint is not None or settings.otlp_endpoint is not None:
        rest = settings.endpoint or f"http://{_host(settings.otlp_endpoint or '')}:8080"
        return Endpoints(rest, settings.otlp_endpoint or f"{_host(rest)}:4317", api_key)
    rest = running.get("http") or f"http://{(settings.http or Address('127.0.0.1', 8080)).text}"
    otlp = running.get("otlp_grpc") or (settings.otlp_grpc or Address("127.0.0.1", 4317)).text
    return Endpoints(rest, otlp, api_key)


def _host(target: str) -> str:
    """The host of a URL or of host:port, an IPv6 one in brackets."""
    netloc = urlsplit(target).netloc if "://" in target else target
    host, colon, port = netloc.rpartition(":")
    return host if colon and port.isdigit() else netloc


class RestClient:
    """A few calls of the REST API. Raises `ClientError` for everything that is not the expected answer."""

    def __init__(self, endpoint: str, api_key: str | None, transport: httpx.BaseTransport | None = None) -> None:
        """`transport` replaces the network in tests."""
        headers = {"X-Api-Key": api_key} if api_key else {}
        # trust_env off: a proxy must never see the key of a local server.
        self._http = httpx.Client(base_url=endpoint, headers=headers, timeout=TIMEOUT_S, transport=transport, trust_env=False)
        self._endpoint = endpoint

    def close(self) -> None:
        """Close connections; idempotent."""
        self._http.close()

    def find_stream(self, service: str, signal: str = "logs") -> dict[str, Any] | None:
        """The stream of a service that has neither namespace nor environment, None if there is none yet."""
        guess = self._get(f"/v1/streams/{quote(service, safe='')}", missing_ok=True)
        if guess is not None and _is_of(guess, service, signal):
            return guess
        for stream in self._pages("/v1/streams", "streams", {}):
            if _is_of(stream, service, signal):
                return stream
        return None

    def stream(self, stream_id: str) -> dict[str, Any]:
        """One stream."""
        return self._get(f"/v1/streams/{stream_id}") or {}

    def anomalies(self, stream_id: str) -> Iterator[dict[str, Any]]:
        """All findings of a stream, the newest first."""
        return self._pages("/v1/anomalies", "anomalies", {"stream": stream_id})

    def anomaly(self, anomaly_id: str) -> dict[str, Any]:
        """One finding with its evidence."""
        return self._get(f"/v1/anomalies/{anomaly_id}") or {}

    def fetch(self, path: str) -> dict[str, Any]:
        """What is at a path."""
        return self._get(path) or {}

    def find(self, path: str) -> dict[str, Any] | None:
        """What is at a path; None where nothing is."""
        return self._get(path, missing_ok=True)

    def pages(self, path: str, name: str) -> Iterator[dict[str, Any]]:
        """All items of a list."""
        return self._pages(path, name, {})

    def change(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """What a request that changes something is answered with."""
        try:
            response = self._http.request(method, path, json=dict(body))
        except httpx.HTTPError as error:
            raise ClientError(f"no answer from {self._endpoint}: {error or type(error).__name__}") from None
        return self._answer(response)

    def _pages(self, path: str, name: str, query: dict[str, str]) -> Iterator[dict[str, Any]]:
        cursor = ""
        while True:
            page = self._get(path, {**query, "limit": str(PAGE_ITEMS), **({"cursor": cursor} if cursor else {})}) or {}
            yield from page.get(name, [])
            cursor = page.get("next_cursor") or ""
            if not cursor:
                return

    def _get(self, path: str, query: dict[str, str] | None = None, *, missing_ok: bool = False) -> dict[str, Any] | None:
        try:
            response = self._http.get(path, params=query or {})
        except httpx.HTTPError as error:
            raise ClientError(
                f"no answer from {self._endpoint}: {error or type(error).__name__}; is the server running?"
            ) from None
        if response.status_code == 404 and missing_ok:
            return None
        return self._answer(response)

    def _answer(self, response: httpx.Response) -> dict[str, Any]:
        try:
            body = response.json()
        except ValueError:
            raise ClientError(f"{self._endpoint} is not a Driftlock server: it answered {response.status_code}") from None
        if not response.is_success:
            advice = "; set --api-key or DRIFTLOCK_API_KEY" if response.status_code == 401 else ""
            text = f"{self._endpoint} answered {response.status_code}: {_detail(body)}{advice}"
            raise Conflicting(text, _detail(body)) if response.status_code == 409 else ClientError(text)
        return dict(body)


def _detail(body: Any) -> str:
    """What a problem says, with what is wrong with each member."""
    if not isinstance(body, dict):
        return str(body)
    errors = body.get("errors") or []
    members = [f"{error.get('pointer') or error.get('parameter')} {error.get('detail')}" for error in errors]
    return "; ".join(members) or str(body.get("detail") or body)


def _is_of(stream: dict[str, Any], service: str, signal: str) -> bool:
    return (stream["service"], stream["signal"], stream["namespace"], stream["environment"]) == (service, signal, "", "")
