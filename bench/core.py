"""`make bench-core`: events/s of the detection core by codec and stage on one core, beside Drain3 in the same run, and state.

Logs of about 120 bytes (public HDFS lines), hop 10, batches of 1,000. Stages are timed inside the same pass: `tokenize` is
masking with its slots; `score` is the window kernel: code lengths, the pool of distinct lines, dictionaries of compressors, all
questions about the window, ranks. `fold` is the detector as the server runs
it, findings with their explanations and permutation tests included. Best of `ROUNDS`, because other work only ever adds.
"""

import time
from array import array
from collections.abc import Callable, Iterator, Sequence

from drain3 import TemplateMiner
from drain3.template_miner_config import TemplateMinerConfig

from bench.data import loaders
from bench.report import report
from cbad_cy.codec import CODECS, Codec
from cbad_cy.tokenize import mask_with_slots
from driftlock.engine.detector import Detector
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.fresh import new_slide
from driftlock.engine.limits import Limits
from driftlock.engine.profile import PROFILES, custom
from driftlock.engine.state import stream_state, unpack
from driftlock.v1 import state_pb2
from tests.engine.streams import FAR_NS, bursty, iid, take

EVENTS = 100_000
DRAIN_EVENTS = 30_000
BATCH_EVENTS = 1000
ROUNDS = 3
LINE_BYTES_MAX = Limits().event_bytes_max
BALANCED = PROFILES["balanced"]
KEY = StreamKey(Signal.LOGS, "bench")

Columns = tuple[bytes, "array[int]"]
Masked = tuple[bytes, "array[int]", "array[int]", "array[int]"]


def columns(lines: Sequence[bytes]) -> list[Columns]:
    """Batches as the journal holds them: text and lengths."""
    parts = [lines[start : start + BATCH_EVENTS] for start in range(0, len(lines), BATCH_EVENTS)]
    return [(b"".join(part), array("I", map(len, part))) for part in parts]


def best_s(work: Callable[[], float]) -> float:
    """Seconds of the best of several rounds; `work` returns its own seconds."""
    return min(work() for _ in range(ROUNDS))


def tokenize_s(batches: Sequence[Columns]) -> float:
    """Seconds of masking."""
    begin = time.perf_counter()
    for text, lengths in batches:
        mask_with_slots(text, lengths, line_bytes_max=LINE_BYTES_MAX)
    return time.perf_counter() - begin


def slide_s(masked: Sequence[Masked], codec: Codec) -> float:
    """Seconds of windows, compression and decisions; flagged windows are not looked at."""
    slide = new_slide(custom(BALANCED, {"codec": codec.name}), Limits())
    begin = time.perf_counter()
    for columns_of_batch in masked:
        slide.feed(*columns_of_batch)
        while slide.advance(codec, distance_threshold=BALANCED.ncd_threshold, p_value_threshold=BALANCED.p_value_threshold):
            pass
    return time.perf_counter() - begin


def fold_s(batches: Sequence[Columns], codec: str) -> tuple[float, Detector, int]:
    """Seconds of the whole fold, the detector after it, and how many findings there were."""
    records = [
        RecordBatch(text, lengths, array("Q", range(10**18 + number * 10**12, 10**18 + number * 10**12 + len(lengths))))
        for number, (text, lengths) in enumerate(batches)
    ]
    profile, contexts = custom(BALANCED, {"codec": codec}), Codec(codec)
    detector, findings = Detector(KEY, profile, 0, Limits()), 0
    begin = time.perf_counter()
    for batch in records:
        findings += len(detector.fold(batch, FAR_NS, contexts))
    return time.perf_counter() - begin, detector, findings


def drain_s(lines: Sequence[bytes]) -> float:
    """Seconds an event of Drain3 with its default settings, as its users run it."""
    miner = TemplateMiner(config=TemplateMinerConfig())
    texts = [line.decode() for line in lines[:DRAIN_EVENTS]]
    begin = time.perf_counter()
    for text in texts:
        miner.add_log_message(text)
    return (time.perf_counter() - begin) / len(texts)


def throughput(lines: Sequence[bytes]) -> list[dict[str, object]]:
    """One row a codec; microseconds an event, events/s, and ratios to Drain3."""
    batches = columns(lines)
    drain = best_s(lambda: drain_s(lines))
    tokenize = best_s(lambda: tokenize_s(batches)) / len(lines)
    masked = [mask_with_slots(text, lengths, line_bytes_max=LINE_BYTES_MAX) for text, lengths in batches]
    rows: list[dict[str, object]] = []
    for name in CODECS:
        codec = Codec(name)
        _, _, findings = fold_s(batches, name)
        slide = best_s(lambda codec=codec: slide_s(masked, codec)) / len(lines)  # type: ignore[misc]
        fold = best_s(lambda name=name: fold_s(batches, name)[0]) / len(lines)  # type: ignore[misc]
        rows.append(
            {
                "codec": f"{name}-{codec.level}",
                "tokenize us": 1e6 * tokenize,
                "score us": 1e6 * slide,
                "tokenize + score /s": 1 / (tokenize + slide),
                "x Drain3": drain / (tokenize + slide),
                "fold /s": 1 / fold,
                "findings": findings,
                "Drain3 /s": 1 / drain,
            }
        )
    return rows


def state_rows(hdfs: Sequence[bytes]) -> Iterator[dict[str, object]]:
    """Bytes of one stream's checkpoint after 20,000 events, as stored and unpacked."""
    words = [b"%x" % (number * 2654435761 % 2**32) for number in range(4096)]
    noise = [b" ".join(words[(31 * line + 7 * word * word) % 4096] for word in range(60)) for line in range(20_000)]
    streams = {
        "HDFS": hdfs[:20_000],
        "independent lines": take(iid(1), 20_000),
        "bursty lines": take(bursty(1), 20_000),
        "noise of 540 bytes a line": noise,
    }
    for stream, lines in streams.items():
        for name in CODECS:
            _, detector, _ = fold_s(columns(lines), name)
            stored = stream_state(detector, Codec(name))
            size = unpack(state_pb2.StreamState(), stored).ByteSize()
            yield {"stream": stream, "codec": name, "stored bytes": len(stored), "unpacked bytes": size, "limit": 128 * 1024}


def main() -> None:
    """Run and report."""
    hdfs = [text.encode() for _, text, _, _ in loaders().hdfs_lines()][:EVENTS]
    report("core", f"detection core, one core, {sum(map(len, hdfs)) / len(hdfs):.0f} bytes a line, hop 10", throughput(hdfs))
    report("core-state", "state of one stream after 20,000 events", list(state_rows(hdfs)))


if __name__ == "__main__":
    main()
