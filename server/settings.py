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

from api.client_network import Network, parse_networks
from collector.otlp.cors import parse_origins
from collector.routing.file import read_rules
from collector.routing.rules import RoutingRules
from server.machine import memory_bytes, resident_streams, worker_threads
from server.setting_parsers import (
    GIB,
    KIB,
    MIB,
    parse_bytes,
    parse_choice,
    parse_int,
    parse_int_or_zero,
    parse_path,
    parse_switch,
    parse_url,
)

PREFIX = "DRIFTLOCK_"
REQUEST_BYTES_CEILING = 64 * MIB
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})
Parsed = TypeVar("Parsed")


class SettingError(ValueError):
    """A setting is unknown or unusable; the text is one line that says what to set."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; port 0 asks the system for a free one."""

    host: str
    port: int

    @property
    def text(self) -> str:
        """`host:port`, with brackets around an IPv6 host.

        >>> Address("::1", 4317).text
        '[::1]:4317'
        """
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect to it."""
        return self.host in LOOPBACK_HOSTS


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
    data_dir: Path
    database_url: str | None = field(repr=False)
    migrate_database_url: str | None = field(repr=False)
    log_format: str
    log_level: str
    seed: int
    journal_bytes_max: int
    request_bytes_max: int
    routing: RoutingRules | None
    worker_threads: int
    resident_streams: int
    trace_linger_seconds: int
    trace_idle_seconds: int
    demo: bool
    demo_requests_per_minute: int
    demo_global_requests_per_minute: int
    trusted_proxies: tuple[Network, ...]
    endpoint: str | None
    api_key: str | None = field(repr=False)
    otlp_endpoint: str | None

    @property
    def embedded(self) -> bool:
        """Whether the process brings its own PostgreSQL."""
        return self.database_url is None

    @property
    def api_key_file(self) -> Path:
        """Where the local tenant's key is kept (mode 0600)."""
        return self.data_dir / "api-key"

    @property
    def endpoints_file(self) -> Path:
        """Where a running server writes its addresses for the client commands."""
        return self.data_dir / "endpoints.json"


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable: `default` is its text when unset, `None` meaning that it has no value then."""

    name: str
    field: str
    default: str | None
    description: str
    parse: Callable[[str], object]


def parse_address(text: str) -> Address | None:
    """`host:port`, `[ipv6]:port`, or `off` (None)."""
    if text == "off":
        return None
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("put an IPv6 host in brackets, as in [::1]:4317")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError("use host:port with a port of 0..65535, or off")
    return Address(host, int(port))


def parse_target(text: str) -> str:
    """`host:port` of an OTLP/gRPC server, with or without http:// or https:// in front."""
    if "://" in text:
        return str(parse_url("http", "https")(text))
    address = parse_address(text)
    if address is None or address.port == 0:
        raise ValueError("use host:port, or http://host:port or https://host:port")
    return text


