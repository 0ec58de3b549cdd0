"""Why single records of an accepted request are rejected."""

from enum import StrEnum

from collector.otlp.limits import OtlpLimits


class Reason(StrEnum):
    """Labels of metrics and words of messages. The first five are told by the native readers, in this order."""

    TOO_DEEP = "too_deep"
    TOO_MANY_ELEMENTS = "too_many_elements"
    BAD_ID = "bad_id"
    BAD_BUCKETS = "bad_buckets"
    TOO_MUCH_TEXT = "too_much_text"
    TOO_MANY_STREAMS = "too_many_streams"
    WRONG_STREAM = "wrong_stream"


READ = tuple(Reason)[:5]
"""What the readers of wire bytes reject records for, by the number that they give."""


def explanation(reason: Reason, limits: OtlpLimits) -> str:
    """What a sender should know about records that were rejected for `reason`."""
    return {
        Reason.TOO_DEEP: f"a value is nested deeper than {limits.text.depth_max} levels",
        Reason.TOO_MANY_ELEMENTS: f"a record has more than {limits.record_elements_max} fields and elements",
        Reason.BAD_ID: "a trace id is 16 bytes and a span id 8",
        Reason.BAD_BUCKETS: f"bounds and counts of buckets disagree, or there are more than {limits.buckets_max}",
        Reason.TOO_MUCH_TEXT: f"the texts of a request have at most {limits.text_bytes_max} bytes; send smaller batches",
        Reason.TOO_MANY_STREAMS: f"a request has at most {limits.streams_max} streams; send smaller batches",
        Reason.WRONG_STREAM: "the API key is bound to another stream",
    }[reason]
