from pathlib import Path

import pytest

from server.addresses import Address
from server.settings import SettingError, parse_settings

K = "DRIFTLOCK_KAFKA_"
SERVERS = {f"{K}BOOTSTRAP_SERVERS": "kafka:9092"}
USER = {f"{K}SASL_USERNAME": "ann", f"{K}SASL_PASSWORD": "hunter2"}
OAUTH = {
    f"{K}OAUTH_TOKEN_ENDPOINT": "https://sso.example/token",
    f"{K}OAUTH_CLIENT_ID": "gateway",
    f"{K}OAUTH_CLIENT_SECRET": "hunter2",
}


def test_without_settings_there_is_no_kafka() -> None:
    settings = parse_settings({})
    assert settings.kafka is None
    assert (settings.kafka_topic, settings.kafka_partitions, settings.kafka_replication) == ("driftlock.records", 16, 1)
    assert settings.kafka_tenant_spread == 1


def test_a_connection_has_what_was_set() -> None:
    given = {
        f"{K}BOOTSTRAP_SERVERS": "a:1, [::1]:2",
        f"{K}SECURITY_PROTOCOL": "SASL_SSL",
        f"{K}SASL_MECHANISM": "SCRAM-SHA-512",
        **USER,
        f"{K}SSL_CA_FILE": "ca.pem",
        f"{K}SSL_CERT_FILE": "me.pem",
        f"{K}SSL_KEY_FILE": "key.pem",
    }
    settings = parse_settings(given)
    found = settings.kafka
    assert found is not None
    assert (found.bootstrap_servers, found.security_protocol) == ("a:1,[::1]:2", "SASL_SSL")
    assert (found.sasl_mechanism, found.sasl_username, found.sasl_password) == ("SCRAM-SHA-512", "ann", "hunter2")
    assert (found.ssl_ca_file, found.ssl_cert_file, found.ssl_key_file) == (Path("ca.pem"), Path("me.pem"), Path("key.pem"))
    assert "hunter2" not in repr(settings)


