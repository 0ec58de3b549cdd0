"""One replay from beginning to end: read, send, wait until everything is scored, collect the findings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from server.client import RestClient
from server.replay.reader import LineFile, ReplayError
from server.replay.sender import Sender, batches

POLL_S = 0.2
STREAM_WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What the user chose. `observed_ns` is when the replay began; `show_max` bounds the findings fetched in full."""

    historical: bool
    batch_records: int
    observed_ns: int
    show_max: int
    score_for_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """A stream after the replay: its slug and the findings in the replayed lines, oldest first.

    `findings` are the strangest ones in full, `found` counts all, `status` is the stream's calibration in words.
    """

    slug: str
    findings: list[dict[str, Any]]
    found: int
    status: str
    events_needed: int


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

    def send(self, file: LineFile, service: str, advance: Callable[[int], None]) -> None:
        """Send one file; `advance` is told the acknowledged records. Raises `ReplayError`."""
        resource: dict[str, object] = {"service.name": service}
        if self._options.historical:
            resource["driftlock.historical"] = True
        requests = batches(
            file.lines(), resource, records_max=self._options.batch_records, observed_ns=self._options.observed_ns
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
        """The findings of a stream in its events from `first_event` on."""
        stream = self._rest.stream(stream_id)
        found = [finding for finding in self._rest.anomalies(stream_id) if finding["last_event"] >= first_event]
        strangest = sorted(found, key=lambda finding: (-finding["ncd"], finding["p_value"], finding["window"]))
        shown = sorted(strangest[: self._options.show_max], key=lambda finding: int(finding["window"]))
        return Outcome(
            slug=str(stream["slug"]),
            findings=[self._rest.anomaly(str(finding["id"])) for finding in shown],
            found=len(found),
            status=str(stream["status"]),
            events_needed=int(stream["calibration"]["needed"]),
        )
