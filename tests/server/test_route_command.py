"""`driftlock route`, and the setting that names the file of rules."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from collector.routing.conventions import ENVIRONMENTS, INSTANCES, NAMESPACE_FALLBACKS, NAMESPACES, SERVICE_FALLBACKS
from collector.routing.file import FILE_BYTES_MAX
from server.cli import main
from server.settings import SettingError, parse_settings

RULES = '[[rule]]\nname = "nightly"\nsignals = ["logs"]\nmatch = {"service.name" = "n-*"}\nstream = "jobs"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "routing.toml"
    path.write_text(RULES)
    return path


def run(*words: str, **environment: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["route", *words], env={"DRIFTLOCK_ROUTING_FILE": None, **environment})
    return result.exit_code, result.output


def test_it_shows_the_stream_and_where_its_parts_are_from() -> None:
    code, shown = run("--signal", "logs", "service.name=cart", "k8s.pod.name=p", "deployment.environment=prod")
    assert code == 0
    assert shown.splitlines() == [
        "logs:cart@prod  (cart.prod)",
        "  decided by   no rule",
        "  service      cart  (service.name)",
        "  environment  prod  (deployment.environment)",
        "  instance     p  (k8s.pod.name)",
    ]


def test_it_shows_all_signals_and_the_rule_that_decided(file: Path) -> None:
    for found in (run("--file", str(file), "service.name=n-1"), run("service.name=n-1", DRIFTLOCK_ROUTING_FILE=str(file))):
        code, shown = found
        assert code == 0
        assert shown.splitlines()[:3] == ["logs:jobs  (jobs)", "  decided by   nightly", "  stream       jobs  (rule: stream)"]
        assert "metrics:n-1" in shown
        assert "traces:n-1" in shown


def test_it_warns_of_resources_that_say_nothing() -> None:
    code, shown = run("--signal", "traces", "driftlock.historical=true")
    assert code == 0
    assert shown.startswith("traces:unknown_service")
    assert "a replay of the past" in shown
    assert "set service.name, or write a rule" in shown


def test_mistakes_are_one_line(file: Path, tmp_path: Path) -> None:
    assert run("service.name")[0] == 2
    file.write_text("a = ")
    code, shown = run("--file", str(file), "a=b")
    assert code == 2
    assert "it is not TOML" in shown
    code, shown = run("--file", str(tmp_path / "none"), "a=b")
    assert code == 2
    assert "No such file" in shown
    code, shown = run("a=b", DRIFTLOCK_ROUTING_FILE=str(file))
    assert code == 1
    assert shown.startswith("Error: DRIFTLOCK_ROUTING_FILE=")


def test_what_is_shown_is_visible() -> None:
    assert "\x1b" not in run("driftlock.stream_id=a\x1b[31m", "service.name=\x1b")[1]


def test_the_setting_is_read_and_checked_at_once(file: Path, tmp_path: Path) -> None:
    settings = parse_settings({"DRIFTLOCK_ROUTING_FILE": str(file)})
    assert settings.routing is not None
    assert [rule.name for rule in settings.routing.rules] == ["nightly"]
    assert parse_settings({}).routing is None
    file.write_text(RULES + "[[rule]]\nstream = 3")
    with pytest.raises(SettingError, match=r"DRIFTLOCK_ROUTING_FILE=.* is not usable: rule 2: stream: use a text"):
        parse_settings({"DRIFTLOCK_ROUTING_FILE": str(file)})
    with pytest.raises(SettingError, match="can not be read: No such file"):
        parse_settings({"DRIFTLOCK_ROUTING_FILE": str(tmp_path / "none")})
    file.write_text("#" * (FILE_BYTES_MAX + 1))
    with pytest.raises(SettingError, match="more than 262144 bytes"):
        parse_settings({"DRIFTLOCK_ROUTING_FILE": str(file)})


def test_what_the_documentation_shows_is_true(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "otlp.md").read_text()
    section = page.partition("## From resource to stream")[2].partition("## What becomes of a record")[0]
    for name in (*SERVICE_FALLBACKS, *INSTANCES, *NAMESPACES, *NAMESPACE_FALLBACKS, *ENVIRONMENTS):
        assert f"`{name}`" in section
    example = tmp_path / "routing.toml"
    example.write_text(section.partition("```toml\n")[2].partition("```")[0])
    command, _, shown = section.partition("$ driftlock route ")[2].partition("```")[0].partition("\n")
    words = command.replace("routing.toml", str(example)).split()
    assert run(*words) == (0, shown)
