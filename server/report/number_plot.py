"""Numbers as a picture: one panel a series with its values, the range in which they were expected, and its alarms."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from sys import float_info

from server.report.number_series import NumberSeries, Span, extremes
from server.report.timeline import EMPTY_PANEL, FOOT, LEFT, RIGHT, TITLE, WIDTH, document, scale, ticks, titled

STRIP = 150
PANEL = TITLE + STRIP + FOOT
NOTE = 34
BAND_SHARE_MAX = 0.5  # the range of what was expected widens the axis by at most so much of the values' own range, each side
FLAT = 1e-9  # values that differ by less, measured by the largest of them, are drawn as one line
STYLE = """
svg{background:#fff;font:12px system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif}
text{fill:#444}.title{fill:#111;font-size:15px;font-weight:600}.back{fill:#fff}.strip{fill:#f6f7f9}
.grid{stroke:#dcdfe4}.value{fill:none;stroke:#2563b0;stroke-width:1.3;stroke-linejoin:round}
.band{fill:#2563b0;fill-opacity:.16}.expected{fill:none;stroke:#777;stroke-dasharray:3 3}
.found{fill:#d6336c;fill-opacity:.9}.span{fill:#d6336c;fill-opacity:.13}
@media (prefers-color-scheme:dark){
svg{background:#14171c}text{fill:#b8bec8}.title{fill:#f0f2f5}.back{fill:#14171c}.strip{fill:#1c2027}
.grid{stroke:#343a44}.value{stroke:#6ea8fe}.band{fill:#6ea8fe;fill-opacity:.2}.expected{stroke:#9aa2ad}
.found{fill:#ff6b9d}.span{fill:#ff6b9d;fill-opacity:.2}}
"""


def number_plot(series: Sequence[NumberSeries], note: str = "") -> str:
    """The SVG of series; `note` stands below them."""
    panels = [(PANEL if each.spans else EMPTY_PANEL, _panel(each)) for each in series]
    if note:
        panels.append((NOTE, iter([f'<text x="{LEFT}" y="{NOTE // 2}">{note}</text>'])))
    return document("Numbers and what was expected over event time", STYLE, panels)


def _panel(series: NumberSeries) -> Iterator[str]:
    yield titled(series.name)
    if not series.spans:
        yield f'<text x="{LEFT}" y="{TITLE + 20}">No number has come.</text>'
        return
    first_ns, last_ns = series.spans[0].time_ns, series.spans[-1].time_ns
    across = scale(first_ns, last_ns)
    axis = _axis(series.spans)
    right = WIDTH - RIGHT
    told = f"{series.alarms:,} alarm{'' if series.alarms == 1 else 's'}; shaded: where about 99 % of the numbers were expected"
    yield f'<rect class="strip" x="{LEFT}" y="{TITLE}" width="{right - LEFT}" height="{STRIP}"/>'
    yield f'<text x="{LEFT}" y="{TITLE - 4}" font-size="11">{told}</text>'
    for share in (0.0, 0.5, 1.0):
        y = TITLE + STRIP * (1 - share)
        yield f'<path class="grid" d="M{LEFT} {y:.1f}H{right}"/>'
        yield f'<text x="{LEFT - 8}" y="{y:.1f}" dy=".35em" text-anchor="end" font-size="11">{axis.label(share)}</text>'
    xs = [f"{across(span.time_ns):.1f}" for span in series.spans]
    yield from _lines(series.spans, xs, axis)
    yield from ticks(first_ns, last_ns, TITLE + STRIP)


def _lines(spans: Sequence[Span], xs: Sequence[str], axis: "_Axis") -> Iterator[str]:
    """The expected range below everything, then what was expected, the values, and alarms above all."""
    upper = [f"{x},{axis.y(span.high)}" for x, span in zip(xs, spans, strict=True)]
    lower = [f"{x},{axis.y(span.low)}" for x, span in zip(xs, spans, strict=True)]
    yield f'<polygon class="band" points="{" ".join(upper + lower[::-1])}"/>'
    expected = " ".join(f"{x},{axis.y(span.expected)}" for x, span in zip(xs, spans, strict=True))
    yield f'<polyline class="expected" points="{expected}"/>'
    alarms = [(x, span.alarm) for x, span in zip(xs, spans, strict=True) if span.alarm is not None]
    for x, _ in alarms:
        yield f'<rect class="span" x="{float(x) - 1:.1f}" y="{TITLE}" width="2" height="{STRIP}"/>'
    vertices = []
    for x, span in zip(xs, spans, strict=True):
        vertices.append(f"{x},{axis.y(span.least)}")
        if span.most > span.least:
            vertices.append(f"{x},{axis.y(span.most)}")
    yield f'<polyline class="value" points="{" ".join(vertices)}"/>'
    for x, alarm in alarms:
        yield f'<circle class="found" cx="{x}" cy="{axis.y(alarm)}" r="3"/>'


@dataclass(frozen=True, slots=True)
class _Axis:
    """From `low` to `high`, in units of `unit`: so the largest numbers that there are have a difference, too."""

    unit: float
    low: float
    high: float

    def y(self, value: float) -> str:
        """Where a value stands, kept inside the strip."""
        share = (value / self.unit - self.low) / (self.high - self.low)
        return f"{TITLE + STRIP * (1 - min(1.0, max(0.0, share))):.1f}"

    def label(self, share: float) -> str:
        """The value so far above the lower edge."""
        value = (self.low + share * (self.high - self.low)) * self.unit
        return f"{min(float_info.max, max(-float_info.max, value)):.4g}"


def _axis(spans: Sequence[Span]) -> _Axis:
    least, most, low, high = extremes(spans)
    unit = max(abs(least), abs(most)) or max(abs(low), abs(high)) or 1.0
    bottom, top, low, high = least / unit, most / unit, low / unit, high / unit
    if top - bottom < FLAT:
        return _Axis(unit, bottom - 0.5, top + 0.5)
    room = (top - bottom) * BAND_SHARE_MAX
    bottom, top = max(bottom - room, min(bottom, low)), min(top + room, max(top, high))
    margin = (top - bottom) * 0.04
    return _Axis(unit, bottom - margin, top + margin)
