"""Figures as tables of docs/benchmarks.md."""

from collections.abc import Iterable, Sequence

from bench.quality.figures import Figure


def markdown(figures: Sequence[Figure]) -> str:
    """A table for each protocol and condition, data and detectors down, measures across.

    >>> print(markdown([Figure("p", "c", "d", "x", "found", 0.5, 0.25, 0.75)]))
    **p**: c
    <BLANKLINE>
    | data | detector | found |
    |---|---|---|
    | d | x | 0.500 [0.25, 0.75] |
    """
    parts: dict[tuple[str, str], list[Figure]] = {}
    for figure in figures:
        parts.setdefault((figure.protocol, figure.condition), []).append(figure)
    return "\n\n".join(f"**{protocol}**: {condition}\n\n{_table(some)}" for (protocol, condition), some in parts.items())


def _table(figures: Iterable[Figure]) -> str:
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for figure in figures:
        cells.setdefault((figure.data, figure.detector), {})[figure.measure] = figure.cell()
    measures = list(dict.fromkeys(measure for row in cells.values() for measure in row))
    rows = [[data, detector, *(row.get(measure, "-") for measure in measures)] for (data, detector), row in cells.items()]
    lines = [f"| {' | '.join(row)} |" for row in (["data", "detector", *measures], *rows)]
    return "\n".join([lines[0], f"|{'---|' * (2 + len(measures))}", *lines[1:]])
