"""What is told when the way to the database is lost and found: once for all lanes in the log, for each in the metrics."""

import structlog
from structlog.testing import LogCapture

from driftlock.storage.breaker import State
from driftlock.storage.lanes import Lane
from server.outage import OutageReport
from server.telemetry import Telemetry

OUTAGE = [(lane, State.OPEN) for lane in Lane]
PROBES = [(lane, state) for _ in range(50) for lane in Lane for state in (State.HALF_OPEN, State.OPEN)]
RETURN = [(lane, State.CLOSED) for lane in Lane]


def sample(telemetry: Telemetry, name: str, lane: Lane, **labels: str) -> float | None:
    return telemetry.registry.get_sample_value(f"driftlock_{name}", {"lane": lane.value, **labels})


def test_an_outage_has_two_lines_and_counts_once_a_lane() -> None:
    telemetry, said = Telemetry(version="1", codec="c", codec_version="1"), LogCapture()
    log = structlog.wrap_logger(None, processors=[said], wrapper_class=structlog.make_filtering_bound_logger(0))
    report = OutageReport(telemetry, log)
    assert [sample(telemetry, "database_up", lane) for lane in Lane] == [1.0] * len(Lane)
    for lane, state in [*OUTAGE, *PROBES]:
        report(lane, state)
    assert [sample(telemetry, "database_up", lane) for lane in Lane] == [0.0] * len(Lane)
    assert [line["event"] for line in said.entries] == [
        "the database is away: records are refused, retryably, until it answers"
    ]
    for lane, state in RETURN:
        report(lane, state)
    assert [line["event"] for line in said.entries][1:] == ["the database answers again"]
    assert [sample(telemetry, "database_up", lane) for lane in Lane] == [1.0] * len(Lane)
    for lane in Lane:
        assert [sample(telemetry, "database_transitions_total", lane, state=state) for state in ("open", "closed")] == [
            1.0,
            1.0,
        ]
