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
from urllib.parse import urlsplit

from api.client_network import Network, parse_networks

PREFIX = "DRIFTLOCK_"
KIB, MIB, GIB = 1024, 1024**2, 1024**3
REQUEST_BYTES_CEILING = 64 * MIB
WORKER_THREADS_AUTO_MAX = 8
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
    http: Address | None
    data_dir: Path
    database_url: str | None = field(repr=False)
    migrate_database_url: str | None = field(repr=False)
    log_format: str
    log_level: str
    seed: int
    journal_bytes_max: int
    request_bytes_max: int
    worker_threads: int
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


def parse_bytes(low: int, high: int) -> Callable[[str], int]:
    """A parser of byte counts from `low` to `high`, such as 1048576, 512KiB, 16MiB or 4GiB."""

    def parse(text: str) -> int:
        number, unit = text, 1
        for suffix, size in (("KiB", KIB), ("MiB", MIB), ("GiB", GIB)):
            if text.endswith(suffix):
                number, unit = text.removesuffix(suffix).rstrip(), size
        if not (number.isascii() and number.isdigit() and low <= int(number) * unit <= high):
            raise ValueError(f"use a number of bytes from {low} to {high}, plain or with KiB, MiB or GiB")
        return int(number) * unit

    return parse


def parse_int(low: int, high: int) -> Callable[[str], int]:
    """A parser of whole numbers from `low` to `high`."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise ValueError(f"use a whole number from {low} to {high}")
        return int(text)

    return parse


def parse_choice(*choices: str) -> Callable[[str], str]:
    """A parser of one word out of a few."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"use one of {', '.join(choices)}")
        return text

    return parse


def parse_switch(text: str) -> bool:
    """`on` or `off`."""
    return parse_choice("on", "off")(text) == "on"


def parse_url(*schemes: str) -> Callable[[str], str]:
    """A parser of URLs with a host and one of `schemes`."""

    def parse(text: str) -> str:
        try:
            parts = urlsplit(text)
            usable = parts.scheme in schemes and (parts.hostname is not None or parts.scheme.startswith("postgres"))
            _ = parts.port
        except ValueError:
            usable = False
        if not usable:
            raise ValueError(f"use {' or '.join(f'{scheme}://host:port' for scheme in schemes)}")
        return text.rstrip("/") if parts.scheme.startswith("http") else text

    return parse


def parse_target(text: str) -> str:
    """`host:port` of an OTLP/gRPC server, with or without http:// or https:// in front."""
    if "://" in text:
        return str(parse_url("http", "https")(text))
    address = parse_address(text)
    if address is None or address.port == 0:
        raise ValueError("use host:port, or http://host:port or https://host:port")
    return text


def parse_path(text: str) -> Path:
    """A folder; `~` is the home folder, a relative path starts at the working folder."""
    if "\x00" in text:
        raise ValueError("use the path of a folder")
    return Path(text).expanduser()


SETTINGS: tuple[Setting, ...] = (
    Setting("DRIFTLOCK_OTLP_GRPC_ADDR", "otlp_grpc", "127.0.0.1:4317", "Where OTLP/gRPC listens, or `off`.", parse_address),
    Setting("DRIFTLOCK_OTLP_HTTP_ADDR", "otlp_http", "127.0.0.1:4318", "Where OTLP/HTTP listens, or `off`.", parse_address),
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
        "DRIFTLOCK_WORKER_THREADS",
        "worker_threads",
        "0",
        "Detection threads, 1..64; 0 takes one per processor, at most 8. Findings do not depend on it.",
        parse_int(0, 64),
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
        "Networks of the proxies in front of REST whose X-Forwarded-For is believed, separated by commas, or `none`.",
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
    if values["worker_threads"] == 0:
        values["worker_threads"] = min(os.cpu_count() or 1, WORKER_THREADS_AUTO_MAX)
    if values["migrate_database_url"] is not None and values["database_url"] is None:
        raise SettingError(
            "DRIFTLOCK_MIGRATE_DATABASE_URL is set but DATABASE_URL is not: set both, or neither for the embedded database"
        )
    settings = Settings(**values)  # type: ignore[arg-type]  # each parser returns its field's type
    if settings.trace_idle_seconds < settings.trace_linger_seconds:
        raise SettingError(
            f"DRIFTLOCK_TRACE_IDLE_SECONDS is {settings.trace_idle_seconds}, but DRIFTLOCK_TRACE_LINGER_SECONDS is "
            f"{settings.trace_linger_seconds}: a trace that lingers is idle, so set it to at least that"
        )
    return settings


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
