"""Settings of Kafka: rows of the table, their checks, and what of them belongs together."""

from collections.abc import Mapping
from pathlib import Path

from collector.kafka.client_settings import OAUTHBEARER, KafkaConnection
from server.bridge_sources import parse_sources
from server.kafka_names import parse_topic
from server.setting import Setting
from server.setting_parsers import parse_choice, parse_int, parse_path, parse_text, parse_url

PARTITIONS_MAX = 4096


def parse_servers(text: str) -> str:
    """`host:port` of brokers, separated by commas."""
    servers = [server.strip() for server in text.split(",")]
    for server in servers:
        host, colon, port = server.rpartition(":")
        whole = colon and host and port.isascii() and port.isdigit() and 1 <= int(port) <= 65535
        if not whole or any(char in host for char in "/@ "):
            raise ValueError("use host:port of one or more brokers, separated by commas, such as kafka-1:9092,kafka-2:9092")
    return ",".join(servers)


KAFKA_SETTINGS: tuple[Setting, ...] = (
    Setting(
        "DRIFTLOCK_KAFKA_BOOTSTRAP_SERVERS",
        "kafka_bootstrap_servers",
        None,
        "Kafka brokers to begin with, as host:port separated by commas, for `driftlock gateway` and `driftlock worker`.",
        parse_servers,
    ),
    Setting("DRIFTLOCK_KAFKA_TOPIC", "kafka_topic", "driftlock.records", "Topic that carries records.", parse_topic),
    Setting(
        "DRIFTLOCK_KAFKA_PARTITIONS",
        "kafka_partitions",
        "16",
        "Partitions of the topic, 1..4096. They can not be changed later; a topic that has others is refused.",
        parse_int(1, PARTITIONS_MAX),
    ),
    Setting(
        "DRIFTLOCK_KAFKA_REPLICATION",
        "kafka_replication",
        "1",
        "Replicas of each partition where the topic is made, 1..100; use 3 where there are three brokers.",
        parse_int(1, 100),
    ),
    Setting(
        "DRIFTLOCK_KAFKA_TENANT_SPREAD",
        "kafka_tenant_spread",
        "1",
        "Over how many partitions the streams of one tenant lie: the same in every process, and never changed.",
        parse_int(1, PARTITIONS_MAX),
    ),
    Setting(
        "DRIFTLOCK_KAFKA_SECURITY_PROTOCOL",
        "kafka_security_protocol",
        "PLAINTEXT",
        "How brokers are spoken to: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.",
        parse_choice("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
    ),
    Setting(
        "DRIFTLOCK_KAFKA_SASL_MECHANISM",
        "kafka_sasl_mechanism",
        None,
        "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER, with SASL_PLAINTEXT and SASL_SSL.",
        parse_choice("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", OAUTHBEARER),
    ),
    Setting("DRIFTLOCK_KAFKA_SASL_USERNAME", "kafka_sasl_username", None, "User of PLAIN and SCRAM.", parse_text),
    Setting("DRIFTLOCK_KAFKA_SASL_PASSWORD", "kafka_sasl_password", None, "Password of PLAIN and SCRAM.", parse_text),
    Setting(
        "DRIFTLOCK_KAFKA_SSL_CA_FILE",
        "kafka_ssl_ca_file",
        None,
        "PEM certificates of the authorities that sign the brokers'. Unset: those of the system.",
        parse_path,
    ),
    Setting(
        "DRIFTLOCK_KAFKA_SSL_CERT_FILE", "kafka_ssl_cert_file", None, "PEM certificate that is shown to brokers.", parse_path
    ),
    Setting(
        "DRIFTLOCK_KAFKA_SSL_KEY_FILE",
        "kafka_ssl_key_file",
        None,
        "PEM private key of that certificate, unencrypted.",
        parse_path,
    ),
    Setting(
        "DRIFTLOCK_KAFKA_OAUTH_TOKEN_ENDPOINT",
        "kafka_oauth_token_endpoint",
        None,
        "Where OAUTHBEARER gets its tokens for client credentials, as an http(s) URL.",
        parse_url("http", "https"),
    ),
    Setting("DRIFTLOCK_KAFKA_OAUTH_CLIENT_ID", "kafka_oauth_client_id", None, "Client of OAUTHBEARER.", parse_text),
    Setting("DRIFTLOCK_KAFKA_OAUTH_CLIENT_SECRET", "kafka_oauth_client_secret", None, "Its secret.", parse_text),
    Setting(
        "DRIFTLOCK_KAFKA_GROUP",
        "kafka_group",
        "driftlock-workers",
        "Consumer group of the workers of one database.",
        parse_topic,
    ),
    Setting(
        "DRIFTLOCK_KAFKA_INSTANCE_ID",
        "kafka_instance_id",
        None,
        "Name of a worker, its own, that keeps its partitions over a restart. Unset: it gives them back as it stops.",
        parse_topic,
    ),
    Setting(
        "DRIFTLOCK_KAFKA_SESSION_SECONDS",
        "kafka_session_seconds",
        "30",
        "After so many seconds of silence, 2..1800, a worker's partitions go to others; brokers have bounds of their own.",
        parse_int(2, 1800),
    ),
    Setting(
        "DRIFTLOCK_KAFKA_SOURCES",
        "kafka_sources",
        None,
        "JSON list of topics of other producers for `driftlock bridge`: tenant and format of each, and what else it needs.",
        parse_sources,
    ),
    Setting(
        "DRIFTLOCK_KAFKA_BRIDGE_GROUP",
        "kafka_bridge_group",
        "driftlock-bridge",
        "Consumer groups of bridges begin so: there is one for each topic of DRIFTLOCK_KAFKA_SOURCES.",
        parse_topic,
    ),
)
_SASL_USER = ("kafka_sasl_username", "kafka_sasl_password")
_OAUTH = ("kafka_oauth_token_endpoint", "kafka_oauth_client_id", "kafka_oauth_client_secret")
_SSL = ("kafka_ssl_ca_file", "kafka_ssl_cert_file", "kafka_ssl_key_file")


def wrong_kafka(values: Mapping[str, object]) -> str | None:
    """What is wrong with these settings together, by their fields, in one line that says what to set; None if nothing is."""
    names = {setting.field: setting.name for setting in KAFKA_SETTINGS}
    given = [field for field in names if values[field] is not None]
    protocol = str(values["kafka_security_protocol"])
    mechanism = values["kafka_sasl_mechanism"]
    sasl, ssl = protocol.startswith("SASL_"), protocol.endswith("SSL")
    alone = next((field for field in ("kafka_sasl_mechanism", *_SASL_USER, *_OAUTH, *_SSL) if field in given), None)
    if alone is not None and values["kafka_bootstrap_servers"] is None:
        return f"{names[alone]} is set but DRIFTLOCK_KAFKA_BOOTSTRAP_SERVERS is not: set both, or neither"
    if sasl and mechanism is None:
        return f"DRIFTLOCK_KAFKA_SECURITY_PROTOCOL is {protocol}: set DRIFTLOCK_KAFKA_SASL_MECHANISM too"
    if not sasl and mechanism is not None:
        wanted = "SASL_SSL" if ssl else "SASL_SSL or SASL_PLAINTEXT"
        return f"DRIFTLOCK_KAFKA_SASL_MECHANISM is set: set DRIFTLOCK_KAFKA_SECURITY_PROTOCOL to {wanted} too"
    oauth = mechanism == OAUTHBEARER
    needed, foreign = (_OAUTH, _SASL_USER) if oauth else (_SASL_USER, _OAUTH)
    for field in needed:
        if mechanism is not None and field not in given:
            return f"DRIFTLOCK_KAFKA_SASL_MECHANISM is {mechanism}: set {names[field]} too"
    for field in (*foreign, *(() if mechanism is not None else needed)):
        if field in given:
            wanted = "one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512" if field in _SASL_USER else OAUTHBEARER
            return f"{names[field]} is set: set DRIFTLOCK_KAFKA_SASL_MECHANISM to {wanted}, or unset it"
    for field in _SSL:
        if field in given and not ssl:
            return f"{names[field]} is set: set DRIFTLOCK_KAFKA_SECURITY_PROTOCOL to SSL or SASL_SSL, or unset it"
    for field, other in ((_SSL[1], _SSL[2]), (_SSL[2], _SSL[1])):
        if field in given and other not in given:
            return f"{names[field]} is set but {names[other]} is not: set both, or neither"
    return None


def kafka_connection(values: Mapping[str, object]) -> KafkaConnection | None:
    """How to connect, of settings by their fields; None where no broker is named."""
    if values["kafka_bootstrap_servers"] is None:
        return None

    def text(field: str) -> str | None:
        value = values[field]
        return None if value is None else str(value)

    def path(field: str) -> Path | None:
        value = values[field]
        return None if value is None else Path(str(value))

    return KafkaConnection(
        bootstrap_servers=str(values["kafka_bootstrap_servers"]),
        security_protocol=str(values["kafka_security_protocol"]),
        sasl_mechanism=text("kafka_sasl_mechanism"),
        sasl_username=text("kafka_sasl_username"),
        sasl_password=text("kafka_sasl_password"),
        ssl_ca_file=path("kafka_ssl_ca_file"),
        ssl_cert_file=path("kafka_ssl_cert_file"),
        ssl_key_file=path("kafka_ssl_key_file"),
        oauth_token_endpoint=text("kafka_oauth_token_endpoint"),
        oauth_client_id=text("kafka_oauth_client_id"),
        oauth_client_secret=text("kafka_oauth_client_secret"),
    )
