"""Addresses as settings name them: where a server listens, and where a client command connects to."""

from dataclasses import dataclass

from server.setting_parsers import parse_url

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


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
