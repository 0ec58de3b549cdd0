"""Where the labelled public telemetry lies: `DRIFTLOCK_BENCH_DATA`, by default `../shared/data` beside the checkout."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent


def loaders() -> ModuleType:
    """The data folder's own `loaders.py`; exits with one line that says what to set when it is not there."""
    folder = Path(os.environ.get("DRIFTLOCK_BENCH_DATA", ROOT.parent / "shared" / "data"))
    source = folder / "loaders.py"
    if not source.is_file():
        sys.exit(f"no benchmark data in {folder}: set DRIFTLOCK_BENCH_DATA to the folder that holds loaders.py")
    os.environ.setdefault("TELEMETRY_CACHE", str(ROOT / ".cache" / "telemetry"))
    spec = importlib.util.spec_from_file_location("telemetry_loaders", source)
    if spec is None or spec.loader is None:
        sys.exit(f"{source} can not be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
