"""`make sanitize`: the tests of all kernels on kernels built with AddressSanitizer and UndefinedBehaviorSanitizer.

The first report of either ends the run with a stack trace and a status other than 0. The build goes to build/sanitize and is
repeated only for what changed; the modules in the tree are left alone. A first build takes a few minutes, which is why this is
not among the tests. With `fuzz` as the first argument the rest goes to `python -m tests.fuzz`, on the same kernels.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "sanitize"
ROOMS = ("cbad_cy", "collector")
"""Packages with kernels in them; the whole package is taken from the sanitized build."""
_STARTS_PROCESSES = "test_documentation"
# The sanitized packages are imported first: pytest puts the folder of the tests before them on the path.
RUN = """
import importlib, runpy, sys
folder, modules, program, *sys.argv[1:] = sys.argv[1:]
sys.path[:0] = [folder, sys.path[0]]
for name in modules.split(","):
    assert importlib.import_module(name).__file__.startswith(folder), name
runpy.run_module(program, run_name="__main__", alter_sys=True)
"""


def kernels() -> list[str]:
    """Names of all native modules."""
    found = [path.relative_to(ROOT).with_suffix("") for room in ROOMS for path in sorted((ROOT / room).rglob("*.pyx"))]
    return [".".join(path.parts) for path in found]


def tests(modules: list[str]) -> list[str]:
    """Files of tests that reach a kernel: all of `cbad_cy`, and others that name a kernel of the collector or the decoder."""
    names = "|".join(map(re.escape, [*modules, "collector.otlp.decode", "tests.fuzz.cases"]))
    reaches = re.compile(rf"^from ({names}) import ", re.MULTILINE)
    found = [path for path in sorted((ROOT / "tests/cbad_cy").glob("test_*.py")) if path.stem != _STARTS_PROCESSES]
    found += [
        path
        for folder in ("collector", "fuzz")
        for path in sorted((ROOT / "tests" / folder).glob("test_*.py"))
        if reaches.search(path.read_text())
    ]
    return list(map(str, found))


def build(modules: list[str]) -> Path:
    """Folder of the sanitized packages."""
    folder = FOLDER / "lib"
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--parallel", "2"]
    places = ["--build-lib", str(folder), "--build-temp", str(FOLDER / "temp")]
    settings = {"CBAD_SANITIZE": "1", "CBAD_C_FOLDER": str(FOLDER / "c")}
    subprocess.run([*command, *places], cwd=ROOT, env=os.environ | settings, check=True)
    for stale in folder.rglob("*.py"):
        stale.unlink()
    for room in ROOMS:
        for source in (ROOT / room).rglob("*.py"):
            target = folder / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    for name in modules:
        place, _, stem = name.rpartition(".")
        (module,) = (folder / place.replace(".", "/")).glob(f"{stem}.*.so")
        if b"__asan_report_load" not in module.read_bytes():
            sys.exit(f"{module} was built without sanitizers; remove {FOLDER} and try again")
    return folder


def main() -> int:
    """Build what changed, run the tests; -> exit status. Arguments go to pytest, or to the fuzzer."""
    compiler = os.environ.get("CC", "cc")
    library = subprocess.run(
        [compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(library).is_absolute():
        sys.exit(f"{compiler} brings no libasan.so; on Debian and Ubuntu gcc's is in the package libgcc-12-dev")
    modules = kernels()
    settings = {
        "LD_PRELOAD": library,
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=1",  # leaks: the interpreter's own are too many
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    }
    # sys: a report is written to the process's own stderr, where pytest would otherwise swallow it
    program = ["pytest", "-q", "--capture=sys", "-p", "no:cacheprovider", *tests(modules), *sys.argv[1:]]
    if sys.argv[1:2] == ["fuzz"]:
        program = ["tests.fuzz", *sys.argv[2:]]
    arguments = [str(build(modules)), ",".join(modules), *program]
    return subprocess.run([sys.executable, "-c", RUN, *arguments], cwd=ROOT, env=os.environ | settings, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
