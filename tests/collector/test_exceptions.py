"""Exceptions on spans: what is kept of them, and that a new one is found among usual ones."""

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from collector.otlp.decode import decode
from collector.otlp.limits import OtlpLimits
from collector.redact import NoRedaction
from collector.routing import ResourceRouter
from driftlock.engine.canonical import CanonicalLimits
from driftlock.engine.event import Signal
from driftlock.engine.limits import Limits
from driftlock.engine.offline import Offline
from driftlock.engine.profile import PROFILES
from driftlock.engine.verdict import Finding
from tests.collector.otlp_requests import T0, pairs, spans

LIMITS = OtlpLimits()


def event(type_: str = "", message: str = "", stack: str = "", **more: object) -> Span.Event:
    told = {"exception.type": type_, "exception.message": message, "exception.stacktrace": stack}
    return Span.Event(name="exception", attributes=pairs({key: value for key, value in told.items() if value} | more))


def text(span: Span, limits: OtlpLimits = LIMITS) -> str:
    decoded = decode(spans(span).SerializeToString(), Signal.TRACES, limits, ResourceRouter(), NoRedaction())
    (line,) = decoded.batches[0].batch.lines()
    return line.decode()


def stack_text(stack: str, limits: OtlpLimits = LIMITS) -> str:
    """What is kept of a stack trace."""
    return text(Span(events=[event(stack=stack)]), limits).removeprefix("exception").removeprefix(" ")


def java(type_: str, message: str, top: str, frames: int = 60, cause: str = "") -> str:
    lines = [f"{type_}: {message}", f"\tat {top}"]
    lines += [
        f"\tat org.framework.servlet.FrameworkServlet.step{number}(FrameworkServlet.java:{880 + number})"
        for number in range(frames)
    ]
    if cause:
        lines += [f"Caused by: {cause}", "\tat io.net.Channel.read(Channel.java:77)", f"\t... {frames} more"]
    return "\n".join(lines)


# ---- text -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"exception.type": "E", "exception.message": "m"}, "exception E: m"),
        ({"exception.type": "E"}, "exception E"),
        ({"exception.message": "m"}, "exception m"),
        ({"exception.type": "E", "exception.stacktrace": "at x\nat y"}, "exception E at x\nat y"),
        ({"exception.type": "E", "b": 1, "exception.escaped": False}, "exception E b=1 exception.escaped=false"),
        ({"exception.type": ["E", "F"], "exception.stacktrace": 7}, "exception exception.stacktrace=7 exception.type=[E,F]"),
        ({}, "exception"),
    ],
)
def test_exception_text(attributes: dict[str, object], expected: str) -> None:
    assert text(Span(events=[Span.Event(name="exception", attributes=pairs(attributes))])) == expected


def test_exceptions_come_before_attributes_and_other_events() -> None:
    span = Span(
        name="GET /a",
        kind=2,  # type: ignore[arg-type]
        status=Status(code=2, message="failed"),  # type: ignore[arg-type]
        attributes=pairs({"k": "v"}),
        events=[Span.Event(name="retry"), event("E", "m"), event("F"), Span.Event(name="exceptional")],
    )
    assert text(span) == "SERVER GET /a ERROR failed exception E: m exception F k=v event: retry event: exceptional"


def test_exceptions_beyond_the_limit_of_a_value_are_cut_and_counted() -> None:
    limits = OtlpLimits(text=CanonicalLimits(value_bytes_max=40))
    span = Span(name="x", events=[event("A" * 30), event("B" * 30), event("C")], attributes=pairs({"k": "v"}))
    assert text(span, limits) == f"x exception {'A' * 30} k=v"
    decoded = decode(spans(span).SerializeToString(), Signal.TRACES, limits, ResourceRouter(), NoRedaction())
    assert decoded.cuts.truncated == 1
    assert text(Span(name="x", events=[event("A" * 100)]), limits) == f"x exception {'A' * 30}"


def test_a_short_stack_trace_is_kept() -> None:
    stack = "\n".join(["at somewhere"] * 39)
    assert len(stack) <= 512
    assert stack_text(stack) == stack


def test_of_a_long_stack_trace_the_ends_and_the_causes_are_kept() -> None:
    stack = java("E", "m", "shop.Cart.get(Cart.java:1)", cause="io.net.Reset: by peer") + "\n" + "\n".join(["\tat end"] * 60)
    kept = stack_text(stack).split("\n")
    assert kept[:2] == ["E: m", "\tat shop.Cart.get(Cart.java:1)"]
    middle = kept.index("...")
    assert kept[middle - 1] == "Caused by: io.net.Reset: by peer"
    assert kept[middle + 1 :] == ["\tat end"] * 32
    assert set(kept) <= {*stack.split("\n"), "..."}


