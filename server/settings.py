"""Settings: every environment variable that Driftlock reads, with its default, its meaning and its check.

This is the only module that looks at the environment. A wrong value stops the start with one line that names the
variable and says what to set; an unknown `DRIFTLOCK_*` variable is an error too, because a misspelled setting that is
quietly ignored is the most expensive kind.
"""

import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from api.client_network import Network
from collector.kafka.client_settings import KafkaConnection
from collector.routing.rules import RoutingRules
from driftlock.storage.checks import UnsafeDatabase
from server.addresses import Address
from server.bridge_sources import Source
from server.kafka_settings import kafka_connection, wrong_kafka
from server.machine import memory_bytes, resident_streams, worker_threads
from server.setting_parsers import parse_int
from server.setting_table import SETTINGS as SETTINGS

PREFIX = "DRIFTLOCK_"
LISTENERS = ("otlp_grpc", "otlp_http", "http")
SECRET = ("URL", "KEY", "PASSWORD", "SECRET")
"""Parts of the names of variables whose values are never shown."""
Parsed = TypeVar("Parsed")


class SettingError(ValueError):
    """A setting is unknown or unusable; the text is one line that says what to set."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of one process, checked. Addresses are None when switched off with `off`."""

    otlp_grpc: Address | None
    otlp_http: Address | None
    otlp_tls_cert: Path | None
    otlp_tls_key: Path | None
    otlp_tls_client_ca: Path | None
    otlp_tls_clients: Path | None
    otlp_reflection: bool
    otlp_cors_origins: tuple[str, ...]
    http: Address | None
    metrics_tenants: bool
    reuse_port: bool
    data_dir: Path
    archive_dir: Path | None
    evidence_key_file: Path | None
    evidence_bytes_max: int
    unsafe_database: UnsafeDatabase
    database_url: str | None = field(repr=False)
    migrate_database_url: str | None = field(repr=False)
    log_format: str
    log_level: str
    seed: int
    journal_bytes_max: int
    backlog_bytes_max: int
    backlog_seconds_max: int
    dedup_window_seconds: int
    request_bytes_max: int
    routing: RoutingRules | None
    worker_threads: int
    resident_streams: int
    trace_linger_seconds: int
    trace_idle_seconds: int
    demo: bool
    demo_requests_per_minute: int
    demo_global_requests_per_minute: int
    cors_origins: tuple[str, ...]
    rate_limits: bool
    rate_limit_network_per_minute: int
    rate_limit_failures_per_minute: int
    trusted_proxies: tuple[Network, ...]
    firebase_project_id: str | None
    firebase_web_api_key: str | None
    firebase_auth_domain: str | None
    firebase_credentials_file: Path | None
    firebase_emulator: bool
    firebase_emulator_host: str | None
    cloud_run_service: str | None
    cloud_run_job: str | None
    cloud_run_worker_pool: str | None
    endpoint: str | None
    api_key: str | None = field(repr=False)
    otlp_endpoint: str | None
    kafka_bootstrap_servers: str | None
    kafka_topic: str
    kafka_partitions: int
    kafka_replication: int
    kafka_tenant_spread: int
    kafka_security_protocol: str
    kafka_sasl_mechanism: str | None
    kafka_sasl_username: str | None
    kafka_sasl_password: str | None = field(repr=False)
    kafka_ssl_ca_file: Path | None
    kafka_ssl_cert_file: Path | None
    kafka_ssl_key_file: Path | None
    kafka_oauth_token_endpoint: str | None
    kafka_oauth_client_id: str | None
    kafka_oauth_client_secret: str | None = field(repr=False)
    kafka_group: str
    kafka_instance_id: str | None
    kafka_session_seconds: int
    kafka_sources: tuple[Source, ...] | None
    kafka_bridge_group: str

    @property
    def kafka(self) -> KafkaConnection | None:
        """How to connect to Kafka; None where no broker is named."""
        return kafka_connection({name: getattr(self, name) for name in self.__dataclass_fields__})

    @property
    def embedded(self) -> bool:
        """Whether the process brings its own PostgreSQL."""
        return self.database_url is None

    @property
    def ephemeral(self) -> str | None:
        """The variable by which the platform says that the disk ends with the process; None elsewhere."""
        told = (
            ("K_SERVICE", self.cloud_run_service),
            ("CLOUD_RUN_JOB", self.cloud_run_job),
            ("CLOUD_RUN_WORKER_POOL", self.cloud_run_worker_pool),
        )
        return next((name for name, value in told if value is not None), None)

    @property
    def may_forget(self) -> bool:
        """Whether PostgreSQL may be set up so that it can forget what was acknowledged, as the operator wants it."""
        return self.unsafe_database in (UnsafeDatabase.SETTINGS, UnsafeDatabase.ALL)

    @property
    def api_key_file(self) -> Path:
        """Where the local tenant's key is kept (mode 0600)."""
        return self.data_dir / "api-key"

    @property
    def endpoints_file(self) -> Path:
        """Where a running server writes its addresses for the client commands."""
        return self.data_dir / "endpoints.json"


