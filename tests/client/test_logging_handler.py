"""The logging handler: what records become, and that a program never feels it."""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from driftlock_client import Client, DriftlockHandler, OutboxLimits, Retry
from driftlock_client.logging_handler import TEXT_CHARS_MAX
from driftlock_client.outbox import Event, Outbox
from tests.api.fakes import FakeHouse, key
from tests.client.conftest import URL, LoopThread, Waits

Make = Callable[..., tuple[logging.Logger, DriftlockHandler]]
HASTY = OutboxLimits(interval_s=0.01)
ROOT = Path(__file__).parent.parent.parent


class Sink(httpx.BaseTransport):
    """The application over fakes, that notes what it is sent. It answers when `gate` is set, or with `status` by itself."""

    def __init__(self, app: Callable[..., object]) -> None:
        self._inner, self.status = LoopThread(app), 200
        self.bodies: list[dict[str, Any]] = []
        self.told: list[str] = []
        self.gate, self.arrived = threading.Event(), threading.Event()
        self.gate.set()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(json.loads(request.content))
        self.arrived.set()
        self.gate.wait(10)
        if self.status != 200:
            return httpx.Response(self.status, json={"code": "unavailable", "detail": "no"})
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for body in self.bodies for event in body["events"]]


@pytest.fixture
def sink(app: Callable[..., object]) -> Iterator[Sink]:
    made = Sink(app)
    yield made
    made.gate.set()
    made.close()


@pytest.fixture
def make(sink: Sink) -> Iterator[Make]:
    made: list[DriftlockHandler] = []

    def client() -> Client:
        return Client(URL, key("good"), transport=sink, sleep=Waits(), retry=Retry(attempts_max=2))

    def handler_of(**options: Any) -> tuple[logging.Logger, DriftlockHandler]:
        given: dict[str, Any] = {
            "stream_id": "shop",
            "limits": HASTY,
            "make_client": client,
            "tell": sink.told.append,
        } | options
        handler = DriftlockHandler(**given)
        logger = logging.Logger("shop.till", logging.DEBUG)
        logger.addHandler(handler)
        made.append(handler)
        return logger, handler

    yield handler_of
    sink.gate.set()
    for handler in made:
        handler.close()


def test_records_become_events(make: Make, sink: Sink, house: FakeHouse) -> None:
    logger, handler = make()
    logger.info("order %d paid", 7, extra={"customer": "c1", "cart": {"items": [1, 2.5, None]}, "time": "tea", "_x": 1})
    handler.flush()
    [event] = sink.events
    assert abs(event.pop("time") - time.time()) < 60
    assert event == {
        "text": "order 7 paid",
        "level": "INFO",
        "logger": "shop.till",
        "customer": "c1",
        "cart": {"items": [1, 2.5, None]},
        "extra.time": "tea",
    }
    [line] = house.submissions[0].batches[0].batch.lines()
    assert line.startswith(b"order 7 paid")
    assert b"customer=c1" in line
    assert (house.submissions[0].batches[0].key.service, handler.dropped, sink.told) == ("shop", 0, [])


def test_an_exception_and_a_formatter(make: Make, sink: Sink) -> None:
    logger, handler = make()
    try:
        raise KeyError("purse")
    except KeyError:
        logger.exception("no purse")
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logger.warning("low")
    handler.flush()
    first, second = sink.events
    assert (first["exception.type"], first["exception.message"]) == ("KeyError", "'purse'")
    assert first["exception.stacktrace"].endswith("KeyError: 'purse'")
    assert second["text"] == "WARNING: low"


def test_what_json_has_not_is_a_text(make: Make, sink: Sink) -> None:
    logger, handler = make()
    deep: list[Any] = []
    deep.append(deep)
    odd = {"nan": float("nan"), "big": 1 << 80, "bytes": b"x", "set": {1}, "deep": deep, "none": None, "flag": True}
    logger.info("x" * 100_000, extra=odd)
    logger.info("sur\ud800rogate")
    handler.flush()
    first, second = sink.events
    assert (len(first["text"]), first["nan"], first["big"], first["bytes"]) == (TEXT_CHARS_MAX, "nan", str(1 << 80), "b'x'")
    assert (first["set"], first["none"], first["flag"]) == ([1], None, True)
    assert json.dumps(first["deep"]).count("[") < 20
    assert second["text"] == "sur\ufffdrogate"
    assert handler.dropped == 0


def test_a_full_queue_drops_and_says_so_once(make: Make, sink: Sink) -> None:
    logger, handler = make(limits=OutboxLimits(queue_records_max=5, batch_records_max=2, interval_s=0.01))
    sink.gate.clear()
    logger.info("first")
    assert sink.arrived.wait(10)  # the sender waits for its answer from now on
    for number in range(20):
        logger.info("number %d", number)
    assert handler.dropped == 15
    sink.gate.set()
    handler.flush()
    assert [event["text"] for event in sink.events] == ["first", *(f"number {n}" for n in range(5))]
    assert [len(body["events"]) for body in sink.bodies] == [1, 2, 2, 1]
    [told] = sink.told
    assert "queue is full" in told


