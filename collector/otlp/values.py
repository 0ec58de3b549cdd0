"""OTLP values to plain Python values, which is all that routing and canonical text know."""

from collections.abc import Sequence

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from collector.otlp.limits import OtlpLimits
from collector.otlp.sanitize import sanitize
from collector.otlp.wire import Malformed
from driftlock.engine.canonical import Cuts, TooDeep, Value


def trusted_resource(resource: bytes, limits: OtlpLimits) -> Resource | None:
    """The Resource message; None for one that is long, or that the parser refuses, and is to be repaired."""
    if len(resource) > limits.resource_bytes_trusted_max:
        return None
    try:
        return Resource.FromString(resource)
    except DecodeError:
        return None


def repaired_resource(resource: bytes, limits: OtlpLimits, cuts: Cuts) -> Resource:
    """The Resource message, read slowly. Invalid UTF-8 in a string is repaired with U+FFFD and counted.

    Raises `TooDeep` or `TooManyElements`, which concern its records alone, or `Malformed`, which ends the request.
    """
    try:
        return Resource.FromString(sanitize(Resource.DESCRIPTOR, resource, limits, cuts))
    except DecodeError:
        raise Malformed(0) from None


def plain(value: AnyValue, depth_max: int, depth: int = 1) -> Value:
    """The Python value; raises `TooDeep`. An unset value is None. Recursion is bounded by `depth_max`."""
    which = value.WhichOneof("value")
    if which == "string_value":
        return value.string_value
    if which is None:
        return None
    if depth > depth_max:
        raise TooDeep(f"a value is nested deeper than {depth_max} levels")
    if which == "array_value":
        return [plain(element, depth_max, depth + 1) for element in value.array_value.values]
    if which == "kvlist_value":
        return {pair.key: plain(pair.value, depth_max, depth + 1) for pair in value.kvlist_value.values}
    if which == "string_value_strindex":
        return None  # points into a dictionary that only the profiles signal has
    result: bool | int | float | bytes = getattr(value, which)
    return result


def plain_attributes(pairs: Sequence[KeyValue], attributes_max: int, depth_max: int, cuts: Cuts) -> dict[str, Value]:
    """Attributes by key; of a key that is there twice, which the protocol forbids, the last value stays.

    Those over `attributes_max` are counted and never looked at: each would cost more time than it took to send.
    """
    if len(pairs) > attributes_max:
        cuts.attributes_dropped += len(pairs) - attributes_max
        pairs = pairs[:attributes_max]
    # A non-empty string_value can only be the one that is set: most attributes are strings and need no second look.
    return {pair.key: value.string_value or plain(value, depth_max) for pair in pairs for value in (pair.value,)}