def test_oauth_has_what_it_needs() -> None:
    given = {**SERVERS, f"{K}SECURITY_PROTOCOL": "SASL_SSL", f"{K}SASL_MECHANISM": "OAUTHBEARER", **OAUTH}
    settings = parse_settings(given)
    assert settings.kafka is not None
    assert settings.kafka.oauth_token_endpoint == "https://sso.example/token"
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("BOOTSTRAP_SERVERS", "kafka", "host:port"),
        ("BOOTSTRAP_SERVERS", "kafka:9092,", "host:port"),
        ("BOOTSTRAP_SERVERS", "kafka://host:9092", "host:port"),
        ("TOPIC", "a/b", "letters, digits"),
        ("TOPIC", "..", "letters, digits"),
        ("PARTITIONS", "0", "from 1 to 4096"),
        ("REPLICATION", "101", "from 1 to 100"),
        ("TENANT_SPREAD", "4097", "from 1"),
        ("TENANT_SPREAD", "0", "from 1"),
        ("SECURITY_PROTOCOL", "TLS", "SASL_SSL"),
        ("SASL_MECHANISM", "GSSAPI", "SCRAM-SHA-256"),
        ("OAUTH_TOKEN_ENDPOINT", "sso.example", "https://"),
    ],
)
def test_a_wrong_value_names_the_variable(name: str, text: str, told: str) -> None:
    with pytest.raises(SettingError, match=told) as caught:
        parse_settings({f"{K}{name}": text})
    assert str(caught.value).startswith(f"{K}{name}")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (USER, "SASL_USERNAME is set but DRIFTLOCK_KAFKA_BOOTSTRAP_SERVERS is not"),
        ({**SERVERS, f"{K}SECURITY_PROTOCOL": "SASL_SSL"}, "set DRIFTLOCK_KAFKA_SASL_MECHANISM too"),
        ({**SERVERS, f"{K}SASL_MECHANISM": "PLAIN", **USER}, "SECURITY_PROTOCOL to SASL_SSL or SASL_PLAINTEXT too"),
        (
            {**SERVERS, f"{K}SECURITY_PROTOCOL": "SSL", f"{K}SASL_MECHANISM": "PLAIN", **USER},
            "SECURITY_PROTOCOL to SASL_SSL too",
        ),
        ({**SERVERS, f"{K}SECURITY_PROTOCOL": "SASL_SSL", f"{K}SASL_MECHANISM": "PLAIN"}, "set DRIFTLOCK_KAFKA_SASL_USERNAME"),
        (
            {**SERVERS, f"{K}SECURITY_PROTOCOL": "SASL_SSL", f"{K}SASL_MECHANISM": "OAUTHBEARER"},
            "set DRIFTLOCK_KAFKA_OAUTH_TOKEN_ENDPOINT too",
        ),
        (
            {**SERVERS, f"{K}SECURITY_PROTOCOL": "SASL_SSL", f"{K}SASL_MECHANISM": "OAUTHBEARER", **OAUTH, **USER},
            "SASL_USERNAME is set: set DRIFTLOCK_KAFKA_SASL_MECHANISM to one of PLAIN",
        ),
        (
            {**SERVERS, f"{K}SECURITY_PROTOCOL": "SASL_SSL", f"{K}SASL_MECHANISM": "PLAIN", **OAUTH, **USER},
            "OAUTH_TOKEN_ENDPOINT is set: set DRIFTLOCK_KAFKA_SASL_MECHANISM to OAUTHBEARER",
        ),
        ({**SERVERS, **USER}, "SASL_USERNAME is set: set DRIFTLOCK_KAFKA_SASL_MECHANISM to one of PLAIN"),
        ({**SERVERS, f"{K}SSL_CA_FILE": "ca.pem"}, "SECURITY_PROTOCOL to SSL or SASL_SSL"),
        (
            {**SERVERS, f"{K}SECURITY_PROTOCOL": "SSL", f"{K}SSL_CERT_FILE": "me.pem"},
            "SSL_CERT_FILE is set but DRIFTLOCK_KAFKA_SSL_KEY_FILE is not",
        ),
        (
            {**SERVERS, f"{K}SECURITY_PROTOCOL": "SSL", f"{K}SSL_KEY_FILE": "key.pem"},
            "SSL_KEY_FILE is set but DRIFTLOCK_KAFKA_SSL_CERT_FILE is not",
        ),
    ],
)
def test_what_does_not_belong_together_is_one_line(given: dict[str, str], told: str) -> None:
    with pytest.raises(SettingError) as caught:
        parse_settings(given)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_secret_that_is_not_usable_is_not_shown() -> None:
    for name in (f"{K}SASL_PASSWORD", f"{K}OAUTH_CLIENT_SECRET"):
        with pytest.raises(SettingError, match="control character") as caught:
            parse_settings({**SERVERS, name: "hunter\x072"})
        assert "hunter" not in str(caught.value)


def test_the_port_of_a_gateway_is_otlp_over_http_alone() -> None:
    settings = parse_settings({"PORT": "9000"}, "otlp_http")
    assert (settings.otlp_http, settings.otlp_grpc, settings.http) == (Address("0.0.0.0", 9000), None, None)  # noqa: S104


def test_addresses_that_are_set_win_over_the_port_of_a_gateway() -> None:
    given = {"PORT": "9000", "DRIFTLOCK_OTLP_HTTP_ADDR": "127.0.0.1:1"}
    settings = parse_settings(given, "otlp_http")
    assert (settings.otlp_http, settings.otlp_grpc) == (Address("127.0.0.1", 1), Address("127.0.0.1", 4317))
    beside = parse_settings({"PORT": "9000", "DRIFTLOCK_HTTP_ADDR": "127.0.0.1:2"}, "otlp_http")
    assert (beside.otlp_http, beside.http) == (Address("0.0.0.0", 9000), Address("127.0.0.1", 2))  # noqa: S104
