"""The shop's stock: a Python service that continues the traces of its callers, spans sent over OTLP/gRPC.

Where and who is in the SDK's own OTEL_* variables. Says the port that it listens on in its first line, and ends, with all
spans sent, when its standard input ends.
"""

import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

tracer = trace.get_tracer("stock")


def work_s(item: int) -> float:
    """Seconds that a service of the shop takes over an item by itself, 0.02 to 0.06."""
    return (20 + item * 13 % 41) / 1000


class Stock(BaseHTTPRequestHandler):
    """Answers 204 to everything, within a server span of the trace that its caller's headers name."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        attributes = {"http.request.method": "GET", "http.route": "/stock/{sku}", "url.path": self.path}
        parent = propagate.extract(self.headers)
        with tracer.start_as_current_span("GET /stock/{sku}", parent, trace.SpanKind.SERVER, attributes) as span:
            item = int(self.path.rpartition("/")[2])
            time.sleep(work_s(item))
            with tracer.start_as_current_span("count shelf"):
                time.sleep(work_s(item))
            span.set_attribute("http.response.status_code", 204)
            self.send_response(204)
            self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing: its spans do."""


def main() -> None:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stock)
    server.daemon_threads = True  # kept-alive connections of callers do not hold it up
    threading.Thread(target=server.serve_forever).start()
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.shutdown()
    provider.shutdown()


if __name__ == "__main__":
    main()
