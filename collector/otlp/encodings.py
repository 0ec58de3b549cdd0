"""The two encodings of OTLP/HTTP, by media type: how a request is read, and how it is answered in the same encoding."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from collector.otlp.export import SERVICES
from collector.otlp.jsonschema import REQUESTS, json_schema
from collector.otlp.jsonwire import Transcoder
from collector.otlp.limits import OtlpLimits
from driftlock.engine.event import Signal

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
Transcode = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Encoding:
    """An encoding of requests: `transcoders` turn them into protobuf, where they are not; `write` writes any answer."""

    media_type: str
    transcoders: Mapping[Signal, Transcode]
    write: Callable[[Message], bytes]

    def response(self, signal: Signal, serialized: bytes) -> bytes:
        """An Export response, given as protobuf."""
        if not self.transcoders:
            return serialized
        return self.write(SERVICES[signal].response.FromString(serialized))


def encodings(limits: OtlpLimits) -> Mapping[str, Encoding]:
    """All encodings by media type."""
    transcoders = {
        signal: Transcoder(json_schema(request), bytes_max=limits.request_bytes_max, depth_max=limits.text.depth_max)
        for signal, request in REQUESTS.items()
    }
    return {PROTOBUF: PROTOBUF_ENCODING, JSON: Encoding(JSON, transcoders, write_json)}


def write_json(message: Message) -> bytes:
    """The message in the JSON mapping of protobuf; 64-bit integers are strings, as it wants them."""
    return json.dumps(MessageToDict(message), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def write_protobuf(message: Message) -> bytes:
    """The message as protobuf."""
    return message.SerializeToString()


PROTOBUF_ENCODING = Encoding(PROTOBUF, {}, write_protobuf)
"""What is answered in where the request names no encoding that is read here."""
