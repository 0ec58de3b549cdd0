"""What the start banner says to be pasted, with and without TLS; and what client commands find."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from server.banner import Running
from server.client import find_endpoints
from server.settings import parse_settings

PLAIN = Running(
    version="1.2",
    rest="http://127.0.0.1:8080",
    otlp_grpc="127.0.0.1:4317",
    otlp_http="127.0.0.1:4318",
    api_key="dl_key",
    anonymous=True,
    api_key_file="/d/api-key",
    data_dir="/d",
    startup_ms=7,
)
TLS = replace(PLAIN, tls=True)
MUTUAL = replace(TLS, client_certificates=True)


def test_without_tls() -> None:
    shown = PLAIN.banner().splitlines()
    for line in (
        "  OTLP/gRPC  127.0.0.1:4317",
        "  OTLP/HTTP  http://127.0.0.1:4318",
        "  REST       http://127.0.0.1:8080",
        "  API key    dl_key  (also in /d/api-key; on this machine none is needed)",
        "    tls: {insecure: true}",
        "  export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317 OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
        "Or replay a log file: driftlock replay app.log",
    ):
        assert line in shown
    assert "ca.pem" not in PLAIN.banner()


def test_with_tls() -> None:
    shown = TLS.banner().splitlines()
    for line in (
        "  OTLP/gRPC  https://127.0.0.1:4317",
        "  OTLP/HTTP  https://127.0.0.1:4318",
        "  REST       http://127.0.0.1:8080",
        "    endpoint: 127.0.0.1:4317",
        "    tls: {ca_file: ca.pem}",
        "  export OTEL_EXPORTER_OTLP_ENDPOINT=https://127.0.0.1:4317 OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
        "  export OTEL_EXPORTER_OTLP_CERTIFICATE=ca.pem",
        "Or replay a log file: GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=ca.pem driftlock replay app.log",
    ):
        assert line in shown
    assert "insecure" not in TLS.banner()
    assert "client" not in TLS.banner()


def test_with_client_certificates() -> None:
    shown = MUTUAL.banner().splitlines()
    for line in (
        "  API key    dl_key  (also in /d/api-key; for REST on this machine none is needed)",
        "    tls: {ca_file: ca.pem, cert_file: client.pem, key_file: client-key.pem}",
        "  export OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=client.pem OTEL_EXPORTER_OTLP_CLIENT_KEY=client-key.pem",
    ):
        assert line in shown
    assert "driftlock replay" not in MUTUAL.banner()  # it has no certificate to show


def test_doors_that_are_off_are_not_shown() -> None:
    shown = replace(TLS, otlp_grpc=None, otlp_http=None, api_key=None)
    assert "OTLP" not in shown.banner()
    assert shown.endpoints() == {"http": "http://127.0.0.1:8080"}


@pytest.mark.parametrize(
    ("running", "otlp"), [(PLAIN, "127.0.0.1:4317"), (TLS, "https://127.0.0.1:4317")], ids=["plain", "tls"]
)
def test_client_commands_find_the_way_to_speak(running: Running, otlp: str, tmp_path: Path) -> None:
    settings = parse_settings({"DRIFTLOCK_DATA_DIR": str(tmp_path)})
    settings.endpoints_file.write_text(json.dumps(running.endpoints()))
    found = find_endpoints(settings)
    assert (found.rest, found.otlp_grpc) == ("http://127.0.0.1:8080", otlp)
