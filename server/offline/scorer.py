"""One run of `driftlock score`: events in, scores out as JSON lines, in an order that no batching changes.

What a window completes is told when the window is evaluated: its events that have not been told, the window, its finding,
and the incident that ends there. So everything has its place at the input line that completes a window, and of each
stream no more is held back than the events after its last window.
"""

import json
from collections import deque
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Protocol
from uuid import UUID

from api.rfc3339 import event_time
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.limits import Limits
from driftlock.engine.offline import Offline
from driftlock.engine.profile import Profile
from driftlock.engine.verdict import Finding, IncidentState, WindowScore
from server.offline.batches import record_batch
from server.offline.events import Event
from server.offline.incidents import Joining, StreamIncident

DAY_NS = 86_400 * 1_000_000_000


class Begun(Protocol):
    """An incident of any kind."""

    @property
    def start_ns(self) -> int:
        """Event time of its first event."""
        ...


class Budget:
    """How many incidents of a UTC day are within `alerts_per_day`; a day is that of the incident's first event."""

    def __init__(self, alerts_per_day: int) -> None:
        self._alerts_per_day = alerts_per_day
        self._spent: dict[int, int] = {}  # event times span 146 years: some 53,000 days at most

    def over(self, incident: Begun) -> bool:
        """Whether this incident, the next one to be told, is one too many for its day."""
        day = incident.start_ns // DAY_NS
        self._spent[day] = self._spent.get(day, 0) + 1
        return self._spent[day] > self._alerts_per_day


class _Stream:
    """What is held back of one stream, and the observer of its fold."""

    def __init__(self, name: str, gap_windows: int, *, events: bool) -> None:
        self.name = name
        self.key = StreamKey(Signal.LOGS, name)
        self.joining = Joining(gap_windows)
        self.folded: deque[tuple[int, str | None]] = deque()  # (place in the input, key) of events that were not scored
        self.windows: list[tuple[int, str, WindowScore]] = []  # (place, the events before it, score) since the last take
        self._untold: deque[tuple[int, str]] = deque()  # (place, JSON line)
        self._first_untold = 0
        self._events = events
        self._quoted = json.dumps(name)
        self._time_ns, self._time = -1, "null"

    def events(self, first_event: int, times_ns: Sequence[int], bits: Sequence[float]) -> None:
        """See `Observer`."""
        for index, (time_ns, cost) in enumerate(zip(times_ns, bits, strict=True), first_event):
            place, key = self.folded.popleft()
            self._untold.append((place, self._event(index, time_ns, cost, key) if self._events else ""))

    def window(self, score: WindowScore) -> None:
        """See `Observer`."""
        count = score.last_event + 1 - self._first_untold
        self._first_untold += count
        told = [self._untold.popleft() for _ in range(count)]
        self.windows.append((told[-1][0], "".join(map(itemgetter(1), told)), score))

    def rest(self) -> str:
        """Events after the last window; the input has ended."""
        return "".join(text for _, text in self._untold)

    def _event(self, index: int, time_ns: int, bits: float, key: str | None) -> str:
        if time_ns != self._time_ns:
            self._time_ns, self._time = time_ns, json.dumps(event_time(time_ns))
        named = "" if key is None else f',"key":{json.dumps(key)}'
        return (
            f'{{"type":"event","event":{index},"stream":{self._quoted},"time":{self._time}{named},"bits":{round(bits, 3)}}}\n'
        )


