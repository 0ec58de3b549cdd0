"""The house: import direction, module length, forbidden names, nothing dead."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from server.cli import COMMANDS

ROOT = Path(__file__).parent.parent
ROOMS = ("cbad_cy", "driftlock", "collector", "api", "server")
LINES_MAX = 400
FUNCTION_LINES_MAX = 70
# Which of our packages a room may import, besides itself.
MAY_IMPORT = {
    "cbad_cy": set(),
    "driftlock": {"cbad_cy"},
    "collector": {"driftlock"},
    "api": {"driftlock"},
    "server": {"api", "collector", "driftlock", "cbad_cy"},
    "driftlock.errors": set(),
    "driftlock.v1": set(),
    "driftlock.engine": {"driftlock.errors", "driftlock.v1", "cbad_cy"},
    "driftlock.accounts": {"driftlock.errors"},
    "driftlock.storage": {"driftlock.errors", "driftlock.engine", "driftlock.accounts", "driftlock"},
}
# The reference is the tests' oracle and the reason why it may not be imported by the product.
NEVER_IMPORTED = {
    "cbad_cy.reference",
    "cbad_cy.reference_calls",
    "cbad_cy.reference_codelength",
    "cbad_cy.reference_instances",
    "cbad_cy.reference_keyset",
    "cbad_cy.reference_mix",
    "cbad_cy.reference_points",
    "cbad_cy.reference_presence",
    "cbad_cy.reference_series",
    "cbad_cy.reference_series_tables",
    "cbad_cy.reference_shapes",
    "cbad_cy.reference_slide",
    "cbad_cy.reference_traces",
    "collector.otlp.textwire",
    "driftlock.engine.testing",
}
ENTRY_POINTS = {"server.cli", "driftlock.storage.launch"}
COMMANDS_MODULES = {place.partition(":")[0] for place in COMMANDS.values()}
PROTOBUF_ALLOWED = {
    "driftlock.engine.anchor_state",
    "driftlock.engine.evidence_bundle",
    "driftlock.engine.lesson_record",
    "driftlock.engine.records",
    "driftlock.engine.state",
    "driftlock.engine.traces.state",
    "driftlock.engine.correlation.state",
    "driftlock.engine.correlation.story_state",
    "driftlock.engine.correlation.budget_state",
    "driftlock.engine.correlation.derived",
    "driftlock.engine.numbers.body",
    "driftlock.engine.numbers.state",
}


def sources() -> list[Path]:
    found = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py*")) if path.suffix in (".py", ".pyx")]
    return [path for path in found if "v1" not in path.parts]


def module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path) -> set[str]:
    """Our own modules that a file imports, written out in full."""
    found: set[str] = set()
    if path.suffix == ".pyx":
        found.update(re.findall(r"^\s*(?:from|cimport|import) ([\w.]+)", path.read_text(), re.MULTILINE))
        return {name for name in found if name.split(".")[0] in ROOMS}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else str(node.module))
    return {name for name in found if name.split(".")[0] in ROOMS}


MODULES = {module(path) for path in sources()}
PYTHON = [path for path in sources() if path.suffix == ".py"]


def owner(name: str) -> str:
    """The room, or the room within `driftlock`, that a module belongs to."""
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] == "driftlock" and len(parts) > 1 else parts[0]


@pytest.mark.parametrize("path", sources(), ids=module)
def test_imports_go_one_way(path: Path) -> None:
    room = owner(module(path))
    for name in imports(path):
        target = owner(name)
        if target == room:
            continue
        allowed = MAY_IMPORT.get(room, MAY_IMPORT[room.split(".")[0]])
        assert (
            target in allowed
            or target.split(".")[0] in allowed - {"driftlock"}
            or ("driftlock" in allowed and not room.startswith("driftlock") and target.startswith("driftlock"))
        ), f"{module(path)} must not import {name}"
    if room == "collector":
        assert not any(name.startswith("driftlock.storage") for name in imports(path))


@pytest.mark.parametrize("path", sources(), ids=module)
def test_modules_fit_one_idea(path: Path) -> None:
    limit = LINES_MAX if path.suffix == ".py" else 600  # kernels of one concern stay in one .pyx
    assert len(path.read_text().splitlines()) <= limit
    assert path.stem not in {"common", "utils", "core", "helpers", "shared"}


@pytest.mark.parametrize("path", PYTHON, ids=module)
def test_functions_fit_on_a_screen(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= FUNCTION_LINES_MAX, f"{path.name}:{node.lineno} {node.name} has {lines} lines"


def test_no_module_is_dead() -> None:
    used = {name for path in sources() for name in imports(path)} | ENTRY_POINTS | COMMANDS_MODULES
    used |= {name.rsplit(".", 1)[0] for name in used if "." in name}
    packages = {module(path) for path in PYTHON if path.name == "__init__.py"}
    assert sorted(MODULES - used - packages - NEVER_IMPORTED) == []


def test_tests_helpers_stay_in_tests() -> None:
    """Oracles may build on each other; nothing that runs does on them."""
    shipped = [path for path in PYTHON if module(path) not in NEVER_IMPORTED]
    assert sorted(NEVER_IMPORTED & {name for path in shipped for name in imports(path)}) == []


def test_every_package_that_is_shipped_is_packaged() -> None:
    """An editable installation hides a package that is missing from the list."""
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    shipped = {module(path) for path in PYTHON if path.name == "__init__.py" and not module(path).startswith("bench")}
    assert shipped - {"tests"} <= listed
    assert all((ROOT / name.replace(".", "/")).is_dir() for name in listed)


def test_nobody_reads_the_environment_but_settings() -> None:
    readers = {module(path) for path in PYTHON if "os.environ" in path.read_text() or "getenv" in path.read_text()}
    assert readers <= {"server.settings"}


def test_the_engine_speaks_protobuf_only_where_state_is_stored() -> None:
    users = {module(path) for path in PYTHON if "_pb2" in path.read_text() and module(path).startswith("driftlock")}
    assert users <= PROTOBUF_ALLOWED


def test_nothing_happens_at_import() -> None:
    """No module-level calls that are not definitions of constants, and no module-level mutable containers being filled."""
    for path in PYTHON:
        for node in tree(path).body:
            assert not isinstance(node, ast.For | ast.While | ast.With), f"{path}:{node.lineno}"
            if isinstance(node, ast.Expr):
                assert isinstance(node.value, ast.Constant), f"{path}:{node.lineno} does something at import"
