"""Senders of what no well-behaved client would send, and what they were answered."""

import contextlib
import gzip
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import httpx

from driftlock.engine.event import Signal
from tests.collector.grpc_calls import EXPORT_HEADERS, grpc_message, raw_connection
from tests.conformance.doors import REJECTED, RESPONSES, SERVICES

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
GRPC_STATUS = b"grpc-status"
TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Answer:
    """The status as its protocol names it (`INVALID_ARGUMENT`, `400`), its text, and what stands around it."""

    status: str
    text: str = ""
    rejected: int = 0
    retryable: bool = False


class Senders:
    """Ways into one server with the key of one tenant."""

    def __init__(self, grpc_address: str, http_address: str, rest_address: str, key: str, read_key: str) -> None:
        self.grpc_address, self.http_address, self.rest_address = grpc_address, http_address, rest_address
        self.key, self.read_key = key, read_key

    async def grpc(
        self, body: bytes, signal: Signal = Signal.LOGS, metadata: Any = None, gzipped: bool = False, path: str = ""
    ) -> Answer:
        """One Export call; `metadata` None: the key."""
        options = [("grpc.max_send_message_length", -1)]
        async with grpc.aio.insecure_channel(self.grpc_address, options=options) as channel:
            call = channel.unary_unary(path or f"/opentelemetry.proto.collector.{SERVICES[signal]}Service/Export")
            compression = grpc.Compression.Gzip if gzipped else None
            shown = (("x-api-key", self.key),) if metadata is None else metadata
            try:
                raw = await call(body, metadata=shown, compression=compression, timeout=TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                hints = any(
                    name == "grpc-status-details-bin" and b"RetryInfo" in value
                    for name, value in error.trailing_metadata() or ()
                )
                return Answer(error.code().name, error.details() or "", retryable=hints)
        return Answer("OK", rejected=_rejected(signal, raw))

    async def grpc_by_hand(self, payload: bytes, encoding: str) -> Answer:
        """A message that is marked as compressed, whatever it holds."""
        async with raw_connection(int(self.grpc_address.rpartition(":")[2])) as connection:
            connection.open_headers(1, EXPORT_HEADERS | {"x-api-key": self.key, "grpc-encoding": encoding})
            connection.send(1, grpc_message(payload, compressed=True), ends=True)
            received = await connection.until(GRPC_STATUS)
        return Answer(
            "INTERNAL" if b"13" in received.partition(GRPC_STATUS)[2][:6] else received.partition(GRPC_STATUS)[2][:6].hex()
        )

    async def http(
        self,
        body: bytes,
        *,
        signal: Signal = Signal.LOGS,
        media: str = PROTOBUF,
        path: str = "",
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request to OTLP/HTTP with the key."""
        shown = {"content-type": media, "x-api-key": self.key, **(headers or {})}
        async with httpx.AsyncClient(base_url=f"http://{self.http_address}", timeout=TIMEOUT_S) as client:
            answer = await client.request(method, path or f"/v1/{signal}", content=body, headers=shown)
        rejected = 0
        if answer.status_code == 200 and media == PROTOBUF:
            rejected = _rejected(signal, answer.content)
        elif answer.status_code == 200 and answer.content:
            partial = answer.json().get("partialSuccess", {})
            rejected = sum(int(value) for name, value in partial.items() if name.startswith("rejected"))
        return Answer(str(answer.status_code), answer.text, rejected, "retry-after" in answer.headers)

    async def rest(self, body: bytes, *, path: str = "/v1/detect", headers: Mapping[str, str] | None = None) -> Answer:
        """One POST to REST with the key."""
        shown = {"content-type": JSON, "x-api-key": self.key, **(headers or {})}
        async with httpx.AsyncClient(base_url=f"http://{self.rest_address}", timeout=TIMEOUT_S) as client:
            answer = await client.post(path, content=body, headers=shown)
        return Answer(str(answer.status_code), answer.text, retryable="retry-after" in answer.headers)

    async def rest_get(self, path: str) -> Answer:
        """One GET to REST with the key that may read."""
        async with httpx.AsyncClient(base_url=f"http://{self.rest_address}", timeout=TIMEOUT_S) as client:
            answer = await client.get(path, headers={"x-api-key": self.read_key})
        return Answer(str(answer.status_code), answer.text)

    def tcp(self, raw: bytes) -> Answer:
        """Bytes to the OTLP/HTTP port as they are; the status of what comes back."""
        host, _, port = self.http_address.rpartition(":")
        with socket.create_connection((host, int(port)), TIMEOUT_S) as connection:
            connection.sendall(raw)
            received = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := connection.recv(65536):
                    received += piece
        return Answer(received.split(b" ", 2)[1].decode() if received else "closed", received.decode("latin-1"))


def _rejected(signal: Signal, raw: bytes) -> int:
    return int(getattr(RESPONSES[signal].FromString(raw).partial_success, REJECTED[signal]))


def gzipped(data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=1, mtime=0)