def parse_settings(environment: Mapping[str, str], port_field: str = "http") -> Settings:
    """Settings from a mapping of variables; an empty value counts as unset. Raises `SettingError` with one line.

    `port_field` is the address that `PORT` stands for, unless its own variable is set. Where that is not REST's, the other
    addresses are off unless they are set: a platform that names a port connects to no other.
    """
    known = {setting.name for setting in SETTINGS}
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise SettingError(f"{name} is not a setting; did you mean {nearest}? Unset it or correct its name")
    values: dict[str, object] = {}
    for setting in SETTINGS:
        text = environment.get(setting.name, "").strip() or setting.default
        values[setting.field] = None if text is None else _parse(setting.name, text, setting.parse)
    _take_port(environment, values, port_field)
    values["backlog_bytes_max"] = values["backlog_bytes_max"] or int(str(values["journal_bytes_max"])) // 2
    values["worker_threads"] = values["worker_threads"] or worker_threads()
    values["resident_streams"] = values["resident_streams"] or resident_streams(memory_bytes())
    if values["migrate_database_url"] is not None and values["database_url"] is None:
        raise SettingError(
            "DRIFTLOCK_MIGRATE_DATABASE_URL is set but DATABASE_URL is not: set both, or neither for the embedded database"
        )
    if values["reuse_port"] and values["database_url"] is None:
        raise SettingError(
            "DRIFTLOCK_REUSE_PORT is on but DATABASE_URL is not set: two servers can not share the embedded database; "
            "set DATABASE_URL, or leave it off"
        )
    if values["archive_dir"] is not None and values["database_url"] is not None:
        raise SettingError(
            "DRIFTLOCK_ARCHIVE_DIR is for the embedded database but DATABASE_URL is set: "
            "unset one of them, and archive with that server's own archive_command"
        )
    _check_together(values)
    _check_emulator(values)
    wrong = wrong_kafka(values)
    if wrong is not None:
        raise SettingError(wrong)
    settings = Settings(**values)  # type: ignore[arg-type]  # each parser returns its field's type
    if settings.trace_idle_seconds < settings.trace_linger_seconds:
        raise SettingError(
            f"DRIFTLOCK_TRACE_IDLE_SECONDS is {settings.trace_idle_seconds}, but DRIFTLOCK_TRACE_LINGER_SECONDS is "
            f"{settings.trace_linger_seconds}: a trace that lingers is idle, so set it to at least that"
        )
    return settings


def _take_port(environment: Mapping[str, str], values: dict[str, object], port_field: str) -> None:
    """Listen where `PORT` says. Addresses that are set win."""
    port = environment.get("PORT", "").strip()
    addresses = [setting for setting in SETTINGS if setting.field in LISTENERS]
    unset = {setting.field for setting in addresses if not environment.get(setting.name, "").strip()}
    if not port or port_field not in unset:
        return
    if port_field != "http":
        values.update(dict.fromkeys(unset))
    # 0.0.0.0 on purpose: container platforms set PORT and connect from outside; keys are required there.
    values[port_field] = Address("0.0.0.0", _parse("PORT", port, parse_int(1, 65535)))  # noqa: S104


# A setting of the first field is useless without one of the second.
_NEEDED = (
    ("otlp_tls_cert", "otlp_tls_key"),
    ("otlp_tls_key", "otlp_tls_cert"),
    ("otlp_tls_client_ca", "otlp_tls_cert"),
    ("otlp_tls_clients", "otlp_tls_client_ca"),
    ("firebase_web_api_key", "firebase_project_id"),
    ("firebase_auth_domain", "firebase_project_id"),
    ("firebase_credentials_file", "firebase_project_id"),
)


def _check_together(values: Mapping[str, object]) -> None:
    names = {setting.field: setting.name for setting in SETTINGS}
    for field_name, needed in _NEEDED:
        if values[field_name] is not None and values[needed] is None:
            raise SettingError(f"{names[field_name]} is set but {names[needed]} is not: set both, or neither")


def _check_emulator(values: Mapping[str, object]) -> None:
    """Tokens of the emulator prove nothing, so nobody else may come near a server that believes them."""
    named = values["firebase_emulator_host"] is not None
    if not values["firebase_emulator"]:
        if named and values["firebase_project_id"] is not None:
            raise SettingError(
                "FIREBASE_AUTH_EMULATOR_HOST is set, so everybody could sign in as anybody: unset it, or set "
                "DRIFTLOCK_FIREBASE_EMULATOR=on for development"
            )
        return
    if not named or values["firebase_project_id"] is None:
        raise SettingError(
            "DRIFTLOCK_FIREBASE_EMULATOR is on: set DRIFTLOCK_FIREBASE_PROJECT_ID and FIREBASE_AUTH_EMULATOR_HOST too, "
            "or leave it off"
        )
    for name in LISTENERS:
        address = values[name]
        if isinstance(address, Address) and not address.loopback:
            raise SettingError(
                f"DRIFTLOCK_FIREBASE_EMULATOR is on but {address.text} is not on loopback: other machines could sign in as "
                "anybody; listen on 127.0.0.1 only, or leave it off"
            )


def _parse(name: str, text: str, parse: Callable[[str], Parsed]) -> Parsed:
    """`parse(text)`, its complaint turned into one line that names the variable but never shows a secret's value."""
    try:
        return parse(text)
    except ValueError as error:
        shown = "" if any(part in name for part in SECRET) else f"={text!r}"
        raise SettingError(f"{name}{shown} is not usable: {error}") from None


def read_settings(port_field: str = "http") -> Settings:
    """Settings of this process's environment, as `parse_settings` reads them. Raises `SettingError`."""
    return parse_settings(os.environ, port_field)
