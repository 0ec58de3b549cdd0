"""Spans as compact columns, in the stream where the traces of an environment are put together.

A span goes there beside its text, which stays with its service. Columns are what is needed to tell how a trace hangs together,
what was called and how long it took; nothing in them is free text but the names of operations.
"""

from array import array
from collections.abc import Callable

from collector.otlp.columns import Instances
from collector.otlp.limits import OtlpLimits
from collector.otlp.spanwire import SpanColumns
from driftlock.engine.canonical import IDENTITY_SEPARATOR, Cuts, cut_utf8
from driftlock.engine.event import RecordBatch, trace_stream_key
from driftlock.engine.ports import StreamBatch

_ESCAPED_SEPARATOR = r"\x1f"


class TraceColumns:
    """Collects the spans of one environment from all resources of a request; `batch()` hands them over in that order."""

    __slots__ = (
        "_durations",
        "_environment",
        "_historical",
        "_instance_index",
        "_instances",
        "_limits",
        "_marks",
        "_operations",
        "_operations_room",
        "_parents",
        "_redact",
        "_series_index",
        "_spans",
        "_times",
        "_traces",
    )

    def __init__(self, environment: str, historical: bool, limits: OtlpLimits, redact: Callable[[str], str]) -> None:
        self._environment = environment
        self._historical = historical
        self._limits = limits
        self._redact = redact
        self._instances = Instances(limits.instances_max)
        self._operations: dict[str, int] = {}
        self._operations_room = limits.operations_bytes_max
        self._traces: list[bytes] = []
        self._spans: list[bytes] = []
        self._parents: list[bytes] = []
        self._marks: list[bytes] = []
        self._times = array("Q")
        self._durations = array("Q")
        self._series_index = array("I")
        self._instance_index = array("I")

    def add(self, service: str, instance: str, spans: SpanColumns) -> None:
        """Append the spans of one resource; `instance` is as it may be stored."""
        numbers = [self._operation(service, name, kind) for name, kind in spans.names]
        self._series_index.extend([numbers[operation] for operation in spans.operations])
        self._instance_index.extend([self._instances.number(instance)] * len(spans.marks))
        self._traces.append(spans.trace_ids)
        self._spans.append(spans.span_ids)
        self._parents.append(spans.parent_ids)
        self._marks.append(spans.marks)
        self._times.extend(spans.starts_ns)
        self._durations.extend(spans.durations_ns)

    def _operation(self, service: str, raw: bytes, kind: int) -> int:
        """The number of an operation; those over `operations_bytes_max` share one without a name for each service and kind."""
        identity = f"{service}{IDENTITY_SEPARATOR}{self._name(raw)}{IDENTITY_SEPARATOR}{kind}"
        number = self._operations.get(identity)
        if number is None:
            size = len(identity.encode())
            if size > self._operations_room:
                identity = f"{service}{IDENTITY_SEPARATOR * 2}{kind}"
            else:
                self._operations_room -= size
            number = self._operations.setdefault(identity, len(self._operations) + 1)
        return number

    def _name(self, raw: bytes) -> str:
        """What is kept of a span's name. The text of the span has it whole, and counts what had to be repaired in it."""
        bytes_max = self._limits.operation_bytes_max
        name = cut_utf8(raw.decode(errors="replace"), bytes_max, Cuts())
        return cut_utf8(self._redact(name).replace(IDENTITY_SEPARATOR, _ESCAPED_SEPARATOR), bytes_max, Cuts())

    def batch(self) -> StreamBatch:
        """The spans, without text."""
        instances = self._instances.names()
        return StreamBatch(
            trace_stream_key(self._environment),
            RecordBatch(
                lengths=array("I", bytes(4 * len(self._times))),
                times_ns=self._times,
                historical=self._historical,
                instances=instances,
                instance_index=self._instance_index if instances else array("I"),
                trace_ids=b"".join(self._traces),
                span_ids=b"".join(self._spans),
                series=tuple(self._operations),
                series_index=self._series_index,
                parent_ids=b"".join(self._parents),
                durations_ns=self._durations,
                span_marks=b"".join(self._marks),
            ),
        )
