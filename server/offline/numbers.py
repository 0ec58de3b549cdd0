"""One run of `driftlock score --signal metrics`: points in, scores out as JSON lines, in the order of the points.

Each point is judged by the points of its series before it, and told before the next one is read. Its finding follows it
at once, and so does the incident that was over by its time.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from cbad_cy.series import LEARNING_POINTS, Alarm, Feed, SeriesTable
from driftlock.engine.detector import stream_seed
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.limits import MINUTE_NS, Limits
from driftlock.engine.numbers.finding import LATER_MAX, NumberContext, alarm_finding, series_finding_id
from driftlock.engine.numbers.level import alarm_level
from driftlock.engine.offline import stream_id_of
from driftlock.engine.profile import Profile
from driftlock.engine.verdict import IncidentState
from server.offline.events import DEFAULT_STREAM
from server.offline.number_incidents import NumberIncident, NumberJoining
from server.offline.points import Points
from server.offline.scorer import Budget
from server.offline.times import Times
from server.report.number_series import NumberCharts, NumberSeries

NOT_TAKEN = ("", "duplicate", "late", "not_finite")
"""What is told of a point that was not judged, by its status in `cbad_cy.series.Feed`."""

_JUDGED = (
    '{"type":"point","point":%d,"time":"%s","series":%s,"value":%r,"bits":%.3f,"score":%.6g,"rank":%.4f,"p_value":%.6g,'
    '"decision":%s,"expected":%.9g,"low":%.9g,"high":%.9g,"status":"%s"}\n'
)
_OTHER = (
    '{"type":"point","point":%d,"time":"%s","series":%s,"value":%s,"bits":null,"score":null,"rank":null,'
    '"p_value":null,"decision":false,"expected":null,"low":null,"high":null,"status":"%s"}\n'
)


class NumberScorer:
    """Scores the points of any number of series, whose names are in `names` by the time that their points are taken.

    `points`: tell each point's score too, not only findings. `alerts_per_day`: mark the incidents of a UTC day beyond so many
    as over budget; None marks nothing. `charts` takes what is to be drawn.
    """

    def __init__(
        self,
        profile: Profile,
        names: Sequence[str],
        limits: Limits,
        *,
        points: bool,
        alerts_per_day: int | None = None,
        charts: NumberCharts | None = None,
    ) -> None:
        self._profile, self._names, self._points = profile, names, points
        self._table = SeriesTable(series_max=limits.series_max, alarm_level=alarm_level(profile.p_value_threshold))
        self._key = StreamKey(Signal.METRICS, DEFAULT_STREAM)
        self._stream_id, self._seed = stream_id_of(self._key), stream_seed(0, self._key)  # nothing is drawn by chance
        self._joining = NumberJoining(limits)
        self._budget = None if alerts_per_day is None else Budget(alerts_per_day)
        self._charts = charts
        self._drawn: list[NumberSeries | None] = []  # by the number of the series, less 1
        self._quoted: list[str] = []
        self._taken: list[int] = []
        self._times = Times()
        self._place, self._first_minute = 0, -1

    def take(self, points: Points) -> str:
        """Score more points; returns the JSON lines that they complete."""
        for name in self._names[len(self._quoted) :]:
            self._quoted.append(json.dumps(name))
            self._taken.append(0)
            self._drawn.append(None if self._charts is None else self._charts.next(name))
        if self._first_minute < 0 and points.times_ns:
            self._first_minute = points.times_ns[0] // MINUTE_NS
        told: list[str] = []
        for first, last in cuts(points.series, LATER_MAX):
            told += self._scored(points.between(first, last))
            self._place += last - first
        return "".join(told)

    def finish(self) -> str:
        """The input has ended, and with it the incident that is still open."""
        ended = self._joining.end()
        return "" if ended is None else self._incident(ended, IncidentState.OPEN)

    def _scored(self, part: Points) -> list[str]:
        """The lines of points of which no series has more than `LATER_MAX`."""
        feed = self._table.feed(*part, watch=self._points or self._charts is not None)
        if self._charts is not None:
            self._draw(part, feed)
        lines = list(self._rows(part, feed)) if self._points else [""] * len(part.series)
        told, first = [], 0
        for alarm in sorted(feed.alarms, key=lambda alarm: alarm.index):
            closed, after = self._closed(part.times_ns, first, alarm.index + 1), self._found(alarm)
            for index, text in (*closed, (alarm.index, after)):
                lines[index] += text
            first = alarm.index + 1
        for index, text in self._closed(part.times_ns, first, len(lines)):
            lines[index] += text
        told += lines
        return told

    def _rows(self, part: Points, feed: Feed) -> Iterator[str]:
        decisions = bytearray(len(part.series))
        for alarm in feed.alarms:
            decisions[alarm.index] = 1
        quoted, taken, shown = self._quoted, self._taken, self._times.shown
        columns = (feed.bits, feed.score, feed.rank, feed.p_value, feed.expected, feed.low, feed.high, feed.status, decisions)
        for place, (series, time_ns, value, bits, score, rank, p_value, expected, low, high, status, decision) in enumerate(
            zip(*part, *columns, strict=True), self._place
        ):
            if status:
                told = repr(value) if value - value == 0 else "null"
                yield _OTHER % (place, shown(time_ns), quoted[series - 1], told, NOT_TAKEN[status])
                continue
            taken[series - 1] += 1
            word = "taken" if taken[series - 1] > LEARNING_POINTS else "learning"
            yield _JUDGED % (
                *(place, shown(time_ns), quoted[series - 1], value, bits, score, rank, p_value),
                *("true" if decision else "false", expected, low, high, word),
            )

    def _found(self, alarm: Alarm) -> str:
        """The finding of a point, which follows it, and the incident of another time that ends before it."""
        name = self._names[alarm.series - 1]
        context = NumberContext(
            stream=self._key.text,
            profile=self._profile,
            p_value_threshold=self._profile.p_value_threshold,
            seed=self._seed,
            window=max(0, alarm.time_ns // MINUTE_NS - self._first_minute),
            event=self._place + alarm.index,
            receive_timed=False,
        )
        finding = alarm_finding(alarm, "", name, self._table, context, derived=False)
        other = self._joining.end() if self._joining.is_of_another_time(finding) else None
        before = "" if other is None else self._incident(other, IncidentState.CLOSED)
        number = series_finding_id(self._stream_id, finding)
        head = {
            "type": "finding",
            "id": str(number),
            "series": name,
            "window": finding.window,
            "incident": str(self._joining.join(number, finding).found.incident_id),
        }
        return f'{before}{_line(head)[:-2]},"verdict":{finding.canonical().decode()}}}\n'

    def _closed(self, times_ns: Sequence[int], first: int, last: int) -> list[tuple[int, str]]:
        """The incident that is over by one of the points `first`..`last` - 1, and which point says so."""
        index = self._joining.passed(times_ns, first, last)
        ended = None if index is None else self._joining.end()
        return [] if index is None or ended is None else [(index, self._incident(ended, IncidentState.CLOSED))]

    def _draw(self, part: Points, feed: Feed) -> None:
        surprise = {alarm.index: alarm.surprise for alarm in feed.alarms}
        columns = (feed.expected, feed.low, feed.high, feed.status)
        for index, (series, time_ns, value, expected, low, high, status) in enumerate(zip(*part, *columns, strict=True)):
            place = self._drawn[series - 1]
            if place is not None and not status:
                place.add(time_ns, value, expected, low, high, surprise.get(index))

    def _incident(self, incident: NumberIncident, state: IncidentState) -> str:
        found = incident.found
        members: dict[str, Any] = {
            "type": "incident",
            "id": str(found.incident_id),
            "state": state,
            "series": incident.named,
            "series_count": len(incident.series),
            "first_window": found.first_window,
            "last_window": found.last_window,
            "start": self._times.shown(found.start_ns),
            "end": self._times.shown(found.end_ns),
            "findings": found.findings,
            "score_max": found.ncd_max,
            "p_value_min": found.p_value_min,
            "surprise_max": found.surprise_max,
            "title": found.title,
        }
        if self._budget is not None:
            members["over_budget"] = self._budget.over(found)
        return _line(members)


def cuts(series: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Consecutive stretches (first, last + 1) in which no series has more than `most` points.

    >>> list(cuts([1, 2, 1, 1, 2], 2))
    [(0, 3), (3, 5)]
    """
    first, seen = 0, dict[int, int]()
    for index, number in enumerate(series):
        count = seen.get(number, 0)
        if count == most:
            yield first, index
            first, count = index, 0
            seen.clear()
        seen[number] = count + 1
    if len(series) > first:
        yield first, len(series)


def _line(members: dict[str, Any]) -> str:
    return json.dumps(members, separators=(",", ":"), allow_nan=False) + "\n"
