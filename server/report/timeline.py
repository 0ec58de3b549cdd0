"""What pictures over event time share: the frame of the SVG, one panel after another, their titles and the times under them.

The SVG is of our own making: the same bytes for the same content, in the reader's light or dark scheme.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from html import escape

from api.rfc3339 import datetime_of_ns
from server.terminal import visible

WIDTH, LEFT, RIGHT = 960, 64, 20
TITLE, FOOT = 46, 44
EMPTY_PANEL = TITLE + 40
TICKS_MAX = 7
NAME_CHARS_MAX = 80
STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
DAY_S = 86_400

Panel = tuple[int, Iterable[str]]
"""A panel: its height, and its elements with y counted from its upper edge."""


def document(title: str, style: str, panels: Sequence[Panel]) -> str:
    """The SVG with these panels one below the other; `title` is what screen readers say."""
    heights = [height for height, _ in panels]
    height = max(EMPTY_PANEL, sum(heights))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{style}</style>",
        f'<rect class="back" width="{WIDTH}" height="{height}"/>',
    ]
    for number, (_, elements) in enumerate(panels):
        parts.append(f'<g transform="translate(0 {sum(heights[:number])})">')
        parts += elements
        parts.append("</g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def titled(name: str) -> str:
    """The title of a panel; a name from outside is only text, and not too long."""
    shown = visible(name)
    shown = shown if len(shown) <= NAME_CHARS_MAX else shown[:NAME_CHARS_MAX] + "…"
    return f'<text class="title" x="{LEFT}" y="26">{escape(shown)}</text>'


def scale(first_ns: int, last_ns: int) -> Callable[[int], float]:
    """Event time to x; whole nanoseconds until the last division, so that nothing is lost to rounding."""
    width, span = WIDTH - LEFT - RIGHT, max(1, last_ns - first_ns)
    return lambda time_ns: LEFT + width * (time_ns - first_ns) / span


def ticks(first_ns: int, last_ns: int, bottom: int) -> Iterator[str]:
    """Times below `bottom`, at round ones, a few of them."""
    across = scale(first_ns, last_ns)
    first, last = datetime_of_ns(first_ns), datetime_of_ns(last_ns)
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
