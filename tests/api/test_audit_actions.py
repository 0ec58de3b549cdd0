"""The audit log's actions in docs/rest.md are those that the code writes down."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from driftlock.storage.incident_actions import IncidentStatus

ROOT = Path(__file__).parent.parent.parent
ROOMS = ("driftlock", "api", "server")
NOTES = {"note", "audited"}
ACTION = re.compile(r"[a-z]+\.[a-z_]+")
PLACE = 3  # of the action among the arguments of `driftlock.storage.audit.note`


def written() -> Iterator[str]:
    """Actions in calls of `note`, and where one is a variable there, in calls that hand it over."""
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_text())):
                if isinstance(call, ast.Call):
                    yield from actions_of(call)


def actions_of(call: ast.Call) -> Iterator[str]:
    name = call.func.id if isinstance(call.func, ast.Name) else call.func.attr if isinstance(call.func, ast.Attribute) else ""
    told = [keyword.value for keyword in call.keywords if keyword.arg == "action"]
    if name in NOTES and len(call.args) > PLACE:
        told.append(call.args[PLACE])
    if name == "_changed":  # of anchors: the route says which of its changes it is
        told += [each for each in call.args if isinstance(each, ast.Constant) and ACTION.fullmatch(str(each.value))]
    for each in told:
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value
        elif isinstance(each, ast.JoinedStr) and isinstance(each.values[0], ast.Constant):
            yield from (f"{each.values[0].value}{status}" for status in (*IncidentStatus, "noted"))


def test_the_actions_of_the_audit_log_are_those_in_the_docs() -> None:
    (section,) = re.findall(r"\n## Audit log\n(.*?)\n## ", (ROOT / "docs/rest.md").read_text(), re.DOTALL)
    rows = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
    listed = [action for row in rows for action in re.findall(r"`([^`]+)`", row)]
    assert sorted(listed) == sorted(set(written()))
