"""What exists is documented, and what is documented exists."""

import re
from pathlib import Path

import click
import pytest

from api.routes import ENDPOINTS
from driftlock.engine.calibration import events_until_first_alarm
from driftlock.engine.limits import Limits
from driftlock.engine.profile import PROFILES
from driftlock.errors import Code
from server.cli import COMMANDS, main
from server.settings import SETTINGS
from tests.threats.rows import ROWS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def text(name: str) -> str:
    return (ROOT / name).read_text()


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_is_documented_with_its_default(setting: object) -> None:
    [row] = [line for line in text("docs/configuration.md").splitlines() if line.startswith(f"| `{setting.name}` |")]
    if setting.default is not None:
        assert f"| `{setting.default}` |" in row


def test_no_setting_is_documented_that_is_not_there() -> None:
    named = set(re.findall(r"`(DRIFTLOCK_[A-Z_]+)`", "".join(page.read_text() for page in PAGES)))
    assert named <= {setting.name for setting in SETTINGS} | {"DRIFTLOCK_BENCH_DATA"}


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
def test_every_endpoint_is_documented(endpoint: object) -> None:
    path = re.sub(r"{\w+}", "{id}", endpoint.path)
    assert f"`{endpoint.method} {path}`" in text("docs/rest.md")


@pytest.mark.parametrize("code", Code)
def test_every_error_code_is_documented(code: Code) -> None:
    assert f"| `{code}` |" in text("docs/rest.md")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_documented(name: str) -> None:
    row = next(line for line in text("docs/operations.md").splitlines() if line.startswith(f"| `driftlock {name}"))
    command = main.get_command(click.Context(main), name)
    if isinstance(command, click.Group):
        assert all(f"`{verb}`" in row or f" {verb}`" in row for verb in command.commands)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_the_stated_numbers_of_the_profiles_are_true(profile: object) -> None:
    [row] = [line for line in text("docs/concepts.md").splitlines() if line.startswith(f"| {profile.name}")]
    assert f"| {profile.ncd_threshold:.2f} | {profile.p_value_threshold:.2f} |" in row
    assert f"{profile.baseline_size} / {profile.window_size} / {profile.hop_size}" in row
    assert f"{events_until_first_alarm(profile, Limits()):,} events" in row


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_that_are_named_exist(page: Path) -> None:
    for file, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page.read_text()):
        assert (ROOT / file).exists(), f"{page.name} names {file}"
        if name:
            source = (ROOT / file).read_text()
            assert re.search(rf"^(async )?def {name}\(", source, re.MULTILINE), f"{page.name} names {file}::{name}"


def test_every_row_of_the_threat_model_is_shown_by_a_test_or_said_to_be_open() -> None:
    rows = re.findall(r"^\| (\d+(?: \d+)*) \| (.*)$", text("docs/threat-model.md"), re.MULTILINE)
    assert sorted(int(number) for numbers, _ in rows for number in numbers.split()) == list(range(1, 63))
    sent = {row.number for row in ROWS}
    for numbers, row in rows:
        assert "`tests/" in row or "reliability.md#" in row or "*Open:*" in row, numbers
        assert ("tests/threats/test_rows.py" in row) == bool(sent & {int(number) for number in numbers.split()}), numbers


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_headings_that_are_linked_exist(page: Path) -> None:
    for target, heading in re.findall(r"\]\(([\w/.-]*)#([\w-]+)\)", page.read_text()):
        linked = (page.parent / target if target else page).read_text()
        titles = re.findall(r"^#+ (.*)$", linked, re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
        assert heading in slugs | set(re.findall(r'<a id="([\w-]+)">', linked)), f"{page.name} links to {target}#{heading}"


def test_the_readme_opens_with_the_two_commands() -> None:
    head = text("README.md")[:700]
    assert head.index("make run") < head.index("make test")


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`make ([a-z-]+)`", "".join(page.read_text() for page in PAGES)))))
def test_every_make_target_named_in_the_docs_exists(target: str) -> None:
    assert re.search(rf"^{target}:", text("Makefile"), re.MULTILINE)
