"""Limits of one OTLP request. Each is checked before the memory or the time that it bounds is spent."""

from dataclasses import dataclass, field

from driftlock.engine.canonical import CanonicalLimits

MIB = 1024 * 1024
REQUEST_BYTES_CEILING = 64 * MIB  # what the OTLP specification recommends as a maximum
OPERATION_BYTES_CEILING = 256  # names are read so far from the wire


@dataclass(frozen=True, slots=True)
class OtlpLimits:
    """Limits of a request and of its records.

    `request_bytes_max`: after decompression. `records_max`: log records, spans or data points. `containers_max`:
    resources, scopes and metrics. `streams_max`, `instances_max`: distinct ones in a request, and in a stream of it; the traces
    of an environment are a stream, too.
    `operations_bytes_max`: the texts of all operations (service, name of the span, kind) in the traces of an environment in a
    request; those beyond lose their names. `operation_bytes_max`: the name of an operation, at most 256.
    `stack_end_chars_max`: of a longer stack trace than twice that, so much is kept of either end, in whole lines, and of the
    lines of causes between them, of which there are at most `causes_max`.
    `resource_attributes_max`: of a resource, those that are looked at for its stream.
    `resource_bytes_trusted_max`: a resource up to this size is parsed at once, a longer one is checked first, as are those
    that can not be parsed: of them a request may have `resource_bytes_repaired_max`. `resources_distinct_max`: different ones
    of a request.
    `record_elements_max`: fields and array elements of a record, or of such a resource; they take more memory than their bytes.
    `text_bytes_max`: canonical texts of all records of a request, which can be many times as long as what was sent; a record
    that does not fit is rejected.
    `buckets_max`: of a histogram point, and quantiles of a summary point. `exponential_bounds_max`: upper bounds to which an
    exponential histogram is brought, at least 16. `message_bytes_max`: an error message.
    `inline_bytes_max`: a request up to this size, with at most `inline_resources_max` resources, is decoded on the event loop,
    any other in a worker thread.
    `text`: limits of one record's text.
    """

    request_bytes_max: int = 16 * MIB
    records_max: int = 100_000
    containers_max: int = 100_000
    streams_max: int = 4096
    instances_max: int = 1024
    operations_bytes_max: int = 16 * MIB
    operation_bytes_max: int = 256
    stack_end_chars_max: int = 256
    causes_max: int = 4
    resource_attributes_max: int = 1024
    resource_bytes_trusted_max: int = 64 * 1024
    resource_bytes_repaired_max: int = 256 * 1024
    resources_distinct_max: int = 8192
    record_elements_max: int = 25_000
    text_bytes_max: int = 64 * MIB
    buckets_max: int = 10_000
    exponential_bounds_max: int = 128
    message_bytes_max: int = 1024
    inline_bytes_max: int = 320 * 1024
    inline_resources_max: int = 64
    text: CanonicalLimits = field(default_factory=CanonicalLimits)

    def __post_init__(self) -> None:
        """Refuse limits that limit nothing, or more than the protocol's recommendation."""
        for name in (
            "request_bytes_max",
            "records_max",
            "containers_max",
            "streams_max",
            "instances_max",
            "operations_bytes_max",
            "operation_bytes_max",
            "stack_end_chars_max",
            "causes_max",
            "resource_attributes_max",
            "resource_bytes_trusted_max",
            "resource_bytes_repaired_max",
            "resources_distinct_max",
            "record_elements_max",
            "text_bytes_max",
            "buckets_max",
            "message_bytes_max",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.exponential_bounds_max < 16:
            raise ValueError("exponential_bounds_max must be at least 16")
        for name in ("inline_bytes_max", "inline_resources_max"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        if self.operation_bytes_max > OPERATION_BYTES_CEILING:
            raise ValueError(f"operation_bytes_max must be at most {OPERATION_BYTES_CEILING}")
        if self.request_bytes_max > REQUEST_BYTES_CEILING:
            raise ValueError(f"request_bytes_max must be at most {REQUEST_BYTES_CEILING} (64 MiB)")
