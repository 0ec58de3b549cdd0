"""A server with two accounts that have everything there is: people, keys, streams, findings, incidents, anchors, evidence.

What is in an account holds its canary, a word that is in nothing else, wherever there is room for words.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from opentelemetry.proto.metrics.v1.metrics_pb2 import Gauge, Metric, NumberDataPoint
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from driftlock.engine.event import Signal
from tests.accounts.tokens import PROJECT, SigningKey, claims, signing_key
from tests.collector.otlp_requests import log, logs, metrics, spans
from tests.conformance.site import Site, open_site, rules
from tests.conftest import Urls
from tests.e2e.harness import shop_log
from tests.server.certificate_server import serve_certificates

QUIET, ODD = 1_500, 100
WAIT_S = 30.0
LINES_AGE_S = 3_600
SMALL = {"baseline_size": 100, "window_size": 20, "hop_size": 10, "alerts_per_day_max": 1000}
ROLES = ("viewer", "member")
PEOPLE_KEY = "one"
IDEMPOTENCY_KEY = "the-same-in-both"


@dataclass
class Account:
    """One account: what it holds, and who may act in it."""

    canary: str
    tenant_id: UUID
    credentials: dict[str, dict[str, str]] = field(default_factory=dict)
    paths: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Values of path parameters, by their names."""
    secrets: set[str] = field(default_factory=set)
    """Every text that stands in the account's own answers and nowhere else."""
    cursors: set[str] = field(default_factory=set)

    @property
    def owner(self) -> dict[str, str]:
        return self.credentials["owner"]


@dataclass
class House:
    """The server with its two accounts."""

    site: Site
    urls: Urls
    client: httpx.AsyncClient
    otlp_http: str
    otlp_grpc: str
    mine: Account
    theirs: Account


