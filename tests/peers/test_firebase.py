"""The Firebase Auth emulator in front of us: a stranger signs in, verifies their address, signs up and is revoked."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.harness import ROOT, Server, environment, free_port, shop_log, wait_for
from tests.e2e.test_evidence import verify

pytestmark = pytest.mark.peer
TOOLS = ROOT / "build" / "peers" / "firebase" / "node_modules" / "firebase-tools" / "lib" / "bin" / "firebase.js"
PROJECT = "demo-driftlock"
START_S, STOP_S = 180.0, 10.0
Make = Callable[..., Server]


@dataclass
class Emulator:
    """A running emulator, as the web SDK of Firebase would talk to it."""

    host: str

    def call(self, method: str, body: dict[str, object], **headers: str) -> Any:
        url = f"http://{self.host}/identitytoolkit.googleapis.com/v1/{method}"
        response = httpx.post(url, params={"key": "any"}, json=body, headers=headers, timeout=10)
        assert response.status_code == 200, response.text
        return response.json()

    def sign_up(self, email: str) -> str:
        """A new user; the token of a sign-in whose address is not verified."""
        token: str = self.call("accounts:signUp", {"email": email, "password": "secret-1", "returnSecureToken": True})[
            "idToken"
        ]
        return token

    def sign_in(self, email: str) -> str:
        body = {"email": email, "password": "secret-1", "returnSecureToken": True}
        token: str = self.call("accounts:signInWithPassword", body)["idToken"]
        return token

    def verify(self, email: str, token: str) -> None:
        """Follow the link in the mail that the emulator does not send."""
        self.call("accounts:sendOobCode", {"requestType": "VERIFY_EMAIL", "idToken": token})
        codes = httpx.get(f"http://{self.host}/emulator/v1/projects/{PROJECT}/oobCodes", timeout=10).json()["oobCodes"]
        (code,) = [it["oobCode"] for it in codes if it["email"] == email]
        self.call("accounts:update", {"oobCode": code})

    def disable(self, email: str) -> None:
        headers = {"Authorization": "Bearer owner"}
        (user,) = self.call(f"projects/{PROJECT}/accounts:lookup", {"email": [email]}, **headers)["users"]
        self.call(f"projects/{PROJECT}/accounts:update", {"localId": user["localId"], "disableUser": True}, **headers)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One emulator for all tests: each has people of its own."""
    if not TOOLS.exists():
        pytest.fail(f"{TOOLS.relative_to(ROOT)} is not there: these tests are run by `make peers`, which installs it")
    tmp_path = tmp_path_factory.mktemp("emulator")
    ports = {name: {"host": "127.0.0.1", "port": free_port()} for name in ("auth", "hub", "logging")}
    (tmp_path / "firebase.json").write_text(json.dumps({"emulators": {**ports, "ui": {"enabled": False}}}))
    node = Path(sys.executable).parent / "node"
    command = [str(node), str(TOOLS), "emulators:start", "--only", "auth", "--project", PROJECT]
    variables = environment(HOME=str(tmp_path), FIREBASE_CLI_DISABLE_UPDATE_CHECK="true", CI="true")
    output = tmp_path / "emulator.out"
    with output.open("wb") as written:
        process = subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=written, stderr=written, start_new_session=True)
    running = Emulator(f"127.0.0.1:{ports['auth']['port']}")

    def ready() -> bool:
        assert process.poll() is None, output.read_text()
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"http://{running.host}/", timeout=1).status_code == 200
        return False

    try:
        wait_for("the emulator to be ready", ready, START_S)
        yield running
    finally:
        # The program `node` starts the real one: the whole group is ended.
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)


def served(emulator: Emulator, make_server: Make, **variables: str) -> Server:
    """A running server that believes the emulator."""
    server = make_server(
        DRIFTLOCK_FIREBASE_PROJECT_ID=PROJECT,
        DRIFTLOCK_FIREBASE_EMULATOR="on",
        FIREBASE_AUTH_EMULATOR_HOST=emulator.host,
        **variables,
    )
    server.start()
    return server


