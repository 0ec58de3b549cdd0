from typing import Self, final

from collector.otlp.jsonschema import JsonSchema

@final
class Transcoder:
    def __new__(cls, schema: JsonSchema, *, bytes_max: int, depth_max: int) -> Self: ...
    def __call__(self, text: bytes) -> bytes: ...
