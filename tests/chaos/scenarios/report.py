"""What a scenario found: figures to print, and what was not kept of the promise."""

import json
from dataclasses import dataclass, field

Figure = int | float | str


@dataclass
class Report:
    """`violations` are empty when everything that the scenario checks was kept. A scenario that can not run here says why."""

    name: str
    figures: dict[str, Figure] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    skipped: str = ""

    def require(self, kept: bool, otherwise: str) -> None:
        """Note a violation unless `kept`."""
        if not kept:
            self.violations.append(otherwise)

    def text(self) -> str:
        """A few lines for people."""
        state = f"skipped: {self.skipped}" if self.skipped else "FAILED" if self.violations else "kept"
        lines = [f"{self.name}: {state}"]
        lines += [
            f"  {name}: {value:.4g}" if isinstance(value, float) else f"  {name}: {value}"
            for name, value in self.figures.items()
        ]
        return "\n".join([*lines, *(f"  VIOLATED: {violation}" for violation in self.violations)])

    def json(self) -> str:
        """One line for machines."""
        return json.dumps({"scenario": self.name, "skipped": self.skipped, **self.figures, "violations": self.violations})


def quantile(values: list[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed; 0.0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def spread(values: list[float]) -> str:
    """Median, 99th percentile and maximum, for people."""
    return f"{quantile(values, 0.5):.3f} / {quantile(values, 0.99):.3f} / {max(values, default=0.0):.3f}"
