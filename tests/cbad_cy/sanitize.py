"""`make sanitize`: the kernel tests on kernels built with AddressSanitizer and UndefinedBehaviorSanitizer.

The first report of either ends the run with a stack trace and a status other than 0. The build goes to build/sanitize and is
repeated only for what changed; the modules in the tree are left alone. A first build takes one to two minutes, which is why
this is not among the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "sanitize"
# The sanitized package is imported first: pytest puts the folder of the tests before it on the path.
RUN = """
import importlib, sys
folder, modules, *arguments = sys.argv[1:]
sys.path.insert(0, folder)
for name in modules.split(","):
    assert importlib.import_module("cbad_cy." + name).__file__.startswith(folder), name
import pytest
sys.exit(pytest.main(arguments))
"""


def build(modules: list[str]) -> Path:
    """Folder of the sanitized package."""
    folder = FOLDER / "lib"
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--parallel", "2"]
    places = ["--build-lib", str(folder), "--build-temp", str(FOLDER / "temp")]
    settings = {"CBAD_SANITIZE": "1", "CBAD_C_FOLDER": str(FOLDER / "c")}
    subprocess.run([*command, *places], cwd=ROOT, env=os.environ | settings, check=True)
    for source in (ROOT / "cbad_cy").glob("*.py"):
        shutil.copy2(source, folder / "cbad_cy")
    for name in modules:
        (module,) = (folder / "cbad_cy").glob(f"{name}.*.so")
        if b"__asan_report_load" not in module.read_bytes():
            sys.exit(f"{module} was built without sanitizers; remove {FOLDER} and try again")
    return folder


def main() -> int:
    """Build what changed, run the tests; -> exit status."""
    compiler = os.environ.get("CC", "cc")
    library = subprocess.run(
        [compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(library).is_absolute():
        sys.exit(f"{compiler} brings no libasan.so; on Debian and Ubuntu gcc's is in the package libgcc-12-dev")
    modules = sorted(path.stem for path in (ROOT / "cbad_cy").glob("*.pyx"))
    # without the tests of documentation, which start processes of their own
    tests = sorted(path for path in Path(__file__).parent.glob("test_*.py") if path.stem != "test_documentation")
    settings = {
        "LD_PRELOAD": library,
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=1",  # leaks: the interpreter's own are too many
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    }
    # sys: a report is written to the process's own stderr, where pytest would otherwise swallow it
    arguments = [
        str(build(modules)),
        ",".join(modules),
        "-q",
        "--capture=sys",
        "-p",
        "no:cacheprovider",
        *map(str, tests),
        *sys.argv[1:],
    ]
    return subprocess.run([sys.executable, "-c", RUN, *arguments], cwd=ROOT, env=os.environ | settings, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
