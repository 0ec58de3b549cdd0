"""What the files of deploy/ start: each container of ours with its command, its environment, its ports and its probes."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
YAML = sorted(path for path in DEPLOY.rglob("*.yaml"))
SECRET = "<secret>"
KEYS_OF_SECRETS = {
    "driftlock-database-url": "DATABASE_URL",
    "driftlock-owner-database-url": "DRIFTLOCK_MIGRATE_DATABASE_URL",
    "driftlock-kafka-password": "DRIFTLOCK_KAFKA_SASL_PASSWORD",
}


@dataclass(frozen=True)
class Container:
    """One container that runs our image. `probes` are (port, path); `pod` is what it is in, where that is a pod."""

    name: str
    args: tuple[str, ...]
    environment: Mapping[str, str]
    ports: frozenset[int]
    probes: tuple[tuple[int, str], ...]
    pod: Mapping[str, Any] | None = None

    @property
    def role(self) -> str:
        return self.args[0]


def documents(path: Path) -> list[Any]:
    """All of a YAML file; raises what is wrong with it."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document is not None]


def image() -> dict[str, str]:
    """The environment of the image, from the Dockerfile's last stage."""
    stage = (ROOT / "Dockerfile").read_text().rpartition("\nFROM ")[2]
    [block] = re.findall(r"^ENV ((?:.*\\\n)*.*)$", stage, re.MULTILINE)
    return dict(item.split("=", 1) for item in block.replace("\\\n", " ").split())


def containers() -> list[Container]:
    """All of them; names say where each comes from."""
    return [*_compose(), *_kubernetes(), *_cloud_run()]


def _compose() -> Iterator[Container]:
    [file] = documents(DEPLOY / "compose.yaml")
    for name, service in file["services"].items():
        if service["image"] != "driftlock:local":
            continue
        environment = {key: re.sub(r"\$\{[^}]*\}", SECRET, str(value)) for key, value in service["environment"].items()}
        yield Container(f"compose {name}", tuple(service["command"]), environment, frozenset(), ())


def _kubernetes() -> Iterator[Container]:
    base = DEPLOY / "kubernetes" / "base"
    kept: dict[str, dict[str, str]] = {}
    for document in [*documents(base / "settings.yaml"), *documents(DEPLOY / "kubernetes" / "secret.example.yaml")]:
        kept[document["metadata"]["name"]] = document.get("data") or document["stringData"]
    for path in sorted(base.glob("*.yaml")):
        for document in documents(path):
            if document["kind"] not in {"Deployment", "StatefulSet", "Job"}:
                continue
            pod = document["spec"]["template"]["spec"]
            [container] = pod["containers"]
            environment: dict[str, str] = {}
            for source in container["envFrom"]:
                [of] = source.values()
                environment.update(kept[of["name"]])
            for variable in container.get("env", []):
                assert variable["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
                environment[variable["name"]] = f"{document['metadata']['name']}-0"
            named = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
            yield _container(f"kubernetes {container['name']}", container, environment, named, pod)


def _cloud_run() -> Iterator[Container]:
    for path in sorted((DEPLOY / "cloud-run").glob("*.yaml")):
        [document] = documents(path)
        pod = document["spec"]["template"]["spec"]
        pod = pod.get("template", {}).get("spec", pod)
        [container] = pod["containers"]
        environment = {}
        for variable in container["env"]:
            value = variable.get("value", SECRET)
            if value == SECRET:
                assert KEYS_OF_SECRETS[variable["valueFrom"]["secretKeyRef"]["name"]] == variable["name"]
            environment[variable["name"]] = value
        if document["kind"] == "Service":  # as the platform does it
            environment |= {"PORT": str(container["ports"][0]["containerPort"]), "K_SERVICE": document["metadata"]["name"]}
        if document["kind"] == "Job":
            environment |= {"CLOUD_RUN_JOB": document["metadata"]["name"]}
        if document["kind"] == "WorkerPool":
            environment |= {"CLOUD_RUN_WORKER_POOL": document["metadata"]["name"]}
        yield _container(f"cloud-run {container['name']}", container, environment, {}, None)


def _container(
    name: str, container: Mapping[str, Any], environment: Mapping[str, str], named: Mapping[str, int], pod: Any
) -> Container:
    probes = tuple(
        (named.get(found["port"], found["port"]), found["path"])
        for kind in ("startupProbe", "livenessProbe", "readinessProbe")
        if (found := container.get(kind, {}).get("httpGet")) is not None
    )
    ports = frozenset(port["containerPort"] for port in container.get("ports", []))
    return Container(name, tuple(container["args"]), environment, ports, probes, pod)


def dashboard() -> dict[str, Any]:
    """The dashboard of Grafana."""
    found: dict[str, Any] = json.loads((DEPLOY / "grafana" / "driftlock.json").read_text())
    return found


def alerts() -> list[dict[str, Any]]:
    """The rules of Prometheus."""
    [file] = documents(DEPLOY / "prometheus" / "rules.yaml")
    return [rule for group in file["groups"] for rule in group["rules"]]


def metrics() -> dict[str, set[str]]:
    """The names of metrics that alerts, the dashboard and the autoscaler ask for, by who asks."""
    asked = {rule["alert"]: rule["expr"] for rule in alerts()}
    for panel in dashboard()["panels"]:
        asked |= {f"{panel['title']} {target['refId']}": target["expr"] for target in panel.get("targets", [])}
    [scaled] = documents(DEPLOY / "kubernetes" / "keda" / "worker.yaml")
    asked["keda"] = scaled["spec"]["triggers"][0]["metadata"]["query"]
    return {who: set(re.findall(r"\b(?:driftlock|process)_[a-z_]+", expression)) for who, expression in asked.items()}
