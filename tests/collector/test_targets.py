"""What resources may cost: looked at once each, repaired up to a limit, decoded on a thread where they are many."""

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from collector.otlp.decode import Decoded, Decoder
from collector.otlp.limits import OtlpLimits
from collector.otlp.reasons import Reason
from collector.redact import NoRedaction
from collector.routing import ResourceRouter
from driftlock.engine.event import Signal
from tests.collector.otlp_requests import add_logs, log, message, timed

DAMAGED = message(1, message(1, b"service.name") + message(2, message(1, b"caf\xff")))


def run(body: bytes, **limits: int) -> Decoded:
    return Decoder(OtlpLimits(**limits), ResourceRouter(), NoRedaction()).decode(body, Signal.LOGS)


def of(resource: bytes) -> bytes:
    """A request of one record."""
    return message(1, message(1, resource) + message(2, message(2, timed(message(5, message(1, b"x"))))))


def named(*names: str) -> bytes:
    request = ExportLogsServiceRequest()
    for name in names:
        add_logs(request, log("x"), resource={"service.name": name})
    return request.SerializeToString()


def test_equal_resources_are_repaired_once_and_counted_each_time() -> None:
    decoded = run(of(DAMAGED) * 50, resource_bytes_repaired_max=len(DAMAGED))
    assert (decoded.accepted, decoded.rejected, decoded.cuts.replaced) == (50, {}, 50)
    assert decoded.batches[0].key.service == "caf\ufffd"


def test_resource_bytes_repaired_max() -> None:
    other = DAMAGED + message(1, message(1, b"a"))
    decoded = run(of(DAMAGED) + of(other) * 3 + named("good"), resource_bytes_repaired_max=len(DAMAGED) + len(other) - 1)
    assert (decoded.accepted, decoded.rejected) == (2, {Reason.TOO_MANY_ELEMENTS: 3})
    assert "damaged or long" in decoded.message


def test_resources_distinct_max() -> None:
    decoded = run(named("a", "b", "a", "c", "b", "c"), resources_distinct_max=2)
    assert (decoded.accepted, decoded.rejected) == (4, {Reason.TOO_MANY_STREAMS: 2})
    assert "different resources" in decoded.message


@pytest.mark.parametrize(
    ("body", "quick"),
    [
        (b"", True),
        (named("a"), True),
        (named(*"abc"), True),
        (named(*"abcd"), False),
        (named("a" * 1000), False),
        (b"\xff" * 9, True),
    ],
)
def test_few_resources_in_few_bytes_are_quick(body: bytes, quick: bool) -> None:
    limits = OtlpLimits(inline_bytes_max=500, inline_resources_max=3)
    assert Decoder(limits, ResourceRouter(), NoRedaction()).is_quick(body) is quick


@pytest.mark.parametrize("name", ["resource_bytes_repaired_max", "resources_distinct_max"])
def test_limits_of_resources_limit(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        OtlpLimits(**{name: 0})
