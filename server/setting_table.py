"""The table of settings: the variable of each, its field in `server.settings.Settings`, its default, meaning and check."""

from collections.abc import Callable
from dataclasses import dataclass

from api.client_network import parse_networks
from collector.routing.file import read_rules
from driftlock.accounts.origins import parse_named_origins, parse_origins
from driftlock.storage.checks import UnsafeDatabase
from server.addresses import parse_address, parse_target
from server.setting_parsers import (
    GIB,
    KIB,
    MIB,
    parse_bytes,
    parse_bytes_or_zero,
    parse_choice,
    parse_emulator,
    parse_int,
    parse_int_or_zero,
    parse_path,
    parse_project,
    parse_switch,
    parse_url,
    parse_word,
)

REQUEST_BYTES_CEILING = 64 * MIB


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable: `default` is its text when unset, `None` meaning that it has no value then."""

    name: str
    field: str
    default: str | None
    description: str
    parse: Callable[[str], object]


def _parse_unsafe(text: str) -> UnsafeDatabase:
    return UnsafeDatabase(parse_choice(*UnsafeDatabase)(text))


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
        "DRIFTLOCK_METRICS_TENANTS",
        "metrics_tenants",
        "off",
        "Whether `/metrics`, which needs no key, shows the ledger by ids of tenants: `on` or `off`.",
        parse_switch,
    ),
    Setting(
        "DRIFTLOCK_REUSE_PORT",
        "reuse_port",
        "off",
        "Whether the next server may listen on the same ports to take over from this one: `on` or `off`. Needs `DATABASE_URL`.",
        parse_switch,
    ),
    Setting(
        "DRIFTLOCK_DATA_DIR",
        "data_dir",
        ".driftlock",
        "Folder of the embedded database, of the local API key (`api-key`) and of the running server's addresses.",
        parse_path,
    ),
    Setting(
        "DRIFTLOCK_ARCHIVE_DIR",
        "archive_dir",
        None,
        "Folder, best on another disk, that gets the log of the embedded database, for `driftlock restore`. Unset: none.",
        parse_path,
    ),
    Setting(
        "DRIFTLOCK_EVIDENCE_KEY_FILE",
        "evidence_key_file",
        None,
        "PEM private key, Ed25519, that signs evidence. Unset: one in the data folder; with `DATABASE_URL` none is made.",
        parse_path,
    ),
    Setting(
        "DRIFTLOCK_EVIDENCE_BYTES_MAX",
        "evidence_bytes_max",
        "256MiB",
        "What the evidence of one tenant may take in the database; the oldest goes first.",
        parse_bytes(16 * MIB, 1024 * GIB),
    ),
    Setting(
        "DRIFTLOCK_UNSAFE_DATABASE",
        "unsafe_database",
        "none",
        "What to warn of instead of refusing to start: `settings` that forget, a `role` that is too mighty, `all` or `none`.",
        _parse_unsafe,
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
        "DRIFTLOCK_DEDUP_WINDOW_SECONDS",
        "dedup_window_seconds",
        "900",
        "How long a byte-identical resend is recognised, 1..86400, unless its tenant has a window of its own.",
        parse_int(1, 86_400),
    ),
    Setting(
        "DRIFTLOCK_BACKLOG_BYTES_MAX",
        "backlog_bytes_max",
        "0",
        "Journal bytes that may wait to be scored before records are refused (retryably); 0 takes half of "
        "DRIFTLOCK_JOURNAL_BYTES_MAX.",
        parse_bytes_or_zero(MIB, 1024 * GIB),
    ),
    Setting(
        "DRIFTLOCK_BACKLOG_SECONDS_MAX",
        "backlog_seconds_max",
        "3600",
        "How long records may wait to be scored before more are refused (retryably), 10..604800.",
        parse_int(10, 604_800),
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
        "DRIFTLOCK_CORS_ORIGINS",
        "cors_origins",
        "off",
        "Origins of web pages whose scripts may call REST, such as https://shop.example, separated by commas; or `off`.",
        parse_named_origins,
    ),
    Setting(
        "DRIFTLOCK_RATE_LIMITS",
        "rate_limits",
        "on",
        "Whether REST limits how often keys, accounts (by their plan) and networks may ask: `on` or `off`.",
        parse_switch,
    ),
    Setting(
        "DRIFTLOCK_RATE_LIMIT_NETWORK_PER_MINUTE",
        "rate_limit_network_per_minute",
        "300",
        "Requests of one client network a minute where no key is asked for, 1..100000.",
        parse_int(1, 100_000),
    ),
    Setting(
        "DRIFTLOCK_RATE_LIMIT_FAILURES_PER_MINUTE",
        "rate_limit_failures_per_minute",
        "30",
        "Wrong or missing credentials of one client network a minute, 1..100000.",
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
        "DRIFTLOCK_FIREBASE_PROJECT_ID",
        "firebase_project_id",
        None,
        "Firebase project that people sign in with. Unset: nobody signs in, keys alone are known.",
        parse_project,
    ),
    Setting(
        "DRIFTLOCK_FIREBASE_WEB_API_KEY",
        "firebase_web_api_key",
        None,
        "Web API key of the project, which web pages are told. It is no secret.",
        parse_word,
    ),
    Setting(
        "DRIFTLOCK_FIREBASE_AUTH_DOMAIN",
        "firebase_auth_domain",
        None,
        "Host that the project's sign-in pages are on. Unset: the project's own, under firebaseapp.com.",
        parse_word,
    ),
    Setting(
        "DRIFTLOCK_FIREBASE_CREDENTIALS_FILE",
        "firebase_credentials_file",
        None,
        "Key of a service account (JSON) of the project. With it, revoked sign-ins are found where that matters.",
        parse_path,
    ),
    Setting(
        "DRIFTLOCK_FIREBASE_EMULATOR",
        "firebase_emulator",
        "off",
        "Whether unsigned tokens of the emulator at `FIREBASE_AUTH_EMULATOR_HOST` are good, for development: `on` or `off`.",
        parse_switch,
    ),
    Setting(
        "FIREBASE_AUTH_EMULATOR_HOST",
        "firebase_emulator_host",
        None,
        "Where the Auth emulator is, as host:port. Refused unless DRIFTLOCK_FIREBASE_EMULATOR is `on`.",
        parse_emulator,
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
