"""Window scores as a picture: an SVG of our own, the same bytes for the same scores, in the reader's light or dark scheme.

One panel a stream: the calibrated distance above, -log10 of the p-value below, over event time; thresholds are dashed
and findings marked.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape
from math import log10

from api.rfc3339 import datetime_of_ns
from server.report.series import Point
from server.terminal import visible

WIDTH, LEFT, RIGHT = 960, 64, 20
TITLE, STRIP, GAP, FOOT = 46, 110, 22, 44
PANEL = TITLE + 2 * STRIP + GAP + FOOT
EMPTY_PANEL = TITLE + 40
TICKS_MAX = 7
NAME_CHARS_MAX = 80
SURPRISE_MIN = 3.0  # the lower strip reaches at least p = 0.001
STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
DAY_S = 86_400
STYLE = """
svg{background:#fff;font:12px system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif}
text{fill:#444}.title{fill:#111;font-size:15px;font-weight:600}.back{fill:#fff}.strip{fill:#f6f7f9}
.grid{stroke:#dcdfe4}.score{fill:none;stroke:#2563b0;stroke-width:1.4;stroke-linejoin:round}
.limit{stroke:#777;stroke-dasharray:5 4}.found{fill:#d6336c;fill-opacity:.9}.span{fill:#d6336c;fill-opacity:.13}
@media (prefers-color-scheme:dark){
svg{background:#14171c}text{fill:#b8bec8}.title{fill:#f0f2f5}.back{fill:#14171c}.strip{fill:#1c2027}
.grid{stroke:#343a44}.score{stroke:#6ea8fe}.limit{stroke:#9aa2ad}.found{fill:#ff6b9d}.span{fill:#ff6b9d;fill-opacity:.2}}
"""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What makes a window a finding: its distance at least `ncd`, its p-value at most `p_value`."""

    ncd: float
    p_value: float


def plot(streams: Sequence[tuple[str, Sequence[Point]]], thresholds: Thresholds) -> str:
    """The SVG of streams (name, points)."""
    heights = [PANEL if points else EMPTY_PANEL for _, points in streams]
    height = max(EMPTY_PANEL, sum(heights))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img">',
        "<title>Window scores over event time</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="back" width="{WIDTH}" height="{height}"/>',
    ]
    for number, (name, points) in enumerate(streams):
        parts.append(f'<g transform="translate(0 {sum(heights[:number])})">')
        parts += _panel(name, points, thresholds)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(name: str, points: Sequence[Point], thresholds: Thresholds) -> Iterator[str]:
    shown = visible(name)
    shown = shown if len(shown) <= NAME_CHARS_MAX else shown[:NAME_CHARS_MAX] + "…"
    yield f'<text class="title" x="{LEFT}" y="26">{escape(shown)}</text>'
    if not points:
        yield f'<text x="{LEFT}" y="{TITLE + 20}">No window was evaluated: the stream is too short.</text>'
        return
    across = _scale(min(point.time_ns for point in points), max(point.time_ns for point in points))
    least = -log10(thresholds.p_value)
    highest = max(SURPRISE_MIN, least * 1.2, max(point.surprise for point in points) * 1.05)
    dots = [(across(point.time_ns), point.flagged) for point in points]
    distance = _Strip(f"distance, threshold {thresholds.ncd:g}", TITLE, 1.0, thresholds.ncd)
    rarity = _Strip(f"-log10 p, threshold p = {thresholds.p_value:g}", TITLE + STRIP + GAP, highest, least)
    yield from distance.drawn(dots, [point.ncd for point in points])
    yield from rarity.drawn(dots, [point.surprise for point in points])
    yield from _ticks(points, across)


@dataclass(frozen=True, slots=True)
class _Strip:
    """One axis: what it shows, where it begins, the value at its upper edge, and the threshold."""

    label: str
    top: int
    high: float
    limit: float

    def drawn(self, dots: Sequence[tuple[float, bool]], values: Sequence[float]) -> Iterator[str]:
        """The strip with its line; `dots` are (x, is it a finding)."""
        right = WIDTH - RIGHT
        yield f'<rect class="strip" x="{LEFT}" y="{self.top}" width="{right - LEFT}" height="{STRIP}"/>'
        yield f'<text x="{LEFT}" y="{self.top - 4}" font-size="11">{self.label}</text>'
        for value in (0.0, self.high / 2, self.high):
            y = self._y(value)
            yield f'<path class="grid" d="M{LEFT} {y}H{right}"/>'
            yield f'<text x="{LEFT - 8}" y="{y}" dy=".35em" text-anchor="end">{value:.2g}</text>'
        heights = [self._y(value) for value in values]
        for x, flagged in dots:
            if flagged:
                yield f'<rect class="span" x="{x - 1:.1f}" y="{self.top}" width="2" height="{STRIP}"/>'
        line = " ".join(f"{x:.1f},{y}" for (x, _), y in zip(dots, heights, strict=True))
        yield f'<polyline class="score" points="{line}"/>'
        yield f'<path class="limit" d="M{LEFT} {self._y(self.limit)}H{right}"/>'
        for (x, flagged), y in zip(dots, heights, strict=True):
            if flagged:
                yield f'<circle class="found" cx="{x:.1f}" cy="{y}" r="3"/>'

    def _y(self, value: float) -> str:
        return f"{self.top + STRIP * (1 - min(value, self.high) / self.high):.1f}"


def _scale(first_ns: int, last_ns: int) -> Callable[[int], float]:
    """Event time to x; whole nanoseconds until the last division, so that nothing is lost to rounding."""
    width, span = WIDTH - LEFT - RIGHT, max(1, last_ns - first_ns)
    return lambda time_ns: LEFT + width * (time_ns - first_ns) / span


def _ticks(points: Sequence[Point], across: Callable[[int], float]) -> Iterator[str]:
    """Times under the panel, at round ones."""
    first = datetime_of_ns(min(point.time_ns for point in points))
    last = datetime_of_ns(max(point.time_ns for point in points))
    bottom = TITLE + 2 * STRIP + GAP
    span_s = (last - first).total_seconds()
    days = -(-span_s // (DAY_S * TICKS_MAX))
    step_s = next((step for step in STEPS_S if span_s <= step * TICKS_MAX), int(days) * DAY_S)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    seconds = -(-(first - epoch) // timedelta(seconds=step_s)) * step_s
    shown_day = ""
    while epoch + timedelta(seconds=seconds) <= last:
        moment = epoch + timedelta(seconds=seconds)
        x = across(seconds * 1_000_000_000)
        yield f'<path class="grid" d="M{x:.1f} {bottom}v5"/>'
        if step_s < DAY_S:
            yield f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{moment:%H:%M}{_seconds(moment, step_s)}</text>'
        day = f"{moment:%Y-%m-%d}"
        if day != shown_day:
            shown_day = day
            yield f'<text x="{x:.1f}" y="{bottom + 32}" text-anchor="middle" font-size="11">{day} UTC</text>'
        seconds += step_s


def _seconds(moment: datetime, step_s: int) -> str:
    return f":{moment:%S}" if step_s < 60 else ""
