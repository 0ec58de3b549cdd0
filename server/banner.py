"""What a started server tells the person in front of it: where it is, with which key, and what to paste where."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Running:
    """Addresses as bound, None where switched off. `api_key` is the local tenant's, None when tenants bring their own.

    `tls`: both OTLP ports speak TLS; `client_certificates`: and every client has to show a certificate there.
    """

    version: str
    rest: str | None
    otlp_grpc: str | None
    otlp_http: str | None
    api_key: str | None
    anonymous: bool
    api_key_file: str
    data_dir: str | None
    startup_ms: int
    tls: bool = False
    client_certificates: bool = False

    def endpoints(self) -> dict[str, str]:
        """What client commands read from the data folder; OTLP with TLS as https:// URLs."""
        secure = "https://" if self.tls else ""
        found = {
            "http": self.rest,
            "otlp_grpc": f"{secure}{self.otlp_grpc}" if self.otlp_grpc else None,
            "otlp_http": f"{secure}{self.otlp_http}" if self.otlp_http else None,
        }
        return {name: address for name, address in found.items() if address is not None}

    def banner(self) -> str:
        """Some lines for the terminal. The key stands in them on purpose: it is the local tenant's, and shown to its owner."""
        lines = [f"Driftlock {self.version} is ready after {self.startup_ms} ms.", ""]
        for label, address in (
            ("OTLP/gRPC", self.endpoints().get("otlp_grpc")),
            ("OTLP/HTTP", f"{self._scheme}://{self.otlp_http}" if self.otlp_http else None),
            ("REST", self.rest),
            ("data", self.data_dir),
        ):
            if address is not None:
                lines.append(f"  {label:<10} {address}")
        if self.api_key is not None:
            where = "for REST on this machine" if self.client_certificates else "on this machine"
            needless = f"; {where} none is needed" if self.anonymous else ""
            lines.append(f"  {'API key':<10} {self.api_key}  (also in {self.api_key_file}{needless})")
        else:
            lines.append(f"  {'API key':<10} required: driftlock tenant create NAME, driftlock key create --tenant NAME")
        if self.otlp_grpc is not None:
            lines += ["", *self._collector(self.otlp_grpc), "", *self._sdk(self.otlp_grpc)]
            lines += ["", *self._more()]
        return "\n".join([*lines, ""])

    def _collector(self, otlp_grpc: str) -> list[str]:
        key = self.api_key or "YOUR_API_KEY"
        return [
            "In an OpenTelemetry Collector, under exporters (then name otlp/driftlock in the pipelines):",
            "  otlp/driftlock:",
            f"    endpoint: {otlp_grpc}",
            f"    tls: {{{self._collector_tls}}}",
            f"    headers: {{x-api-key: {key}}}",
        ]

    def _sdk(self, otlp_grpc: str) -> list[str]:
        key = self.api_key or "YOUR_API_KEY"
        return [
            "In the environment of a program with an OpenTelemetry SDK:",
            f"  export OTEL_EXPORTER_OTLP_ENDPOINT={self._scheme}://{otlp_grpc} OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
            *self._sdk_tls(),
            f"  export OTEL_EXPORTER_OTLP_HEADERS=x-api-key={key}",
            "  export OTEL_SERVICE_NAME=my-service",
        ]

    @property
    def _scheme(self) -> str:
        return "https" if self.tls else "http"

    @property
    def _collector_tls(self) -> str:
        if not self.tls:
            return "insecure: true"
        return "ca_file: ca.pem" + (", cert_file: client.pem, key_file: client-key.pem" if self.client_certificates else "")

    def _sdk_tls(self) -> list[str]:
        lines = ["  export OTEL_EXPORTER_OTLP_CERTIFICATE=ca.pem"] if self.tls else []
        if self.client_certificates:
            files = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=client.pem OTEL_EXPORTER_OTLP_CLIENT_KEY=client-key.pem"
            lines.append(f"  export {files}")
        return lines

    def _more(self) -> list[str]:
        """What else is to be known; replay has no client certificate to show."""
        if not self.tls:
            return ["Or replay a log file: driftlock replay app.log"]
        lines = ["ca.pem is the authority that signed the server's certificate; the host has to be a name in that certificate."]
        if not self.client_certificates:
            lines += ["", "Or replay a log file: GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=ca.pem driftlock replay app.log"]
        return lines
