"""Decoding alone: one thread, in this process, from the bytes of a request to the batches of its streams."""

import time

from bench.ingest.requests import SHAPES, templates
from collector.otlp.decode import Decoder
from collector.otlp.limits import OtlpLimits
from collector.redact import NoRedaction
from collector.routing import ResourceRouter
from driftlock.engine.event import Signal

SIGNALS = {"logs": Signal.LOGS, "plain logs": Signal.LOGS, "points": Signal.METRICS, "spans": Signal.TRACES}
ROUNDS = 5


def rows(*, quick: bool) -> list[dict[str, object]]:
    """Microseconds a record by shape and size of the request, best of several rounds: other work only ever adds."""
    found: list[dict[str, object]] = []
    decoder = Decoder(OtlpLimits(), ResourceRouter(), NoRedaction())
    for shape in SHAPES:
        for records in (1, 100, 1000):
            made = [each.stamped((number % 50,), time.time_ns()) for number, each in enumerate(templates(shape, records))]
            repeats = max(1, (20_000 if quick else 200_000) // (records * len(made)))
            best = float("inf")
            for _ in range(ROUNDS):
                began = time.perf_counter()
                for _ in range(repeats):
                    for request in made:
                        decoder.decode(request, SIGNALS[shape])
                best = min(best, (time.perf_counter() - began) / (repeats * len(made) * records))
            size = sum(map(len, made)) / len(made) / records
            found.append(
                {
                    "shape": shape,
                    "records": records,
                    "bytes a record": size,
                    "us a record": 1e6 * best,
                    "MB/s": size / best / 1e6,
                }
            )
    return found
