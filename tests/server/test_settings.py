from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.storage.checks import UnsafeDatabase
from server.addresses import Address, parse_address
from server.setting_parsers import GIB, MIB
from server.settings import SETTINGS, SettingError, Settings, parse_settings


def test_defaults_listen_on_loopback_only() -> None:
    settings = parse_settings({})
    assert settings.otlp_grpc == Address("127.0.0.1", 4317)
    assert settings.otlp_http == Address("127.0.0.1", 4318)
    assert settings.http == Address("127.0.0.1", 8080)
    assert settings.embedded
    assert settings.data_dir == Path(".driftlock")
    assert (settings.request_bytes_max, settings.journal_bytes_max) == (16 * MIB, 4 * GIB)
    assert 1 <= settings.worker_threads <= 8
    assert 500 <= settings.resident_streams <= 10_000
    assert (settings.demo, settings.demo_requests_per_minute, settings.demo_global_requests_per_minute) == (True, 10, 120)
    assert settings.trusted_proxies == ()
    assert (settings.trace_linger_seconds, settings.trace_idle_seconds) == (15, 120)


def test_every_field_has_one_setting_and_every_setting_a_description() -> None:
    assert sorted(setting.field for setting in SETTINGS) == sorted(Settings.__dataclass_fields__)
    assert all(setting.description.endswith(".") for setting in SETTINGS)
    assert len({setting.name for setting in SETTINGS}) == len(SETTINGS)


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("DRIFTLOCK_OTLP_GRPC_ADDR", "[::1]:0", "otlp_grpc", Address("::1", 0)),
        ("DRIFTLOCK_OTLP_HTTP_ADDR", "off", "otlp_http", None),
        ("DRIFTLOCK_OTLP_REFLECTION", "on", "otlp_reflection", True),
        ("DRIFTLOCK_HTTP_ADDR", "0.0.0.0:80", "http", Address("0.0.0.0", 80)),  # noqa: S104
        ("DRIFTLOCK_DATA_DIR", "/srv/x", "data_dir", Path("/srv/x")),
        ("DRIFTLOCK_ARCHIVE_DIR", "/srv/log", "archive_dir", Path("/srv/log")),
        ("DRIFTLOCK_EVIDENCE_KEY_FILE", "/run/key.pem", "evidence_key_file", Path("/run/key.pem")),
        ("DRIFTLOCK_EVIDENCE_BYTES_MAX", "1GiB", "evidence_bytes_max", 2**30),
        ("DRIFTLOCK_UNSAFE_DATABASE", "role", "unsafe_database", UnsafeDatabase.ROLE),
        ("DATABASE_URL", "postgresql:///drift?host=/run/pg", "database_url", "postgresql:///drift?host=/run/pg"),
        ("DRIFTLOCK_LOG_FORMAT", "json", "log_format", "json"),
        ("DRIFTLOCK_LOG_LEVEL", "debug", "log_level", "debug"),
        ("DRIFTLOCK_SEED", "7", "seed", 7),
        ("DRIFTLOCK_JOURNAL_BYTES_MAX", "2GiB", "journal_bytes_max", 2 * GIB),
        ("DRIFTLOCK_BACKLOG_BYTES_MAX", "1GiB", "backlog_bytes_max", GIB),
        ("DRIFTLOCK_BACKLOG_SECONDS_MAX", "60", "backlog_seconds_max", 60),
        ("DRIFTLOCK_REQUEST_BYTES_MAX", "1048576", "request_bytes_max", MIB),
        ("DRIFTLOCK_WORKER_THREADS", "3", "worker_threads", 3),
        ("DRIFTLOCK_RESIDENT_STREAMS", "100", "resident_streams", 100),
        ("DRIFTLOCK_TRACE_LINGER_SECONDS", "2", "trace_linger_seconds", 2),
        ("DRIFTLOCK_TRACE_IDLE_SECONDS", "3600", "trace_idle_seconds", 3600),
        ("DRIFTLOCK_DEMO", "off", "demo", False),
        ("DRIFTLOCK_DEMO_REQUESTS_PER_MINUTE", "3", "demo_requests_per_minute", 3),
        ("DRIFTLOCK_DEMO_GLOBAL_REQUESTS_PER_MINUTE", "100000", "demo_global_requests_per_minute", 100_000),
        (
            "DRIFTLOCK_TRUSTED_PROXIES",
            "10.0.0.0/8, ::1",
            "trusted_proxies",
            (IPv4Network("10.0.0.0/8"), IPv6Network("::1/128")),
        ),
        ("DRIFTLOCK_ENDPOINT", "https://drift.example/", "endpoint", "https://drift.example"),
        ("DRIFTLOCK_API_KEY", "dl_x", "api_key", "dl_x"),
        ("DRIFTLOCK_OTLP_ENDPOINT", "10.0.0.1:4317", "otlp_endpoint", "10.0.0.1:4317"),
        ("DRIFTLOCK_OTLP_ENDPOINT", "https://drift.example:4317", "otlp_endpoint", "https://drift.example:4317"),
    ],
)
def test_each_variable_sets_its_field(name: str, text: str, field: str, value: object) -> None:
    assert getattr(parse_settings({name: text}), field) == value


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("DRIFTLOCK_OTLP_GRPC_ADDR", "4317", "host:port"),
        ("DRIFTLOCK_OTLP_GRPC_ADDR", "::1:4317", "brackets"),
        ("DRIFTLOCK_HTTP_ADDR", "127.0.0.1:65536", "0..65535"),
        ("DRIFTLOCK_HTTP_ADDR", "127.0.0.1:٣", "0..65535"),
        ("DATABASE_URL", "mysql://host/db", "postgresql://"),
        ("DRIFTLOCK_UNSAFE_DATABASE", "on", "none, settings, role, all"),
        ("DATABASE_URL", "postgresql://host:port/db", "postgresql://"),
        ("DRIFTLOCK_LOG_FORMAT", "xml", "console, json"),
        ("DRIFTLOCK_LOG_LEVEL", "loud", "warning"),
        ("DRIFTLOCK_SEED", "-1", "from 0 to"),
        ("DRIFTLOCK_JOURNAL_BYTES_MAX", "1MiB", str(16 * MIB)),
        ("DRIFTLOCK_BACKLOG_BYTES_MAX", "1", "or 0"),
        ("DRIFTLOCK_BACKLOG_SECONDS_MAX", "9", "from 10 to 604800"),
        ("DRIFTLOCK_REQUEST_BYTES_MAX", "65MiB", str(64 * MIB)),
        ("DRIFTLOCK_REQUEST_BYTES_MAX", "16 megabytes", "KiB"),
        ("DRIFTLOCK_WORKER_THREADS", "65", "64"),
        ("DRIFTLOCK_TRACE_LINGER_SECONDS", "0", "from 1 to 300"),
        ("DRIFTLOCK_TRACE_LINGER_SECONDS", "301", "from 1 to 300"),
        ("DRIFTLOCK_TRACE_IDLE_SECONDS", "3601", "from 1 to 3600"),
        ("DRIFTLOCK_TRACE_IDLE_SECONDS", "14", "at least that"),
        ("DRIFTLOCK_DEMO", "yes", "on, off"),
        ("DRIFTLOCK_DEMO_REQUESTS_PER_MINUTE", "0", "from 1 to 10000"),
        ("DRIFTLOCK_DEMO_GLOBAL_REQUESTS_PER_MINUTE", "1e3", "from 1 to 100000"),
        ("DRIFTLOCK_TRUSTED_PROXIES", "10.0.0.1/8", "10.0.0.0/8"),
        ("DRIFTLOCK_TRUSTED_PROXIES", "0.0.0.0/0", "everybody"),
        ("DRIFTLOCK_ENDPOINT", "localhost:8080", "http://"),
        ("DRIFTLOCK_OTLP_ENDPOINT", "off", "host:port"),
        ("DRIFTLOCK_DATA_DIR", "~nobody-of-this-name/x", "use the whole path"),
        ("DRIFTLOCK_OTLP_TLS_CERT_FILE", "~nobody-of-this-name/x", "use the whole path"),
        ("DRIFTLOCK_ROUTING_FILE", "~nobody-of-this-name/x", "can not be read"),
        ("PORT", "http", "from 1 to 65535"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_variable(name: str, text: str, told: str) -> None:
    with pytest.raises(SettingError) as caught:
        parse_settings({name: text})
    assert str(caught.value).startswith(name)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_secret_is_never_shown() -> None:
    with pytest.raises(SettingError) as caught:
        parse_settings({"DATABASE_URL": "mysql://user:hunter2@host/db"})
    assert "hunter2" not in str(caught.value)
    shown = repr(parse_settings({"DATABASE_URL": "postgresql://user:hunter2@host/db", "DRIFTLOCK_API_KEY": "dl_secret"}))
    assert "hunter2" not in shown
    assert "dl_secret" not in shown


def test_an_unknown_variable_names_the_nearest() -> None:
    with pytest.raises(SettingError, match="DRIFTLOCK_GRPC_ADDR is not a setting; did you mean DRIFTLOCK_OTLP_GRPC_ADDR"):
        parse_settings({"DRIFTLOCK_GRPC_ADDR": "127.0.0.1:1"})


def test_an_empty_value_is_unset() -> None:
    assert parse_settings({"DRIFTLOCK_SEED": "", "PORT": " "}) == parse_settings({})


def test_port_opens_rest_on_all_interfaces_unless_an_address_is_set() -> None:
    assert parse_settings({"PORT": "9000"}).http == Address("0.0.0.0", 9000)  # noqa: S104
    assert parse_settings({"PORT": "9000", "DRIFTLOCK_HTTP_ADDR": "127.0.0.1:1"}).http == Address("127.0.0.1", 1)


def test_a_migration_role_without_a_database_is_an_error() -> None:
    with pytest.raises(SettingError, match="DATABASE_URL"):
        parse_settings({"DRIFTLOCK_MIGRATE_DATABASE_URL": "postgresql://owner@host/db"})


@given(host=st.sampled_from(["127.0.0.1", "::1", "example.org", "fe80::1"]), port=st.integers(0, 65535))
def test_an_address_survives_its_own_text(host: str, port: int) -> None:
    assert parse_address(Address(host, port).text) == Address(host, port)


@given(st.dictionaries(st.sampled_from([setting.name for setting in SETTINGS]), st.text(max_size=20)))
def test_any_text_is_parsed_or_refused_cleanly(environment: dict[str, str]) -> None:
    try:
        parse_settings(environment)
    except SettingError as error:
        assert "\n" not in str(error)  # noqa: PT017


CERT, KEY, CA, CLIENTS = (f"DRIFTLOCK_OTLP_TLS_{what}_FILE" for what in ("CERT", "KEY", "CLIENT_CA", "CLIENTS"))


@pytest.mark.parametrize(
    ("given", "missing"),
    [((CERT,), KEY), ((KEY,), CERT), ((CA,), CERT), ((CLIENTS,), CA), ((CERT, KEY, CLIENTS), CA), ((CA, CLIENTS), CERT)],
)
def test_tls_settings_that_belong_together(given: tuple[str, ...], missing: str) -> None:
    with pytest.raises(SettingError, match=f"is set but {missing} is not: set both, or neither"):
        parse_settings(dict.fromkeys(given, "/x"))


def test_tls_settings() -> None:
    settings = parse_settings({CERT: "a", KEY: "b", CA: "c", CLIENTS: "d"})
    assert (settings.otlp_tls_cert, settings.otlp_tls_key) == (Path("a"), Path("b"))
    assert (settings.otlp_tls_client_ca, settings.otlp_tls_clients) == (Path("c"), Path("d"))
    assert (parse_settings({}).otlp_tls_cert, parse_settings({}).otlp_reflection) == (None, False)


def test_half_of_the_journal_may_wait_unless_said_otherwise() -> None:
    assert parse_settings({}).backlog_bytes_max == 2 * GIB
    assert parse_settings({"DRIFTLOCK_JOURNAL_BYTES_MAX": "16MiB"}).backlog_bytes_max == 8 * MIB
    given = {"DRIFTLOCK_JOURNAL_BYTES_MAX": "16MiB", "DRIFTLOCK_BACKLOG_BYTES_MAX": "3MiB"}
    assert parse_settings(given).backlog_bytes_max == 3 * MIB


def test_the_archive_is_of_the_embedded_database() -> None:
    with pytest.raises(SettingError, match="DRIFTLOCK_ARCHIVE_DIR is for the embedded database"):
        parse_settings({"DRIFTLOCK_ARCHIVE_DIR": "/srv/log", "DATABASE_URL": "postgresql://host/db"})
