"""One replay from beginning to end: read, send, wait until everything is scored, collect the findings."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

from driftlock.engine.limits import Limits
from server.client import RestClient
from server.logfile.reader import LogFile
from server.replay.sender import ReplayError, Sender, batches
from server.report.episodes import Episode, StreamReport, told_of_json

POLL_S = 0.2
STREAM_WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What the user chose. `observed_ns` is when the replay began; `show_max` bounds the incidents shown."""

    historical: bool
    batch_records: int
    observed_ns: int
    show_max: int
    score_for_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """A stream after the replay, and what was found in the replayed lines.

    `findings` are all of them as listed, oldest first. `status` is the stream's calibration in words.
    """

    report: StreamReport
    findings: list[dict[str, Any]]
    status: str
    events_needed: int


def grouped(findings: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Findings, oldest window first, in the groups that the server makes incidents of."""
    groups: list[list[dict[str, Any]]] = []
    for finding in findings:
        if groups and finding["window"] - groups[-1][-1]["window"] <= Limits().incident_gap_windows:
            groups[-1].append(finding)
        else:
            groups.append([finding])
    return groups


def _strangeness(finding: dict[str, Any]) -> tuple[float, float, float, int]:
    return -finding["surprise"], finding["p_value"], -finding["ncd"], finding["window"]


class Replay:
    """Replays files into one server. `clock_s` and `sleep_s` are the monotonic clock and its sleep."""

    def __init__(
        self,
        sender: Sender,
        rest: RestClient,
        options: ReplayOptions,
        *,
        clock_s: Callable[[], float],
        sleep_s: Callable[[float], None],
    ) -> None:
        self._sender, self._rest, self._options = sender, rest, options
        self._clock_s, self._sleep_s = clock_s, sleep_s

    def send(self, file: LogFile, service: str, advance: Callable[[int], None]) -> None:
        """Send one file; `advance` is told the acknowledged records. Raises `ReplayError` and `LogFileError`."""
        resource: dict[str, object] = {"service.name": service}
        if self._options.historical:
            resource["driftlock.historical"] = True
        requests = batches(
            chain.from_iterable(file.portions()),
            resource,
            records_max=self._options.batch_records,
            observed_ns=self._options.observed_ns,
        )
        self._sender.send(requests, advance)

    def events_before(self, service: str) -> int:
        """How many events the service's stream has already, so that only new findings are shown."""
        stream = self._rest.find_stream(service)
        return 0 if stream is None else int(stream["events"]) + int(stream["pending"])

    def wait_scored(self, service: str, progress: Callable[[int], None]) -> str:
        """Wait until nothing of the service's stream is pending; returns the stream's id. Raises `ReplayError`."""
        began_s = moved_s = self._clock_s()
        last_pending = -1
        while True:
            stream = self._rest.find_stream(service)
            now_s = self._clock_s()
            if stream is None and now_s - began_s > STREAM_WAIT_S:
                raise ReplayError(f"the server lists no stream of service {service!r}; see GET /v1/streams")
            if stream is not None:
                pending = int(stream["pending"])
                if pending == 0:
                    return str(stream["id"])
                if pending != last_pending:
                    last_pending, moved_s = pending, now_s
                    progress(pending)
                if now_s - moved_s > self._options.score_for_s:
                    raise ReplayError(f"the server has stopped scoring with {pending} events pending; see its log")
            self._sleep_s(POLL_S)

    def outcome(self, stream_id: str, first_event: int) -> Outcome:
        """What was found in the stream's events from `first_event` on."""
        stream = self._rest.stream(stream_id)
        found = [finding for finding in self._rest.anomalies(stream_id) if finding["last_event"] >= first_event]
        found.sort(key=lambda finding: int(finding["window"]))
        groups = grouped(found)
        shown = sorted(groups, key=lambda group: min(map(_strangeness, group)))[: self._options.show_max]
        shown.sort(key=lambda group: int(group[0]["window"]))
        return Outcome(
            report=StreamReport(str(stream["slug"]), [self._episode(group) for group in shown], len(groups), len(found)),
            findings=found,
            status=str(stream["status"]),
            events_needed=int(stream["calibration"]["needed"]),
        )

    def in_full(self, finding: dict[str, Any]) -> dict[str, Any]:
        """A listed finding with its lines and excerpts."""
        return self._rest.anomaly(str(finding["id"]))

    def _episode(self, group: list[dict[str, Any]]) -> Episode:
        return Episode(
            strangest=told_of_json(self.in_full(min(group, key=_strangeness))),
            findings=len(group),
            start=group[0]["start"],
            end=group[-1]["end"],
            first_event=group[0]["first_event"],
            last_event=group[-1]["last_event"],
        )
