"""The stubs tell the truth about the compiled modules, and the examples in their docstrings run."""

from __future__ import annotations

import doctest
import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import cbad_cy

NAMES = sorted(path.stem for path in Path(cbad_cy.__path__[0]).glob("*.pyx"))
# Nothing of these is seen from Python.
INNER = {"held", "model"}
MODULES = [importlib.import_module(f"cbad_cy.{name}") for name in NAMES if name not in INNER]


def test_stubs_match_the_compiled_modules() -> None:
    command = [sys.executable, "-m", "mypy.stubtest", *(f"cbad_cy.{name}" for name in NAMES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_examples_run(module: ModuleType) -> None:
    examples = 0
    for name, thing in vars(module).items():
        if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
            continue
        parsed = doctest.DocTestParser().get_doctest(inspect.getdoc(thing) or "", dict(vars(module)), name, None, None)
        outcome = doctest.DocTestRunner().run(parsed)
        assert outcome.failed == 0, name
        examples += outcome.attempted
    assert examples > 0


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_public_names_are_explained(module: ModuleType) -> None:
    for name, thing in vars(module).items():
        if not name.startswith("_") and getattr(thing, "__module__", None) == module.__name__:
            assert inspect.getdoc(thing), name
