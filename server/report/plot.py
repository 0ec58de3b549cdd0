"""Window scores as a picture.

One panel a stream: the calibrated distance above, -log10 of the p-value below, over event time; thresholds are dashed
and findings marked.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log10

from server.report.series import Point
from server.report.timeline import EMPTY_PANEL, FOOT, LEFT, RIGHT, TITLE, WIDTH, document, scale, ticks, titled

STRIP, GAP = 110, 22
PANEL = TITLE + 2 * STRIP + GAP + FOOT
SURPRISE_MIN = 3.0  # the lower strip reaches at least p = 0.001
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
    panels = [(PANEL if points else EMPTY_PANEL, _panel(name, points, thresholds)) for name, points in streams]
    return document("Window scores over event time", STYLE, panels)


def _panel(name: str, points: Sequence[Point], thresholds: Thresholds) -> Iterator[str]:
    yield titled(name)
    if not points:
        yield f'<text x="{LEFT}" y="{TITLE + 20}">No window was evaluated: the stream is too short.</text>'
        return
    first_ns, last_ns = min(point.time_ns for point in points), max(point.time_ns for point in points)
    across = scale(first_ns, last_ns)
    least = -log10(thresholds.p_value)
    highest = max(SURPRISE_MIN, least * 1.2, max(point.surprise for point in points) * 1.05)
    dots = [(across(point.time_ns), point.flagged) for point in points]
    distance = _Strip(f"distance, threshold {thresholds.ncd:g}", TITLE, 1.0, thresholds.ncd)
    rarity = _Strip(f"-log10 p, threshold p = {thresholds.p_value:g}", TITLE + STRIP + GAP, highest, least)
    yield from distance.drawn(dots, [point.ncd for point in points])
    yield from rarity.drawn(dots, [point.surprise for point in points])
    yield from ticks(first_ns, last_ns, TITLE + 2 * STRIP + GAP)


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