SETTINGS: tuple[Setting, ...] = (
    Setting("DRIFTLOCK_OTLP_GRPC_ADDR", "otlp_grpc", "127.0.0.1:4317", "Where OTLP/gRPC listens, or `off`.", parse_address),
    Setting("DRIFTLOCK_OTLP_HTTP_ADDR", "otlp_http", "127.0.0.1:4318", "Where OTLP/HTTP listens, or `off`.", parse_address),
    Setting(
        "DRIFTLOCK_OTLP_TLS_CERT_FILE",
        "otlp_tls_cert",
        None,
        "PEM certificate, with its chain, of both OTLP ports. Unset: OTLP without TLS. Changed files are noticed.",
        parse_path,
    ),
    Setting(
        "DRIFTLOCK_OTLP_TLS_KEY_FILE", "otlp_tls_key", None, "PEM private key of the certificate, unencrypted.", parse_path
    ),
    Setting(
        "DRIFTLOCK_OTLP_TLS_CLIENT_CA_FILE",
        "otlp_tls_client_ca",
        None,
        "PEM certificates of the authorities that sign client certificates. When it is set every client has to show one.",
        parse_path,
    ),
    Setting(
        "DRIFTLOCK_OTLP_TLS_CLIENTS_FILE",
        "otlp_tls_clients",
        None,
        "TOML table of client certificates and the tenants that they stand for.",
        parse_path,
    ),
    Setting(
        "DRIFTLOCK_OTLP_REFLECTION",
        "otlp_reflection",
        "off",
        "Whether OTLP/gRPC serves reflection, which needs no key: `on` or `off`.",
        parse_switch,
    ),
    Setting(
        "DRIFTLOCK_OTLP_CORS_ORIGINS",
        "otlp_cors_origins",
        "off",
        "Origins of web pages that may send to OTLP/HTTP, such as https://shop.example, separated by commas; `*` or `off`.",
        parse_origins,
    ),
    Setting(
        "DRIFTLOCK_HTTP_ADDR",
        "http",
        "127.0.0.1:8080",
        "Where REST listens, or `off`. When it is unset and `PORT` is set, REST listens on that port of all interfaces.",
        parse_address,
    ),
    Setting(
        "DRIFTLOCK_DATA_DIR",
        "data_dir",
        ".driftlock",
        "Folder of the embedded database, of the local API key (`api-key`) and of the running server's addresses.",
        parse_path,
    ),
    Setting(
        "DATABASE_URL",
        "database_url",
        None,
        "PostgreSQL 15 or newer, as the application's role. Unset: the embedded PostgreSQL in the data folder.",
        parse_url("postgresql", "postgres"),
    ),
    Setting(
        "DRIFTLOCK_MIGRATE_DATABASE_URL",
        "migrate_database_url",
        None,
        "The same database as the role that owns the schema; needed for migrations when `DATABASE_URL` is set.",
        parse_url("postgresql", "postgres"),
    ),
    Setting(
        "DRIFTLOCK_LOG_FORMAT",
        "log_format",
        "console",
        "Log lines for people (`console`) or for machines (`json`), on stderr.",
        parse_choice("console", "json"),
    ),
    Setting(
        "DRIFTLOCK_LOG_LEVEL",
        "log_level",
        "info",
        "Least severe level that is logged: `debug`, `info`, `warning` or `error`.",
        parse_choice("debug", "info", "warning", "error"),
    ),
    Setting(
        "DRIFTLOCK_SEED",
        "seed",
        "0",
        "What the seeds of streams are derived from, 0..2^63-1. The same records and seed give the same findings.",
        parse_int(0, 2**63 - 1),
    ),
    Setting(
        "DRIFTLOCK_JOURNAL_BYTES_MAX",
        "journal_bytes_max",
        "4GiB",
        "Room for the journal in the database. When it is full, records are refused (retryably) until older ones are applied.",
        parse_bytes(16 * MIB, 1024 * GIB),
    ),
    Setting(
        "DRIFTLOCK_REQUEST_BYTES_MAX",
        "request_bytes_max",
        "16MiB",
        "Largest OTLP request after decompression; at most 64MiB.",
        parse_bytes(64 * KIB, REQUEST_BYTES_CEILING),
    ),
    Setting(
        "DRIFTLOCK_ROUTING_FILE",
        "routing",
        None,
        "File of rules, in TOML, which stream a resource's records go to. Unset: the conventions alone.",
        read_rules,
    ),
    Setting(
        "DRIFTLOCK_WORKER_THREADS",
        "worker_threads",
        "0",
        "Detection threads, 1..64; 0 takes one per processor, at most 8. Findings do not depend on it.",
        parse_int(0, 64),
    ),
    Setting(
        "DRIFTLOCK_RESIDENT_STREAMS",
        "resident_streams",
        "0",
        "Streams kept in memory, about 256 KiB each, 100..100000; 0 takes a quarter of the machine's memory, at most 10000.",
        parse_int_or_zero(100, 100_000),
    ),
    Setting(
        "DRIFTLOCK_TRACE_LINGER_SECONDS",
        "trace_linger_seconds",
        "15",
        "How long after the end of its root a trace waits for spans that are still on their way, 1..300.",
        parse_int(1, 300),
    ),
    Setting(
        "DRIFTLOCK_TRACE_IDLE_SECONDS",
        "trace_idle_seconds",
        "120",
        "How long a trace waits for its next span, 1..3600; at least DRIFTLOCK_TRACE_LINGER_SECONDS.",
        parse_int(1, 3600),
    ),
    Setting(
        "DRIFTLOCK_DEMO",
        "demo",
        "on",
        "Whether `POST /v1/demo/detect` answers requests without a key: `on` or `off`.",
        parse_switch,
    ),
    Setting(
        "DRIFTLOCK_DEMO_REQUESTS_PER_MINUTE",
        "demo_requests_per_minute",
        "10",
        "Demo requests of one client network (IPv4 /24, IPv6 /48) a minute, 1..10000.",
        parse_int(1, 10_000),
    ),
    Setting(
        "DRIFTLOCK_DEMO_GLOBAL_REQUESTS_PER_MINUTE",
        "demo_global_requests_per_minute",
        "120",
        "Demo requests of all networks together a minute, 1..100000.",
        parse_int(1, 100_000),
    ),
    Setting(
        "DRIFTLOCK_TRUSTED_PROXIES",
        "trusted_proxies",
        "none",
        "Networks of proxies, or `none`: REST believes their X-Forwarded-For, HTTP ports do not limit their connections.",
        parse_networks,
    ),
    Setting(
        "DRIFTLOCK_ENDPOINT",
        "endpoint",
        None,
        "REST address that client commands use, as http(s)://host:port. Unset: the server of the data folder.",
        parse_url("http", "https"),
    ),
    Setting(
        "DRIFTLOCK_API_KEY",
        "api_key",
        None,
        "API key that client commands send. Unset: the key in the data folder.",
        str,
    ),
    Setting(
        "DRIFTLOCK_OTLP_ENDPOINT",
        "otlp_endpoint",
        None,
        "OTLP/gRPC address that `driftlock replay` sends to, as host:port or http(s)://host:port. Unset: as above.",
        parse_target,
    ),
)