class Builder:
    """Fills one account over the doors of the server."""

    def __init__(self, client: httpx.AsyncClient, otlp_http: str, signing: SigningKey, canary: str) -> None:
        self._client, self._otlp, self._signing, self._canary = client, otlp_http, signing, canary
        self._acting: dict[str, str] = {}

    def person(self, role: str) -> tuple[dict[str, str], str]:
        """Headers of somebody who has signed in just now, and their address."""
        email = f"{role}@{self._canary}.example"
        name = f"{role}-{self._canary}"
        told = claims(int(time.time()), sub=name, user_id=name, email=email, name=name)
        return {"Authorization": f"Bearer {self._signing.token(told)}"}, email

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        answer = await self._client.request(method, path, json=body, headers={**self._acting, **headers})
        assert answer.is_success, (method, path, answer.text)
        return answer.json() if answer.content else None

    async def build(self) -> Account:
        owner, _ = self.person("owner")
        self._acting = owner
        made = await self.ask("POST", "/v1/auth/signup", {"name": f"account {self._canary}"})
        account = Account(self._canary, UUID(made["account"]["id"]), {"owner": owner})
        await self._keys(account)
        await self._people(account)
        await self._redaction()
        await self._findings(account)  # alone, an incident waits for no other stream
        await self._telemetry(account)
        await self._views(account)
        return account

    async def _keys(self, account: Account) -> None:
        rights: Mapping[str, Mapping[str, object]] = {
            "admin": {"scopes": ["ingest", "read", "admin"]},
            "admin alone": {"scopes": ["admin"]},
            "read": {"scopes": ["read"]},
            "ingest": {"scopes": ["ingest"]},
            "bound": {"scopes": ["ingest"], "stream": f"bound-{self._canary}"},
            "revoked": {"scopes": ["ingest", "read", "admin"]},
        }
        ids = []
        for name, given in rights.items():
            made = await self.ask("POST", "/v1/api-keys", {"name": f"{name} {self._canary}", **given})
            account.credentials[name] = {"X-Api-Key": made["key"]}
            ids.append(made["api_key"]["id"])
        await self.ask("DELETE", f"/v1/api-keys/{ids[-1]}")
        account.paths["id"] = (ids[0], ids[-1])

    async def _people(self, account: Account) -> None:
        members = []
        for role in ROLES:
            person, email = self.person(role)
            token = (await self.ask("POST", "/v1/invitations", {"email": email, "role": role}))["token"]
            accepted = await self._client.post("/v1/invitations/accept", json={"token": token}, headers=person)
            assert accepted.status_code == 200, accepted.text
            account.credentials[role] = person
        members = [it["id"] for it in (await self.ask("GET", "/v1/members"))["members"]]
        asked = {"email": f"guest@{self._canary}.example", "role": "viewer"}
        invited = await self.ask("POST", "/v1/invitations", asked, **{"Idempotency-Key": IDEMPOTENCY_KEY})
        account.paths |= {"member": tuple(members), "invitation": (invited["invitation"]["id"],)}
        account.secrets.add(invited["token"])

    async def _redaction(self) -> None:
        rule = {"name": f"rule-{self._canary}", "mask": "card={digits}"}
        await self.ask("PUT", "/v1/redaction", {"rules": [rule]})

    async def _telemetry(self, account: Account) -> None:
        """Streams of each signal, under a name of the account's own and under one that both have."""
        now_ns = time.time_ns()
        for service in (f"svc-{self._canary}", "shared"):
            resource = {"service.name": service, "service.version": f"v-{self._canary}", "host.name": f"host-{self._canary}"}
            trace_id = self._canary.encode().ljust(16, b"\x01")[:16]
            span = Span(
                trace_id=trace_id,
                span_id=b"s" * 8,
                name=f"span {self._canary}",
                start_time_unix_nano=now_ns - 10**9,
                end_time_unix_nano=now_ns,
            )
            points = [NumberDataPoint(time_unix_nano=now_ns - n * 10**10, as_double=n) for n in range(3, 0, -1)]
            gauge = Metric(name=f"metric.{self._canary}", gauge=Gauge(data_points=points))
            sent = {
                Signal.LOGS: logs(log(f"hello {self._canary}", now_ns), resource=resource),
                Signal.TRACES: spans(span, resource=resource),
                Signal.METRICS: metrics(gauge, resource=resource),
            }
            headers = {"Content-Type": "application/x-protobuf", **account.credentials["ingest"]}
            for signal, request in sent.items():
                url = f"http://{self._otlp}/v1/{signal}"
                answer = await self._client.post(url, content=request.SerializeToString(), headers=headers)
                assert answer.status_code == 200, answer.text
            account.paths["trace_id"] = (trace_id.hex(),)

    async def _findings(self, account: Account) -> None:
        stream = f"odd-{self._canary}"
        made = await self.ask("POST", "/v1/streams", {"service": stream, **SMALL}, **{"Idempotency-Key": IDEMPOTENCY_KEY})
        lines = [line.replace("rogue", self._canary) for line in shop_log(QUIET + ODD, odd_at=QUIET)]
        began_s = int(time.time()) - LINES_AGE_S  # in the past: an incident waits until its minute is over
        events = [{"text": line, "time": began_s + at} for at, line in enumerate(lines)]
        key = account.credentials["admin"]
        headers = {**key, "Idempotency-Key": IDEMPOTENCY_KEY}
        for start, stop in ((0, QUIET), (QUIET, QUIET + ODD)):
            body = {"stream_id": stream, "events": events[start:stop]}
            answer = await self._client.post("/v1/detect", json=body, headers=headers if start else key)
            assert answer.status_code == 200, answer.text
        anomalies = (await self.ask("GET", "/v1/anomalies"))["anomalies"]
        assert anomalies, made
        incidents = (await self._eventually("/v1/incidents", lambda body: body["incidents"]))["incidents"]
        anomaly = anomalies[0]["id"]
        note = f"note {self._canary}"
        feedback = {"verdict": "false_positive", "note": note}
        await self.ask("POST", f"/v1/anomalies/{anomaly}/feedback", feedback, **{"Idempotency-Key": IDEMPOTENCY_KEY})
        await self.ask("PATCH", f"/v1/incidents/{incidents[0]['id']}", {"status": "acknowledged", "note": note})
        await self._eventually(f"/v1/anomalies/{anomaly}/evidence")
        account.paths |= {
            "anomaly_id": tuple(it["id"] for it in anomalies),
            "incident_id": tuple(it["id"] for it in incidents),
        }
        await self.ask("PATCH", f"/v1/streams/{stream}/profile", {"ncd_threshold": 0.4})
        rule = {"name": f"stream-rule-{self._canary}", "mask": "token={hex}"}
        await self.ask("PUT", f"/v1/streams/{stream}/redaction", {"rules": [rule]})
        await self.ask("PATCH", f"/v1/streams/{stream}", {"display_name": f"display {self._canary}"})
        await self.ask("PUT", f"/v1/streams/{stream}/anchor", {"drift_ncd_threshold": 0.5})
        await self.ask("POST", f"/v1/streams/{stream}/reset-anchor", {}, **{"Idempotency-Key": IDEMPOTENCY_KEY})

    async def _views(self, account: Account) -> None:
        streams = (await self.ask("GET", "/v1/streams"))["streams"]
        own = [it for it in streams if self._canary in it["slug"]]
        account.paths |= {
            "stream": (*(it["slug"] for it in own), *(it["id"] for it in streams)),
            "n": ("1",),
            "operation_id": (),
        }

    async def _eventually(self, path: str, has: Callable[[Any], object] = lambda _: True) -> Any:
        """The first answer of 200 that has what is waited for."""
        end_s = time.monotonic() + WAIT_S
        while True:
            answer = await self._client.get(path, headers=self._acting)
            is_json = answer.headers["content-type"] == "application/json"
            if answer.status_code == 200 and has(body := answer.json() if is_json else None):
                return body
            assert time.monotonic() < end_s, answer.text
            await asyncio.sleep(0.1)


@asynccontextmanager
async def open_house(urls: Urls, folder: Path, canaries: Sequence[str] = ("zqmine", "zqtheirs")) -> AsyncIterator[House]:
    """The server on an empty database, with both accounts as full as they get. It needs some seconds."""
    made = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key_file = folder / "evidence-key.pem"
    key_file.write_bytes(made)
    signing = signing_key(PEOPLE_KEY)
    settings = {
        "DRIFTLOCK_FIREBASE_PROJECT_ID": PROJECT,
        "DRIFTLOCK_EVIDENCE_KEY_FILE": str(key_file),
        "DRIFTLOCK_RATE_LIMITS": "off",
        "DRIFTLOCK_DEMO": "on",
        "DRIFTLOCK_DEMO_REQUESTS_PER_MINUTE": "10000",
        "DRIFTLOCK_DEMO_GLOBAL_REQUESTS_PER_MINUTE": "10000",
    }
    async with (
        serve_certificates(signing) as google,
        open_site(urls, rules(folder), certificates_url=google.url, **settings) as site,
        contextlib.AsyncExitStack() as stack,
    ):
        listening = site.listening
        assert listening.rest and listening.otlp_http and listening.otlp_grpc  # noqa: PT018
        base = f"http://{listening.rest.text}"
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=base, timeout=WAIT_S))
        accounts = [await Builder(client, listening.otlp_http.text, signing, canary).build() for canary in canaries]
        yield House(site, urls, client, listening.otlp_http.text, listening.otlp_grpc.text, *accounts)