def test_the_queue_has_a_limit_in_bytes(make: Make, sink: Sink) -> None:
    logger, handler = make(limits=OutboxLimits(queue_bytes_max=5_000, batch_bytes_max=1_000, interval_s=0.01))
    sink.gate.clear()
    logger.info("first")
    assert sink.arrived.wait(10)
    for _ in range(20):
        logger.info("x" * 900)
    assert 14 <= handler.dropped <= 16
    sink.gate.set()
    handler.flush()
    assert {len(body["events"]) for body in sink.bodies} == {1}


def test_a_server_that_refuses_costs_records_and_nothing_else(make: Make, sink: Sink) -> None:
    logger, handler = make()
    sink.status = 503
    for _ in range(3):
        logger.info("lost")
    handler.flush()
    assert handler.dropped == 3
    assert len(sink.told) == 1
    assert "503 unavailable" in sink.told[0]
    sink.status = 200
    logger.info("found")
    handler.flush()
    assert (sink.events[-1]["text"], handler.dropped, len(sink.told)) == ("found", 3, 1)


class Fragile:
    def __str__(self) -> str:
        raise RuntimeError("not now")


def test_logging_never_raises(make: Make, sink: Sink) -> None:
    def broken(text: str) -> None:
        raise OSError(text)

    logger, handler = make(tell=broken)
    logger.info("%d apples", "many")
    logger.info("%s", Fragile())
    logger.info("fine", extra={"bad": Fragile()})
    assert handler.dropped == 3
    handler.close()
    logger.info("too late")
    assert (handler.dropped, sink.events) == (4, [])


def test_what_sending_logs_is_not_sent(make: Make, sink: Sink) -> None:
    _, handler = make()
    loud = logging.getLogger("httpx")
    before = loud.level
    loud.setLevel(logging.DEBUG)
    loud.addHandler(handler)
    try:
        loud.info("by the program")
        handler.flush()
        for _ in range(3):
            handler.acquire()  # as logging.shutdown() does
            handler.flush()
            handler.release()
    finally:
        loud.removeHandler(handler)
        loud.setLevel(before)
    assert [event["text"] for event in sink.events] == ["by the program"]


def test_filters_and_levels_hold(make: Make, sink: Sink) -> None:
    logger, handler = make(level="WARNING")
    handler.addFilter(lambda record: "secret" not in record.getMessage())
    logger.info("quiet")
    logger.error("secret")
    logger.error("loud")
    handler.flush()
    assert [event["text"] for event in sink.events] == ["loud"]


def test_closing_waits_a_while_and_counts_the_rest(make: Make, sink: Sink) -> None:
    logger, handler = make(close_s=0.05)
    sink.gate.clear()
    logger.info("one")
    assert sink.arrived.wait(10)
    logger.info("two")
    handler.close()
    handler.close()
    assert handler.dropped == 2
    assert "closed" in sink.told[0]


def test_flush_does_not_wait_for_what_comes_later() -> None:
    outbox: list[Outbox] = []
    sent: list[int] = []

    def send(events: Sequence[Event]) -> None:
        sent.append(len(events))
        if len(sent) < 50:
            assert outbox[0].put({"text": "again"}, 1)

    outbox.append(Outbox(send, lambda _count, _why: None, OutboxLimits(interval_s=0), "test"))
    assert outbox[0].flush(1)
    outbox[0].put({"text": "one"}, 1)
    assert outbox[0].flush(10)
    assert outbox[0].close(10) == 0
    assert not outbox[0].put({"text": "late"}, 1)


def test_records_of_many_threads_arrive_once_and_in_the_order_of_each(make: Make, sink: Sink) -> None:
    logger, handler = make(limits=OutboxLimits(batch_records_max=7, interval_s=0))

    def work(name: int) -> None:
        for number in range(50):
            logger.info("%d %d", name, number)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    handler.close()
    texts = [tuple(map(int, event["text"].split())) for event in sink.events]
    assert len(texts) == 200
    assert handler.dropped == 0
    for name in range(4):
        assert [number for who, number in texts if who == name] == list(range(50))


PROGRAM = """
import logging, os, sys
from driftlock_client import DriftlockHandler
handler = DriftlockHandler("shop", close_s=2)
logging.basicConfig(level=logging.DEBUG, handlers=[handler])
logging.info("from the parent")
if os.fork() == 0:
    logging.info("from the child")
    sys.exit(0)
os.wait()
sys.exit(3)
"""


def test_the_end_of_a_program_sends_what_is_left_and_a_fork_sends_its_own() -> None:
    texts: list[tuple[int, str]] = []

    class Server(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            texts.extend((self.client_address[1], event["text"]) for event in body["events"])
            self.send_response(404)  # an answer costs the batch, and ends the attempts
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, args=(0.02,)).start()
    try:
        variables = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "client/src"),
            "DRIFTLOCK_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "NO_PROXY": "*",
        }
        done = subprocess.run([sys.executable, "-c", PROGRAM], env=variables, capture_output=True, text=True, timeout=30)
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 3, done.stderr
    ours = [(port, text) for port, text in texts if text.startswith("from the")]
    assert sorted(text for _, text in ours) == ["from the child", "from the parent"]
    assert len({port for port, _ in ours}) == 2
    assert done.stderr.count("log records are dropped") == 2  # once a process
