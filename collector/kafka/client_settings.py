"""How clients of Kafka connect: the same for producers, consumers and administration."""

from dataclasses import dataclass, field
from pathlib import Path

Option = str | int | float | bool
OAUTHBEARER = "OAUTHBEARER"
RECONNECT_BACKOFF_MS, RECONNECT_BACKOFF_MAX_MS = 50, 2000  # a broker that is back is found within seconds


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """Where the brokers are and how to prove who we are; members that do not apply are None.

    `security_protocol` is PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL, `sasl_mechanism` PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or
    OAUTHBEARER (with the client credentials that `oauth_token_endpoint` takes). Files are PEM.
    """

    bootstrap_servers: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    ssl_ca_file: Path | None = None
    ssl_cert_file: Path | None = None
    ssl_key_file: Path | None = None
    oauth_token_endpoint: str | None = None
    oauth_client_id: str | None = None
    oauth_client_secret: str | None = field(default=None, repr=False)

    def options(self, client_id: str) -> dict[str, Option]:
        """What librdkafka is told, to be completed by what is made of it; `client_id` names the process to brokers."""
        known: dict[str, Option | None] = {
            "bootstrap.servers": self.bootstrap_servers,
            "client.id": client_id,
            "security.protocol": self.security_protocol.lower(),
            "sasl.mechanism": self.sasl_mechanism,
            "sasl.username": self.sasl_username,
            "sasl.password": self.sasl_password,
            "ssl.ca.location": self._path(self.ssl_ca_file),
            "ssl.certificate.location": self._path(self.ssl_cert_file),
            "ssl.key.location": self._path(self.ssl_key_file),
            "reconnect.backoff.ms": RECONNECT_BACKOFF_MS,
            "reconnect.backoff.max.ms": RECONNECT_BACKOFF_MAX_MS,
            "log.connection.close": False,
        }
        if self.sasl_mechanism == OAUTHBEARER:
            known |= {
                "sasl.oauthbearer.method": "oidc",
                "sasl.oauthbearer.token.endpoint.url": self.oauth_token_endpoint,
                "sasl.oauthbearer.client.id": self.oauth_client_id,
                "sasl.oauthbearer.client.secret": self.oauth_client_secret,
            }
        return {name: value for name, value in known.items() if value is not None}

    @staticmethod
    def _path(path: Path | None) -> str | None:
        return None if path is None else str(path)
