"""The files of deploy/ name only what exists. What the tools of others say of them is in docs/deploy.md."""

import re
from pathlib import Path

import pytest

from server.cli import COMMANDS
from server.settings import SETTINGS, parse_settings
from tests.deploy.manifests import DEPLOY, ROOT, SECRET, YAML, Container, alerts, containers, dashboard, documents, image

OURS = containers()
NAMES = {setting.name for setting in SETTINGS} | {"PORT"}
PODS = [it for it in OURS if it.pod is not None]


def by_name(it: Container) -> str:
    return it.name


@pytest.mark.parametrize("path", YAML, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_file_is_yaml(path: Path) -> None:
    assert documents(path)


def test_each_way_to_deploy_has_every_role() -> None:
    roles = {"migrate", "gateway", "worker", "api"}
    for way in ("compose", "kubernetes", "cloud-run"):
        assert {it.role for it in OURS if it.name.startswith(way)} == roles


@pytest.mark.parametrize("it", OURS, ids=by_name)
def test_every_variable_is_a_setting_and_every_command_exists(it: Container) -> None:
    assert set(it.environment) <= NAMES
    assert it.role in COMMANDS


def test_the_image_sets_settings() -> None:
    assert set(image()) - {"PATH", "PYTHONUNBUFFERED"} <= NAMES


@pytest.mark.parametrize("it", OURS, ids=by_name)
def test_the_settings_of_each_fit_together(it: Container) -> None:
    given = {name: value for name, value in {**image(), **it.environment}.items() if name in NAMES}
    urls = {name: "postgresql://driftlock_app@db/driftlock" for name, value in given.items() if value == SECRET}
    parse_settings({**given, **urls}, "otlp_http" if it.role == "gateway" else "http")


@pytest.mark.parametrize("it", OURS, ids=by_name)
def test_shards_are_as_many_as_partitions(it: Container) -> None:
    if it.role == "migrate":
        assert it.args[1:] == ("--shards", "16")
    else:
        assert it.environment["DRIFTLOCK_KAFKA_PARTITIONS"] == "16"


@pytest.mark.parametrize("it", PODS, ids=by_name)
def test_services_become_no_variables_of_pods(it: Container) -> None:
    """A Service called driftlock-gateway would be DRIFTLOCK_GATEWAY_PORT, which is no setting, so nothing would start."""
    assert it.pod is not None
    assert it.pod["enableServiceLinks"] is False


@pytest.mark.parametrize("it", PODS, ids=by_name)
def test_pods_run_as_the_user_of_the_image_and_write_nothing(it: Container) -> None:
    assert it.pod is not None
    [user] = re.findall(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)  # numbers: names prove nothing
    security = it.pod["securityContext"]
    assert (str(security["runAsUser"]), str(security["runAsGroup"]), security["runAsNonRoot"]) == (*user, True)
    of_container = it.pod["containers"][0]["securityContext"]
    assert of_container["readOnlyRootFilesystem"] is True
    assert of_container["allowPrivilegeEscalation"] is False


def test_the_image_has_the_clients_that_roles_need() -> None:
    assert "e['kafka']" in (ROOT / "Dockerfile").read_text()


def test_ports_are_published_on_loopback_only() -> None:
    [compose] = documents(DEPLOY / "compose.yaml")
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_trusted_proxy_of_compose_is_the_balancer() -> None:
    [compose] = documents(DEPLOY / "compose.yaml")
    address = compose["services"]["balancer"]["networks"]["default"]["ipv4_address"]
    assert compose["x-settings"]["DRIFTLOCK_TRUSTED_PROXIES"] == address


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_every_alert_says_what_to_do_and_is_tried(rule: dict[str, object]) -> None:
    told, name = rule["annotations"], rule["alert"]
    assert isinstance(told, dict)
    assert set(told) == {"summary", "action", "runbook_url"}
    assert told["runbook_url"].endswith(f"docs/operations.md#{str(name).lower()}")
    assert f'<a id="{str(name).lower()}"></a>' in (ROOT / "docs" / "operations.md").read_text()
    [tried] = documents(DEPLOY / "prometheus" / "rules.test.yaml")
    assert name in {test["name"] for test in tried["tests"]}


def test_panels_have_ids_of_their_own_and_ask_the_chosen_data_source() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(target["datasource"]["uid"] == "${datasource}" for panel in panels for target in panel.get("targets", []))