def test_stack_end_chars_max_and_causes_max() -> None:
    limits = OtlpLimits(stack_end_chars_max=10, causes_max=2)
    stack = "first\nsecond line" + "".join(f"\nCaused by: {number}" * 2 for number in range(5)) + "\nx\nlast"
    assert stack_text(stack, limits) == "first\nCaused by:\nCaused by:\n...\nx\nlast"
    assert stack_text("y" * 100, limits) == "y" * 10 + "\n...\n" + "y" * 10
    for name in ("stack_end_chars_max", "causes_max"):
        with pytest.raises(ValueError, match=name):
            OtlpLimits(**{name: 0})  # type: ignore[arg-type]


@given(st.text(alphabet="ab\n", max_size=200), st.integers(1, 40), st.integers(0, 6))
def test_what_is_kept_is_bounded_and_from_the_trace(base: str, end_chars: int, causes: int) -> None:
    limits = OtlpLimits(stack_end_chars_max=end_chars, causes_max=4)
    stack = base + "\nCaused by: z\n" * causes + base
    kept = stack_text(stack, limits)
    if len(stack) <= 2 * end_chars:
        assert kept == stack
        return
    assert len(kept) <= 2 * end_chars + 4 * (end_chars + 1) + len("\n...\n")
    assert all(line == "..." or line in stack for line in kept.split("\n"))


# ---- a new one among usual ones ---------------------------------------------------------------------------------------

USUAL = [
    ("java.net.SocketTimeoutException", "Read timed out", "shop.CartClient.get(CartClient.java:88)"),
    ("org.orm.DuplicateKeyException", "duplicate key value violates cart_pkey", "shop.CartRepo.insert(CartRepo.java:44)"),
]
NEW_TYPE = ("java.lang.IllegalStateException", "Connection pool shut down", "shop.PoolManager.lease(PoolManager.java:203)")
NEW_PLACE = (*USUAL[0][:2], "shop.InventoryGateway.reserve(InventoryGateway.java:512)")
NEW_CAUSE = (*USUAL[0], 60, "io.net.TooLongFrameException: frame length exceeds 1048576")
OPERATIONS = [(2, "GET /cart/{id}", 30), (3, "SELECT items", 30), (3, "redis GET", 20), (2, "POST /order", 10), (1, "price", 5)]


def attributes_of(kind: int, name: str, rng: random.Random) -> dict[str, object]:
    told: dict[str, object] = {"thread.id": rng.randrange(64)}
    if kind == 2:
        method, route = name.split()
        told |= {"http.request.method": method, "http.route": route, "url.path": f"/cart/{rng.randrange(10**6)}"}
        told |= {"client.address": f"10.0.{rng.randrange(256)}.{rng.randrange(256)}", "server.address": "shop.example"}
    elif kind == 3:
        told |= {
            "db.system": name.split()[0],
            "db.query.text": f"{name} LIMIT {rng.choice([10, 20, 50])}",
            "server.address": "db-1",
        }
    return told


def traffic(count: int, seed: int, start: int, new: tuple[str, ...] = ()) -> Iterable[Span]:
    """A service in which one span in fifty throws what it always throws; `new` comes once, in the middle."""
    rng = random.Random(seed)
    for number in range(count):
        [(kind, name, _)] = rng.choices(OPERATIONS, [weight for *_, weight in OPERATIONS])
        time_ns = T0 + (start + number) * 20_000_000
        span = Span(trace_id=rng.randbytes(16), span_id=rng.randbytes(8), name=name, start_time_unix_nano=time_ns)
        span.kind = kind  # type: ignore[assignment]
        span.attributes.extend(pairs(attributes_of(kind, name, rng)))
        thrown = rng.choice(USUAL) if rng.random() < 0.02 else ()
        if thrown := new if new and number == count // 2 else thrown:
            span.status.code = Status.STATUS_CODE_ERROR
            span.events.append(event(thrown[0], thrown[1], java(*thrown)))  # type: ignore[arg-type]
        yield span


def findings(*parts: Iterable[Span]) -> list[Finding]:
    """What is found in the last part."""
    run = Offline(PROFILES["balanced"], seed=1, limits=Limits())
    found: list[Finding] = []
    for part in parts:
        body = spans(*part).SerializeToString()
        stream = decode(body, Signal.TRACES, LIMITS, ResourceRouter(), NoRedaction()).batches[0]
        found = [finding for _, finding in run.take(stream.key, stream.batch)]
    return found


@pytest.mark.parametrize(
    ("new", "named"),
    [
        (NEW_TYPE, "IllegalStateException: Connection pool"),
        (NEW_PLACE, "InventoryGateway"),
        (NEW_CAUSE, "TooLongFrameException"),
    ],
)
def test_one_new_exception_in_two_thousand_spans_is_found_and_named(new: tuple[str, ...], named: str) -> None:
    found = findings(traffic(6000, 1, 0), traffic(2000, 2, 6000, new))
    assert found
    for finding in found:
        assert finding.first_event <= 7000 <= finding.last_event
        assert named in finding.lines[0].text
        assert len(finding.lines[0].trace_id) == 32


def test_usual_exceptions_are_not_news() -> None:
    assert findings(traffic(6000, 1, 0), traffic(2000, 2, 6000)) == []