class Scorer:
    """Scores events of any number of streams; `events`: tell each event's score too, not only windows and findings.

    `alerts_per_day`: mark the incidents of a UTC day beyond so many as over budget; None marks nothing.
    """

    def __init__(self, profile: Profile, *, seed: int, events: bool, alerts_per_day: int | None = None) -> None:
        self._limits = Limits()
        self._offline = Offline(profile, seed=seed, limits=self._limits)
        self._events = events
        self._budget = None if alerts_per_day is None else Budget(alerts_per_day)
        self._streams: dict[str, _Stream] = {}
        self._place = 0

    def take(self, events: Sequence[Event]) -> str:
        """Score more of the input; returns the JSON lines that it completes, in the order of the lines that complete them."""
        parts: dict[str, list[Event]] = {}
        for event in events:
            parts.setdefault(event.stream, []).append(event)
            self._stream(event.stream).folded.append((self._place, event.key))
            self._place += 1
        told: list[tuple[int, _Stream, str, StreamIncident | None]] = []
        for name, part in parts.items():
            stream = self._streams[name]
            batch = record_batch((event.text for event in part), (event.time_ns for event in part))
            first = self._offline.events_of(stream.key)
            places = [place for place, _ in stream.folded]
            made = self._offline.take(stream.key, batch, stream)
            found = {finding.window: (number, finding) for number, finding in made if finding.interaction < 0}
            odd = deque((number, finding) for number, finding in made if finding.interaction >= 0)
            for place, before, score in stream.windows:
                while odd and odd[0][1].last_event < score.last_event:
                    told.append(_odd(stream, places[odd[0][1].last_event - first], *odd.popleft()))
                text, ended = _window(stream, score, found.get(score.window))
                told.append((place, stream, before + text, ended))
            told += [_odd(stream, places[finding.last_event - first], number, finding) for number, finding in odd]
            stream.windows.clear()
        told.sort(key=itemgetter(0))  # before incidents are told: a budget is spent in the order of the input
        return "".join(
            text + ("" if ended is None else self._incident(stream, ended, IncidentState.CLOSED))
            for _, stream, text, ended in told
        )

    def finish(self) -> str:
        """The input has ended: events after the last window and incidents that are still open, stream by stream."""
        parts = []
        for stream in self._streams.values():
            ended = stream.joining.end()
            parts += [stream.rest(), "" if ended is None else self._incident(stream, ended, IncidentState.OPEN)]
        return "".join(parts)

    def _stream(self, name: str) -> _Stream:
        stream = self._streams.get(name)
        if stream is None:
            stream = self._streams[name] = _Stream(name, self._limits.incident_gap_windows, events=self._events)
        return stream

    def _incident(self, stream: _Stream, incident: StreamIncident, state: IncidentState) -> str:
        members: dict[str, Any] = {
            "type": "incident",
            "id": str(incident.incident_id),
            "stream": stream.name,
            "state": state,
            "first_window": incident.first_window,
            "last_window": incident.last_window,
            "first_event": incident.first_event,
            "last_event": incident.last_event,
            "start": event_time(incident.start_ns),
            "end": event_time(incident.end_ns),
            "findings": incident.findings,
            "ncd_max": incident.ncd_max,
            "p_value_min": incident.p_value_min,
            "title": incident.title,
        }
        if self._budget is not None:
            members["over_budget"] = self._budget.over(incident)
        return _line(members)


def _odd(stream: _Stream, place: int, number: UUID, finding: Finding) -> tuple[int, _Stream, str, StreamIncident | None]:
    """An interaction's finding, at the place of the line at which it was judged, and the incident that ended before it."""
    ended = stream.joining.passed(finding.window)
    return place, stream, _finding(stream, number, finding, stream.joining.join(number, finding)), ended


def _window(stream: _Stream, score: WindowScore, found: tuple[UUID, Finding] | None) -> tuple[str, StreamIncident | None]:
    """A window with its finding, and the incident that it ends."""
    ended = stream.joining.passed(score.window)
    members: dict[str, Any] = {
        "type": "window",
        "window": score.window,
        "stream": stream.name,
        "first_event": score.first_event,
        "last_event": score.last_event,
        "start": event_time(score.start_ns),
        "end": event_time(score.end_ns),
        "bits": round(score.bits, 3),
        "question": score.question,
        "surprise": round(score.surprise, 3),
        "ncd": score.ncd,
        "p_value": score.p_value,
        "confidence": score.confidence,
        "flagged": score.flagged,
        "calibration": score.calibration,
    }
    text = ""
    if found is not None:
        number, finding = found
        members["finding"] = str(number)
        text = _finding(stream, number, finding, stream.joining.join(number, finding))
    return _line(members) + text, ended


def _finding(stream: _Stream, number: UUID, finding: Finding, incident: StreamIncident) -> str:
    """A finding with its whole verdict, which is what `driftlock detect --json` prints."""
    head = {
        "type": "finding",
        "id": str(number),
        "stream": stream.name,
        "window": finding.window,
        "incident": str(incident.incident_id),
    }
    return f'{_line(head)[:-2]},"verdict":{finding.canonical().decode()}}}\n'


def _line(members: dict[str, Any]) -> str:
    return json.dumps(members, separators=(",", ":"), allow_nan=False) + "\n"
