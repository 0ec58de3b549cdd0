"""A measured figure with its interval, and how figures are shown: one compact table for each protocol and condition."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite

from rich.console import Console
from rich.table import Table

WIDTH = 140


@dataclass(frozen=True, slots=True)
class Figure:
    """`measure` of `detector` on `data` under `condition`; low and high bound its 95 % interval, or None where there is none.

    `count` is what it was measured on: windows, sessions or positions.
    """

    protocol: str
    condition: str
    data: str
    detector: str
    measure: str
    value: float
    low: float | None = None
    high: float | None = None
    count: int = 0

    def row(self) -> dict[str, object]:
        """For JSON, which knows no NaN."""
        numbers = {name: getattr(self, name) for name in ("value", "low", "high")}
        told = {name: round(number, 5) if number is not None and isfinite(number) else None for name, number in numbers.items()}
        texts = {name: getattr(self, name) for name in ("protocol", "condition", "data", "detector", "measure")}
        return {**texts, **told, "count": self.count}

    def cell(self) -> str:
        """For people.

        >>> Figure("p", "c", "d", "x", "recall", 0.5, 0.25, 0.75).cell()
        '0.500 [0.25, 0.75]'
        >>> Figure("p", "c", "d", "x", "alarmed", 0.001, None, 0.004).cell()
        '0.0010 <= 0.0040'
        """
        if not isfinite(self.value):
            return "-"
        if self.low is None and self.high is None:
            return f"{self.value:.3g}"
        if self.low is None:
            return f"{self.value:.4f} <= {self.high:.4f}"
        return f"{self.value:.3f} [{self.low:.2f}, {self.high:.2f}]"


def show(figures: Sequence[Figure]) -> None:
    """Print a table for each protocol and condition, detectors down, measures across."""
    console = Console(width=WIDTH)
    for protocol, condition in dict.fromkeys((figure.protocol, figure.condition) for figure in figures):
        part = [figure for figure in figures if (figure.protocol, figure.condition) == (protocol, condition)]
        console.print(_table(f"{protocol}: {condition}", part))


def _table(title: str, figures: Iterable[Figure]) -> Table:
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for figure in figures:
        cells.setdefault((figure.data, figure.detector), {})[figure.measure] = figure.cell()
    measures = list(dict.fromkeys(measure for row in cells.values() for measure in row))
    table = Table("data", "detector", *measures, title=title)
    for (data, detector), row in cells.items():
        table.add_row(data, detector, *(row.get(measure, "-") for measure in measures))
    return table