def founder(emulator: Emulator, server: Server, email: str) -> tuple[str, str]:
    """Somebody who has just made an account: the token of their sign-in, and the account's first key."""
    emulator.verify(email, emulator.sign_up(email))
    token = emulator.sign_in(email)
    made = ask(server, token, "POST", "/v1/auth/signup", {"name": "Engines"})
    assert made.status_code == 201, made.text
    return token, made.json()["api_key"]


def ask(server: Server, token: str, method: str, path: str, body: object = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.request(method, server.rest + path, json=body, headers=headers, timeout=30)


def test_a_stranger_signs_in_signs_up_invites_and_is_shut_out(emulator: Emulator, make_server: Make) -> None:
    server = served(emulator, make_server)
    ada, bob = "ada@example.com", "bob@example.com"
    first = emulator.sign_up(ada)
    refused = ask(server, first, "POST", "/v1/auth/signup", {"name": "Engines"})
    assert (refused.status_code, refused.json()["code"]) == (403, "email_unverified")
    emulator.verify(ada, first)
    token = emulator.sign_in(ada)
    made = ask(server, token, "POST", "/v1/auth/signup", {"name": "Engines"})
    assert made.status_code == 201, made.text
    key = made.json()["api_key"]
    assert ask(server, token, "POST", "/v1/auth/signup", {"name": "Engines"}).json()["api_key"] is None
    sent = httpx.post(
        server.rest + "/v1/detect",
        json={"stream_id": "checkout", "events": ["payment 4711 authorised in 31 ms"]},
        headers={"X-Api-Key": key},
        timeout=30,
    )
    assert sent.status_code in (200, 202), sent.text
    streams = ask(server, token, "GET", "/v1/streams").json()["streams"]
    assert [stream["slug"] for stream in streams] == ["checkout"]
    assert server.get("/v1/streams")["streams"] == []  # the local account of this machine has none of it

    invitation = ask(server, token, "POST", "/v1/invitations", {"email": bob, "role": "viewer"}).json()["token"]
    guest = emulator.sign_up(bob)
    assert ask(server, guest, "POST", "/v1/invitations/accept", {"token": invitation}).status_code == 403
    emulator.verify(bob, guest)
    guest = emulator.sign_in(bob)
    assert ask(server, guest, "POST", "/v1/invitations/accept", {"token": invitation}).json()["role"] == "viewer"
    assert len(ask(server, guest, "GET", "/v1/streams").json()["streams"]) == 1
    assert ask(server, guest, "DELETE", "/v1/account", {"name": "Engines"}).status_code == 403

    emulator.disable(ada)
    assert ask(server, token, "GET", "/v1/streams").status_code == 200  # a token is good for its hour
    assert ask(server, token, "POST", "/v1/invitations", {"email": "eve@example.com"}).status_code == 401
    assert ask(server, token, "DELETE", "/v1/account", {"name": "Engines"}).status_code == 401


def test_an_account_is_deleted_by_its_owner(emulator: Emulator, make_server: Make) -> None:
    server = served(emulator, make_server)
    token, key = founder(emulator, server, "cleo@example.com")
    headers = {"X-Api-Key": key}
    assert httpx.get(server.rest + "/v1/streams", headers=headers).status_code == 200
    assert ask(server, token, "DELETE", "/v1/account", {"name": "Engines"}).status_code == 204
    began = time.monotonic()
    wait_for("the key to be dead", lambda: httpx.get(server.rest + "/v1/streams", headers=headers).status_code == 401, 8)
    assert time.monotonic() - began < 8
    assert ask(server, token, "GET", "/v1/auth/me").json()["memberships"] == []


def export(server: Server, key: str, lines: list[str], began_s: int, step_s: int) -> None:
    """Send lines, `step_s` apart, as an exporter of logs does: OTLP/HTTP with the account's key; wait until they are scored."""
    told = ask(server, key, "GET", "/v1/streams").json()["streams"]
    before = told[0]["events"] if told else 0
    records = [
        {"timeUnixNano": str((began_s + index * step_s) * 10**9), "body": {"stringValue": line}}
        for index, line in enumerate(lines)
    ]
    service = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    for start in range(0, len(records), 400):
        scope = {"logRecords": records[start : start + 400]}
        response = httpx.post(
            f"http://127.0.0.1:{server.otlp_http_port}/v1/logs",
            json={"resourceLogs": [{"resource": service, "scopeLogs": [scope]}]},
            headers={"X-Api-Key": key},
            timeout=30,
        )
        assert response.status_code == 200, response.text

    def scored() -> bool:
        (stream,) = ask(server, key, "GET", "/v1/streams").json()["streams"]
        return stream["pending"] == 0 and stream["events"] == before + len(lines)

    wait_for("everything to be scored", scored)


def judge_feedback(server: Server, token: str, anomaly_id: str) -> None:
    """Look what feedback would do, give it, and take it back."""
    path = f"/v1/anomalies/{anomaly_id}/feedback"
    said = {"verdict": "expected", "note": "load test"}
    seen = ask(server, token, "POST", path, {**said, "preview": True})
    assert seen.status_code == 200, seen.text
    assert anomaly_id in [silenced["id"] for silenced in seen.json()["preview"]["silences"]]
    assert ask(server, token, "GET", path).status_code == 404  # a preview stores nothing
    given = ask(server, token, "POST", path, said)
    assert given.status_code == 200, given.text
    assert (given.json()["feedback"]["taught"], given.json()["feedback"]["given_by"]) == (True, "dora@example.com")
    assert ask(server, token, "DELETE", path).status_code == 204
    assert ask(server, token, "GET", path).status_code == 404


def test_a_stranger_comes_to_a_finding_that_is_verified_elsewhere(
    emulator: Emulator, make_server: Make, tmp_path: Path
) -> None:
    server = served(emulator, make_server, DRIFTLOCK_RATE_LIMITS="off")  # it asks again and again until something is there
    token, key = founder(emulator, server, "dora@example.com")
    began_s = int(time.time()) - 12 * 3600
    lines = shop_log(4_400, odd_at=3_000)
    export(server, key, lines[:3_400], began_s, 1)
    anomalies = ask(server, key, "GET", "/v1/anomalies").json()["anomalies"]
    finding = next(each for each in anomalies if each["question"] == "novelty")
    shown = ask(server, key, "GET", f"/v1/anomalies/{finding['id']}").json()
    assert any(segment["novel"] for line in shown["lines"] for segment in line["segments"])

    # The first key sends and reads: what changes something takes the person.
    feedback = {"verdict": "expected", "preview": True}
    assert ask(server, key, "POST", f"/v1/anomalies/{finding['id']}/feedback", feedback).status_code == 403
    judge_feedback(server, token, finding["id"])

    frozen = ask(server, token, "PUT", "/v1/streams/shop/anchor", {})
    assert frozen.status_code in (200, 202), frozen.text
    wait_for("the anchor", lambda: ask(server, token, "GET", "/v1/streams/shop/anchor").json()["anchor"])
    export(server, key, lines[3_400:], began_s + 3_400, 8)  # two hours of the usual
    hours = wait_for("an hour's distance", lambda: ask(server, key, "GET", "/v1/streams/shop/drift").json()["hours"])
    assert not any(hour["drifting"] for hour in hours)
    assert all(0 <= hour["distance"] < 0.35 for hour in hours)

    evidence = ask(server, key, "GET", f"/v1/anomalies/{finding['id']}/evidence")
    assert evidence.status_code == 200, evidence.text
    (signer,) = server.get("/v1/evidence-keys")["keys"]
    server.close()  # from here on there is a file, and the digits of a key
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    name = evidence.headers["Content-Disposition"].split('"')[1]
    (elsewhere / name).write_bytes(evidence.content)
    code, told = verify(elsewhere, name, "--key", signer["public_key"])
    assert (code, told["result"], told["finding_id"]) == (0, "reproduced", finding["id"]), told
    flipped = bytearray(evidence.content)
    flipped[len(flipped) // 2] ^= 1
    (elsewhere / "flipped.evidence").write_bytes(flipped)
    code, told = verify(elsewhere, "flipped.evidence", "--key", signer["public_key"])
    assert (code, told["result"]) == (1, "forged"), told
