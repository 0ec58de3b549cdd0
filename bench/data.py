"""Where the labelled public telemetry lies: `DRIFTLOCK_BENCH_DATA`, by default `../shared/data` beside the checkout.

It is not part of this project. What the folder holds is described in docs/benchmarks.md, "Data".
"""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent
HOMES = {
    "NAB 1.1": "https://github.com/numenta/NAB",
    "Microsoft cloud monitoring": "https://github.com/microsoft/cloud-monitoring-dataset",
    "Nezha": "https://github.com/IntelligentDDS/Nezha",
    "loghub": "https://github.com/logpai/loghub",
}
"""Where the public sets are to be had."""


def loaders() -> ModuleType:
    """The data folder's own `loaders.py`; exits with one line that says what to set when it is not there."""
    folder = Path(os.environ.get("DRIFTLOCK_BENCH_DATA", ROOT.parent / "shared" / "data"))
    source = folder / "loaders.py"
    if not source.is_file():
        sys.exit(missing(folder))
    os.environ.setdefault("TELEMETRY_CACHE", str(ROOT / ".cache" / "telemetry"))
    spec = importlib.util.spec_from_file_location("telemetry_loaders", source)
    if spec is None or spec.loader is None:
        sys.exit(f"{source} can not be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def missing(folder: Path) -> str:
    """What to say when the folder holds no data: what is needed, where to get it, and what to set."""
    homes = "\n".join(f"  {name}: {home}" for name, home in HOMES.items())
    return (
        f"no benchmark data in {folder}\n"
        f"Benchmarks run on public labelled telemetry, which is not part of this project:\n{homes}\n"
        'Get the sets, put a loaders.py beside them that reads them (which functions, which rows: docs/benchmarks.md, "Data"), '
        "and set DRIFTLOCK_BENCH_DATA to that folder."
    )
