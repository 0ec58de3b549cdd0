"""Spans as compact columns, in the stream where the traces of an environment are put together.

A span goes there beside its text, which stays with its service. Columns are what is needed to tell how a trace hangs together,
what was called and how long it took; nothing in them is free text but the names of operations.
"""

from array import array
from collections.abc import Callable, Sequence
from functools import partial

from collector.otlp.limits import OtlpLimits
from collector.otlp.senders import Names
from collector.otlp.spanwire import SpanColumns
from driftlock.engine.canonical import IDENTITY_SEPARATOR, Cuts, cut_utf8
from driftlock.engine.event import RecordBatch, trace_stream_key
from driftlock.engine.ports import StreamBatch

_ESCAPED_SEPARATOR = r"\x1f"
NameRedactor = Callable[[str, int], Callable[[str], str] | None]


def _nothing(_environment: str, _service: int) -> None:
    """Names are kept as they are."""


def trace_batches(
    columns: Sequence[SpanColumns],
    environments: Sequence[tuple[str, bool]],
    services: Sequence[str],
    instances: Sequence[str],
    limits: OtlpLimits,
    redactor: NameRedactor = _nothing,
) -> list[StreamBatch]:
    """The spans of each environment that has any, as batches without text, the one first whose spans came first.

    `environments` are names, and whether their spans replay the past, by number; `services` are by the numbers that the `names`
    of the columns hold. `instances` are names by resource, as they may be stored ("" = unknown). Names of spans are redacted
    here, with what `redactor` says for an environment and the number of a service.
    """
    order = sorted((spans.resources[0], number) for number, spans in enumerate(columns) if spans.resources)
    return [
        _batch(
            columns[number],
            environments[number],
            _Operations(services, limits, partial(redactor, environments[number][0])),
            instances,
            limits.instances_max,
        )
        for _, number in order
    ]


class _Operations:
    """Identities of the operations of an environment: service, name and kind, numbered in the order of their first spans.

    Those over `operations_bytes_max` share one without a name for each service and kind.
    """

    __slots__ = ("_limits", "_numbers", "_redactor", "_room", "_services")

    def __init__(
        self, services: Sequence[str], limits: OtlpLimits, redactor: Callable[[int], Callable[[str], str] | None]
    ) -> None:
        self._services = services
        self._limits = limits
        self._redactor = redactor
        self._numbers: dict[str, int] = {}
        self._room = limits.operations_bytes_max

    def numbered(self, spans: SpanColumns) -> "tuple[tuple[str, ...], array[int]]":
        """The identities, and the number of each span's; nothing is done for each span unless two names became one."""
        numbers = [self._number(service, raw, kind) for service, raw, kind in spans.names]
        identities = tuple(self._numbers)
        if len(identities) == len(numbers):
            return identities, spans.operations
        return identities, array("I", [numbers[operation - 1] for operation in spans.operations])

    def _number(self, number_of_service: int, raw: bytes, kind: int) -> int:
        service = self._services[number_of_service]
        identity = f"{service}{IDENTITY_SEPARATOR}{self._name(raw, number_of_service)}{IDENTITY_SEPARATOR}{kind}"
        number = self._numbers.get(identity)
        if number is None:
            size = len(identity.encode())
            if size > self._room:
                identity = f"{service}{IDENTITY_SEPARATOR * 2}{kind}"
            else:
                self._room -= size
            number = self._numbers.setdefault(identity, len(self._numbers) + 1)
        return number

    def _name(self, raw: bytes, service: int) -> str:
        """What is kept of a span's name. The text of the span has it whole, and counts what had to be repaired in it."""
        bytes_max = self._limits.operation_bytes_max
        name = cut_utf8(raw.decode(errors="replace"), bytes_max, Cuts())
        redact = self._redactor(service)
        if redact is not None:
            name = redact(name)
        return cut_utf8(name.replace(IDENTITY_SEPARATOR, _ESCAPED_SEPARATOR), bytes_max, Cuts())


def _batch(
    spans: SpanColumns,
    environment: tuple[str, bool],
    operations: _Operations,
    instances: Sequence[str],
    instances_max: int,
) -> StreamBatch:
    name, historical = environment
    series, series_index = operations.numbered(spans)
    numbers = Names(instances_max)
    index = array("I")
    for resource, count in zip(spans.resources, spans.counts, strict=True):
        index.extend(array("I", [numbers.number(instances[resource])]) * count)
    names = numbers.names()
    batch = RecordBatch(
        lengths=array("I", bytes(4 * len(index))),
        times_ns=spans.starts_ns,
        historical=historical,
        instances=names,
        instance_index=index if names else array("I"),
        trace_ids=spans.trace_ids,
        span_ids=spans.span_ids,
        series=series,
        series_index=series_index,
        parent_ids=spans.parent_ids,
        durations_ns=spans.durations_ns,
        span_marks=spans.marks,
    )
    return StreamBatch(trace_stream_key(name), batch)
