from typing import Any

import pytest
from confluent_kafka import Producer

from collector.kafka.client_settings import KafkaConnection

USER: dict[str, Any] = {"sasl_username": "ann", "sasl_password": "hunter2"}
OAUTH: dict[str, Any] = {
    "oauth_token_endpoint": "http://127.0.0.1:1/token",
    "oauth_client_id": "gateway",
    "oauth_client_secret": "hunter2",
}


def test_only_what_is_known_is_told() -> None:
    told = KafkaConnection("kafka:9092").options("me")
    assert (told["bootstrap.servers"], told["client.id"], told["security.protocol"]) == ("kafka:9092", "me", "plaintext")
    assert not any(name.startswith(("sasl.", "ssl.")) for name in told)


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"security_protocol": "SSL"},
        {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", **USER},
        {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-256", **USER},
        {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512", **USER},
        {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER", **OAUTH},
    ],
)
def test_the_client_takes_it(members: dict[str, Any]) -> None:
    """The installed client has what each of these needs built in."""
    Producer({**KafkaConnection("127.0.0.1:1", **members).options("me"), "log_level": 0})


def test_secrets_are_not_shown() -> None:
    assert "hunter2" not in repr(KafkaConnection("kafka:9092", **USER, **OAUTH))
