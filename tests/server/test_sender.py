import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse

from server.logfile.reader import Line
from server.replay.sender import BATCH_BYTES_MAX, EXPORT, Batch, ReplayError, Sender, any_value, batches

OK = ExportLogsServiceResponse().SerializeToString()


class ScriptedServer:
    """A real gRPC server whose answers are written in advance: bytes, or a status with an optional retry hint in ms."""

    def __init__(self) -> None:
        self.script: list[bytes | tuple[grpc.StatusCode, int | None]] = []
        self.seen: list[bytes] = []
        self.keys: list[str] = []
        self.lock = threading.Lock()
        self.server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
        service, method = EXPORT[1:].split("/")
        handler = grpc.unary_unary_rpc_method_handler(self._export)
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def _export(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        with self.lock:
            self.seen.append(request)
            self.keys.extend(str(item.value) for item in context.invocation_metadata() if item.key == "x-api-key")
            answer = self.script.pop(0) if self.script else OK
        if isinstance(answer, bytes):
            return answer
        code, retry_ms = answer
        if retry_ms is not None:
            info = error_details_pb2.RetryInfo()
            info.retry_delay.FromMilliseconds(retry_ms)
            details = Any()
            details.Pack(info)
            status = status_pb2.Status(code=code.value[0], details=[details])
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(code, f"scripted {code.name}")
        raise AssertionError


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    yield scripted
    scripted.server.stop(None).wait()


class Clock:
    """A clock that only sleeping advances."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


def lines(count: int, text: str = "same line") -> list[Line]:
    return [Line(index, 5, text, {}) for index in range(count)]


@pytest.fixture
def make(request: pytest.FixtureRequest) -> Callable[..., tuple[Sender, Clock]]:
    def build(port: int, **options: object) -> tuple[Sender, Clock]:
        clock = Clock()
        arguments: dict[str, object] = {
            "clock_s": lambda: clock.now_s,
            "sleep_s": clock.sleep,
            "retry_for_s": 60.0,
            "notice": lambda _why: None,
            **options,
        }
        sender = Sender(f"127.0.0.1:{port}", "dl_key", **arguments)  # type: ignore[arg-type]
        request.addfinalizer(sender.close)
        return sender, clock

    return build


Make = Callable[..., tuple[Sender, Clock]]


def send(sender: Sender, count: int = 25, size: int = 10) -> int:
    done = 0

    def advance(records: int) -> None:
        nonlocal done
        done += records

    sender.send(batches(lines(count), {"service.name": "x"}, records_max=size, observed_ns=7), advance)
    return done


def test_lines_arrive_once_and_in_order_with_the_key(server: ScriptedServer, make: Make) -> None:
    sender, _ = make(server.port)
    assert send(sender) == sender.counts.accepted == 25
    requests = [ExportLogsServiceRequest.FromString(data) for data in server.seen]
    observed = [
        record.observed_time_unix_nano for request in requests for record in request.resource_logs[0].scope_logs[0].log_records
    ]
    assert observed == list(range(7, 32))
    assert server.keys == ["dl_key"] * 3
    assert requests[0].resource_logs[0].resource.attributes[0].value.string_value == "x"


@pytest.mark.parametrize(
    "answer",
    [
        (grpc.StatusCode.UNAVAILABLE, None),
        (grpc.StatusCode.ABORTED, None),
        (grpc.StatusCode.DATA_LOSS, None),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 40),
    ],
)
def test_a_retryable_answer_is_followed_by_identical_bytes(
    server: ScriptedServer, make: Make, answer: tuple[grpc.StatusCode, int | None]
) -> None:
    server.script = [OK, answer, answer]
    sender, _ = make(server.port)
    assert send(sender) == 25
    first, second, again, once_more, third = server.seen
    assert second == again == once_more
    assert len({first, second, third}) == 3
    assert sender.counts.retries == 2


def test_the_servers_retry_hint_wins_over_our_backoff(server: ScriptedServer, make: Make) -> None:
    server.script = [(grpc.StatusCode.UNAVAILABLE, 1234), (grpc.StatusCode.UNAVAILABLE, None)]
    sender, clock = make(server.port)
    send(sender, 1)
    assert clock.slept[0] == 1.234
    assert clock.slept[1] < 1


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNIMPLEMENTED,
    ],
)
def test_a_permanent_answer_ends_the_replay(server: ScriptedServer, make: Make, code: grpc.StatusCode) -> None:
    server.script = [OK, (code, None)]
    sender, _ = make(server.port)
    with pytest.raises(ReplayError, match=f"refused a batch for good after 10 records: scripted {code.name}"):
        send(sender)
    assert len(server.seen) == 2


def test_rejected_records_are_counted_with_their_reason(server: ScriptedServer, make: Make) -> None:
    answer = ExportLogsServiceResponse()
    answer.partial_success.rejected_log_records = 3
    answer.partial_success.error_message = "too deep"
    server.script = [answer.SerializeToString()]
    sender, _ = make(server.port)
    send(sender)
    assert (sender.counts.accepted, sender.counts.rejected, sender.counts.reasons) == (22, 3, {"too deep": 3})


def test_a_reason_to_wait_is_told_once(server: ScriptedServer, make: Make) -> None:
    server.script = [(grpc.StatusCode.UNAVAILABLE, 10)] * 3 + [(grpc.StatusCode.ABORTED, None)]
    told: list[str] = []
    sender, _ = make(server.port, notice=told.append)
    send(sender, 1)
    assert told == ["unavailable: scripted UNAVAILABLE", "aborted: scripted ABORTED"]


def test_gives_up_after_its_time(server: ScriptedServer, make: Make) -> None:
    server.script = [(grpc.StatusCode.UNAVAILABLE, 10_000)] * 100
    sender, clock = make(server.port, retry_for_s=60.0)
    with pytest.raises(ReplayError, match="no success for 70 s after 0 records"):
        send(sender)
    assert clock.now_s == 70


def test_a_server_that_never_answered_is_reported_soon(make: Make) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        sender, clock = make(taken.getsockname()[1], connect_for_s=1.0)
        with pytest.raises(ReplayError, match=r"nothing answers at 127\.0\.0\.1:.*driftlock serve"):
            send(sender)
    assert clock.now_s < 3


def test_batches_are_bounded_in_bytes(server: ScriptedServer) -> None:
    made: list[Batch] = list(batches(lines(100, "x" * 60_000), {}, records_max=1000, observed_ns=1))
    assert sum(batch.records for batch in made) == 100
    assert max(len(batch.data) for batch in made) < BATCH_BYTES_MAX + 70_000


def test_json_values_become_any_values() -> None:
    value = {"a": [1, 2.5, True, None, "x"], "big": 2**63, "half": "\ud83d"}
    made = any_value(value).kvlist_value.values
    assert [item.WhichOneof("value") for item in made[0].value.array_value.values] == [
        "int_value",
        "double_value",
        "bool_value",
        None,
        "string_value",
    ]
    assert made[1].value.string_value == str(2**63)
    assert made[2].value.string_value == "\ufffd"
