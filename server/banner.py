"""What a started server tells the person in front of it: where it is, with which key, and what to paste where."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Running:
    """Addresses as bound, None where switched off. `api_key` is the local tenant's, None when tenants bring their own."""

    version: str
    rest: str | None
    otlp_grpc: str | None
    otlp_http: str | None
    api_key: str | None
    anonymous: bool
    api_key_file: str
    data_dir: str | None
    startup_ms: int

    def endpoints(self) -> dict[str, str]:
        """What client commands read from the data folder."""
        found = {"http": self.rest, "otlp_grpc": self.otlp_grpc, "otlp_http": self.otlp_http}
        return {name: address for name, address in found.items() if address is not None}

    def banner(self) -> str:
        """Some lines for the terminal. The key stands in them on purpose: it is the local tenant's, and shown to its owner."""
        lines = [f"Driftlock {self.version} is ready after {self.startup_ms} ms.", ""]
        for label, address in (
            ("OTLP/gRPC", self.otlp_grpc),
            ("OTLP/HTTP", f"http://{self.otlp_http}" if self.otlp_http else None),
            ("REST", self.rest),
            ("data", self.data_dir),
        ):
            if address is not None:
                lines.append(f"  {label:<10} {address}")
        if self.api_key is not None:
            needless = "; on this machine none is needed" if self.anonymous else ""
            lines.append(f"  {'API key':<10} {self.api_key}  (also in {self.api_key_file}{needless})")
        else:
            lines.append(f"  {'API key':<10} required: driftlock tenant create NAME, driftlock key create --tenant NAME")
        if self.otlp_grpc is not None:
            lines += ["", *self._collector(self.otlp_grpc), "", *self._sdk(self.otlp_grpc)]
            lines += ["", "Or replay a log file: driftlock replay app.log"]
        return "\n".join([*lines, ""])

    def _collector(self, otlp_grpc: str) -> list[str]:
        key = self.api_key or "YOUR_API_KEY"
        return [
            "In an OpenTelemetry Collector, under exporters (then name otlp/driftlock in the pipelines):",
            "  otlp/driftlock:",
            f"    endpoint: {otlp_grpc}",
            "    tls: {insecure: true}",
            f"    headers: {{x-api-key: {key}}}",
        ]

    def _sdk(self, otlp_grpc: str) -> list[str]:
        key = self.api_key or "YOUR_API_KEY"
        return [
            "In the environment of a program with an OpenTelemetry SDK:",
            f"  export OTEL_EXPORTER_OTLP_ENDPOINT=http://{otlp_grpc} OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
            f"  export OTEL_EXPORTER_OTLP_HEADERS=x-api-key={key}",
            "  export OTEL_SERVICE_NAME=my-service",
        ]
