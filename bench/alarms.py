"""`make bench-alarms`: share of windows alarmed on normal streams after 5,000 events, and incidents, by profile.

A bound of the true share needs independent windows; windows of one stream are not, so the number of incidents stands beside.
"""

from array import array
from collections.abc import Iterator, Sequence

from bench.data import loaders
from bench.report import report
from cbad_cy.codec import Codec
from driftlock.engine.detector import Detector
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.limits import Limits
from driftlock.engine.profile import DEFAULT_CODEC, PROFILES, Profile
from driftlock.engine.verdict import Finding
from tests.engine.streams import FAR_NS, bursty, iid, take

SETTLED_EVENTS = 5000
BATCH_EVENTS = 1000
EVENTS = 50_000


def fold(lines: Sequence[bytes], profile: Profile) -> tuple[Detector, list[Finding]]:
    """A fresh stream over all lines, one second apart."""
    detector, codec, findings = (
        Detector(StreamKey(Signal.LOGS, "bench"), profile, 0, Limits()),
        Codec(DEFAULT_CODEC),
        [],
    )
    for start in range(0, len(lines), BATCH_EVENTS):
        part = lines[start : start + BATCH_EVENTS]
        times = array("Q", ((1_700_000_000 + start + number) * 10**9 for number in range(len(part))))
        findings += detector.fold(RecordBatch(b"".join(part), array("I", map(len, part)), times), FAR_NS, codec)
    return detector, findings


def incidents(windows: Sequence[int], gap: int) -> int:
    """Runs of windows that are at most `gap` apart."""
    return sum(number == 0 or window - windows[number - 1] > gap for number, window in enumerate(windows))


def row(name: str, lines: Sequence[bytes], profile: Profile) -> dict[str, object]:
    """One line of the table."""
    limits = Limits()
    detector, findings = fold(lines, profile)
    first = max(0, SETTLED_EVENTS - profile.baseline_size - profile.window_size) // profile.hop_size
    flagged = [finding.window for finding in findings if finding.window >= first]
    evaluated = detector.windows - first
    return {
        "stream": name,
        "profile": profile.name,
        "windows": evaluated,
        "nominal": profile.p_value_threshold,
        "alarmed": len(flagged) / evaluated,
        "incidents per 1000 windows": 1000 * incidents(flagged, limits.incident_gap_windows) / evaluated,
    }


def streams() -> Iterator[tuple[str, list[bytes]]]:
    """Normal streams: real ones without their anomalous blocks, and synthetic ones."""
    yield "HDFS, normal blocks", [text.encode() for _, text, label, _ in loaders().hdfs_lines() if not label]
    for seed in range(3):
        yield f"independent lines, seed {seed}", take(iid(seed), EVENTS)
        yield f"bursty lines, seed {seed}", take(bursty(seed), EVENTS)


def main() -> None:
    """Run and report."""
    rows = [row(name, lines, profile) for name, lines in streams() for profile in PROFILES.values()]
    report("alarms", "share of windows alarmed on normal streams, after 5,000 events", rows)


if __name__ == "__main__":
    main()
