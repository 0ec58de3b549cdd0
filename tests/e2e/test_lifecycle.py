"""Start, stop and refusal of a real `driftlock serve`."""

import json
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.e2e.harness import Server, wait_for

pytestmark = pytest.mark.e2e
Make = Callable[..., Server]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything_and_exits_with_0(make_server: Make, number: signal.Signals) -> None:
    server = make_server()
    server.start()
    assert server.postgres()
    assert server.signal(number) == 0
    assert server.postgres() == []
    assert not (server.data_dir / "endpoints.json").exists()
    assert "Traceback" not in server.output.read_text()


def test_a_killed_server_takes_its_postgresql_along_and_starts_again(make_server: Make) -> None:
    server = make_server()
    server.start()
    server.kill()
    server.start()
    assert server.signal(signal.SIGTERM) == 0


def test_the_second_start_keeps_the_key(make_server: Make) -> None:
    server = make_server()
    server.start()
    key_file = server.data_dir / "api-key"
    key = key_file.read_text()
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    wait_for("the banner", lambda: key.strip() in server.output.read_text())
    server.signal(signal.SIGTERM)
    server.start()
    assert key_file.read_text() == key
    assert httpx.get(f"{server.rest}/v1/streams", headers={"X-Api-Key": key.strip()}).status_code == 200


def test_the_banner_and_the_endpoints_file_name_the_addresses(server: Server) -> None:
    assert json.loads((server.data_dir / "endpoints.json").read_text()) == {
        "http": server.rest,
        "otlp_grpc": f"127.0.0.1:{server.grpc_port}",
        "otlp_http": f"127.0.0.1:{server.otlp_http_port}",
    }
    banner = wait_for("the banner", server.output.read_text)
    assert f"endpoint: 127.0.0.1:{server.grpc_port}" in banner
    assert f"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:{server.grpc_port}" in banner


def test_a_wrong_key_is_refused_and_none_is_needed_on_loopback(server: Server) -> None:
    assert httpx.get(f"{server.rest}/v1/streams").status_code == 200
    assert httpx.get(f"{server.rest}/v1/streams", headers={"X-Api-Key": "dl_local_wrong"}).status_code == 401
    foreign = {"Origin": "https://evil.example"}
    assert httpx.get(f"{server.rest}/v1/streams", headers=foreign).status_code == 401
    assert httpx.get(f"{server.rest}/v1/streams", headers={"Host": "rebound.example"}).status_code == 401


def test_a_listener_on_all_interfaces_needs_a_key_even_from_loopback(make_server: Make) -> None:
    server = make_server()
    server.environment["DRIFTLOCK_HTTP_ADDR"] = f"0.0.0.0:{server.http_port}"
    server.start()
    assert httpx.get(f"{server.rest}/v1/streams").status_code == 401
    key = (server.data_dir / "api-key").read_text().strip()
    assert httpx.get(f"{server.rest}/v1/streams", headers={"X-Api-Key": key}).status_code == 200


@pytest.mark.parametrize("variable", ["DRIFTLOCK_HTTP_ADDR", "DRIFTLOCK_OTLP_GRPC_ADDR", "DRIFTLOCK_OTLP_HTTP_ADDR"])
def test_a_busy_port_is_one_line(make_server: Make, variable: str) -> None:
    server = make_server()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server.environment[variable] = f"127.0.0.1:{port}"
        done = server.run("serve", timeout_s=60)
    assert done.returncode == 1
    error = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(error) == 1
    assert f"127.0.0.1:{port}" in error[0]
    assert "Traceback" not in done.stderr
    assert server.postgres() == []


def test_a_second_server_on_one_data_folder_is_refused(make_server: Make, server: Server) -> None:
    other = make_server("other")
    other.environment["DRIFTLOCK_DATA_DIR"] = str(server.data_dir)
    done = other.run("serve")
    assert done.returncode == 1
    assert "is in use by another driftlock" in done.stderr
    assert server.ready()


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}, "DATABASE_URL: can not connect"),
        ({"DATABASE_URL": "mysql://host/db"}, "DATABASE_URL is not usable"),
        ({"DRIFTLOCK_GRPC_ADDR": "x"}, "did you mean DRIFTLOCK_OTLP_GRPC_ADDR"),
    ],
)
def test_a_wrong_setting_is_one_line(make_server: Make, variables: dict[str, str], told: str) -> None:
    done = make_server(**variables).run("serve", timeout_s=60)
    assert done.returncode == 1
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_data_folder_that_is_a_file_is_one_line(make_server: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    server = make_server()
    server.environment["DRIFTLOCK_DATA_DIR"] = str(tmp_path / "file" / "data")
    done = server.run("serve")
    assert done.returncode == 1
    assert "set DRIFTLOCK_DATA_DIR to a folder" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_doctor_finds_nothing_to_do(make_server: Make, server: Server) -> None:
    done = server.run("doctor")
    assert done.returncode == 0, done.stdout
    assert "ok    database: reachable" in done.stdout
    assert "lag: 0 journal rows" in done.stdout
    fresh = make_server("fresh").run("doctor")
    assert fresh.returncode == 0, fresh.stdout
    assert "not running now" in fresh.stdout


def test_tenants_and_keys_beside_a_running_server(server: Server) -> None:
    assert server.run("tenant", "create", "acme").returncode == 0
    again = server.run("tenant", "create", "acme")
    assert (again.returncode, "already" in again.stderr) == (1, True)
    assert {line.split()[1] for line in server.run("tenant", "list").stdout.splitlines()} == {"local", "acme"}
    key = server.run("key", "create", "--tenant", "acme", "--name", "laptop", "--scope", "read", "--days", "7").stdout.strip()
    headers = {"X-Api-Key": key}
    assert httpx.get(f"{server.rest}/v1/streams", headers=headers).status_code == 200
    detect = httpx.post(f"{server.rest}/v1/detect", headers=headers, json={"events": ["x"]})
    assert detect.status_code == 403
    (line,) = server.run("key", "list", "--tenant", "acme").stdout.splitlines()
    key_id = line.split()[0]
    assert key_id in key
    assert "read laptop" in line
    assert server.run("key", "revoke", key_id, "--tenant", "acme").returncode == 0
    assert "revoked" in server.run("key", "list", "--tenant", "acme").stdout
    assert server.run("key", "revoke", "missing", "--tenant", "acme").returncode == 1
    assert server.run("tenant", "delete", "acme", "--yes").returncode == 0
    assert server.run("key", "list", "--tenant", "acme").returncode == 1
    assert server.run("migrate").stdout.startswith("the database is at schema")
