"""All SQL of `driftlock.storage`, found in its source: what a server of this version may send to the database at any time.

At a release, so that the next version is tested against it:

    python -m tests.storage.statements > tests/storage/previous_statements.py

An argument names the folder `driftlock/storage` of another checkout.
"""

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import wrap

STORAGE = Path(__file__).parents[2] / "driftlock" / "storage"
OWNERS = {"migrate", "checks", "initdb", "embedded"}
"""Modules whose statements run as the owner, or before anything is served: the version that brings a schema runs its own."""
COLUMNS = 120
STATEMENT = re.compile(r"\s*(select|insert|update|delete|with)\b", re.IGNORECASE)
HEADER = '''"""What a server of the version before may send to the database while the next one migrates it, and after.

Made by `python -m tests.storage.statements` at each release, from the code that is released; not to be edited.
"""

STATEMENTS = {'''


def statements(folder: Path = STORAGE) -> dict[str, str]:
    """SQL by module and constant, or number; f-strings are filled in with the module's constants."""
    found = {}
    for path in sorted(folder.glob("*.py")):
        if path.stem not in OWNERS:
            for name, sql in _of_module(ast.parse(path.read_text("utf-8"))):
                found[f"{path.stem}.{name}"] = sql
    return found


def _of_module(tree: ast.Module) -> Iterator[tuple[str, str]]:
    texts = {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Constant)
    }
    formats = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    prefixes = {
        value.value.id
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for value in node.values
        if isinstance(value, ast.FormattedValue) and isinstance(value.value, ast.Name)
    }
    names = {text: name for name, text in texts.items()}
    for number, node in enumerate(ast.walk(tree)):
        if isinstance(node, ast.JoinedStr):
            sql = "".join(_filled(part, texts) for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in formats:
            sql = node.value
            if any(texts.get(name) == sql for name in prefixes):
                continue  # the beginning of others
        else:
            continue
        if STATEMENT.match(sql) and ("driftlock." in sql):
            yield str(names.get(sql, number)), sql


def _filled(part: ast.expr, texts: Mapping[str, object]) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    if isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.Name):
        return str(texts.get(part.value.id, ""))
    return ""


def _main() -> None:
    lines = [HEADER]
    for name, sql in statements(Path(sys.argv[1]) if len(sys.argv) > 1 else STORAGE).items():
        assert '"""' not in sql
        assert "\\" not in sql
        text = "\n".join(line for long in sql.strip().splitlines() for line in wrap(long, COLUMNS) or [""])
        lines.append(f'    "{name}": """\n{text}\n""",')
    sys.stdout.write("\n".join([*lines, "}", ""]))


if __name__ == "__main__":
    _main()