def parse_settings(environment: Mapping[str, str]) -> Settings:
    """Settings from a mapping of variables; an empty value counts as unset. Raises `SettingError` with one line."""
    known = {setting.name for setting in SETTINGS}
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise SettingError(f"{name} is not a setting; did you mean {nearest}? Unset it or correct its name")
    values: dict[str, object] = {}
    for setting in SETTINGS:
        text = environment.get(setting.name, "").strip() or setting.default
        values[setting.field] = None if text is None else _parse(setting.name, text, setting.parse)
    port = environment.get("PORT", "").strip()
    if port and not environment.get("DRIFTLOCK_HTTP_ADDR", "").strip():
        # 0.0.0.0 on purpose: container platforms set PORT and connect from outside; keys are required there.
        values["http"] = Address("0.0.0.0", _parse("PORT", port, parse_int(1, 65535)))  # noqa: S104
    values["worker_threads"] = values["worker_threads"] or worker_threads()
    values["resident_streams"] = values["resident_streams"] or resident_streams(memory_bytes())
    if values["migrate_database_url"] is not None and values["database_url"] is None:
        raise SettingError(
            "DRIFTLOCK_MIGRATE_DATABASE_URL is set but DATABASE_URL is not: set both, or neither for the embedded database"
        )
    _check_together(values)
    settings = Settings(**values)  # type: ignore[arg-type]  # each parser returns its field's type
    if settings.trace_idle_seconds < settings.trace_linger_seconds:
        raise SettingError(
            f"DRIFTLOCK_TRACE_IDLE_SECONDS is {settings.trace_idle_seconds}, but DRIFTLOCK_TRACE_LINGER_SECONDS is "
            f"{settings.trace_linger_seconds}: a trace that lingers is idle, so set it to at least that"
        )
    return settings


# A setting of the first field is useless without one of the second.
_NEEDED = (
    ("otlp_tls_cert", "otlp_tls_key"),
    ("otlp_tls_key", "otlp_tls_cert"),
    ("otlp_tls_client_ca", "otlp_tls_cert"),
    ("otlp_tls_clients", "otlp_tls_client_ca"),
)


def _check_together(values: Mapping[str, object]) -> None:
    names = {setting.field: setting.name for setting in SETTINGS}
    for field_name, needed in _NEEDED:
        if values[field_name] is not None and values[needed] is None:
            raise SettingError(f"{names[field_name]} is set but {names[needed]} is not: set both, or neither")


def _parse(name: str, text: str, parse: Callable[[str], Parsed]) -> Parsed:
    """`parse(text)`, its complaint turned into one line that names the variable but never shows a secret's value."""
    try:
        return parse(text)
    except ValueError as error:
        shown = "" if "URL" in name or "KEY" in name else f"={text!r}"
        raise SettingError(f"{name}{shown} is not usable: {error}") from None


def read_settings() -> Settings:
    """Settings of this process's environment. Raises `SettingError`."""
    return parse_settings(os.environ)
