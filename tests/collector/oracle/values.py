"""OTLP values to plain Python values, which is all that routing and canonical text know."""

from typing import TypeVar, cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from collector.otlp.limits import OtlpLimits
from collector.otlp.sanitize import sanitize
from collector.otlp.wire import Malformed
from driftlock.engine.canonical import Cuts

MessageT = TypeVar("MessageT", bound=Message)


def parse(kind: type[MessageT], data: bytes, limits: OtlpLimits, cuts: Cuts) -> MessageT:
    """One message. Raises `TooDeep` or `TooManyElements`, which concern it alone, or `Malformed`, which ends the request.

    Invalid UTF-8 in a string is repaired with U+FFFD and counted. Resources up to
    `resource_bytes_trusted_max` are parsed at once.
    """
    if kind is Resource and len(data) <= limits.resource_bytes_trusted_max:
        try:
            return kind.FromString(data)
        except DecodeError:
            pass  # find out why, and repair what can be repaired
    try:
        return kind.FromString(sanitize(cast(Descriptor, kind.DESCRIPTOR), data, limits, cuts))
    except DecodeError:
        raise Malformed(0) from None
