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

from tests.e2e.harness import ROOT, Server, environment, free_port, wait_for

pytestmark = pytest.mark.peer
TOOLS = ROOT / "build" / "peers" / "firebase" / "node_modules" / "firebase-tools" / "lib" / "bin" / "firebase.js"
PROJECT = "demo-driftlock"
START_S, STOP_S = 180.0, 10.0


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


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    if not TOOLS.exists():
        pytest.fail(f"{TOOLS.relative_to(ROOT)} is not there: these tests are run by `make peers`, which installs it")
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


def ask(server: Server, token: str, method: str, path: str, body: object = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.request(method, server.rest + path, json=body, headers=headers, timeout=30)


def test_a_stranger_signs_in_signs_up_invites_and_is_shut_out(emulator: Emulator, make_server: Callable[..., Server]) -> None:
    server = make_server(
        DRIFTLOCK_FIREBASE_PROJECT_ID=PROJECT,
        DRIFTLOCK_FIREBASE_EMULATOR="on",
        FIREBASE_AUTH_EMULATOR_HOST=emulator.host,
    )
    server.start()
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


def test_an_account_is_deleted_by_its_owner(emulator: Emulator, make_server: Callable[..., Server]) -> None:
    server = make_server(
        DRIFTLOCK_FIREBASE_PROJECT_ID=PROJECT,
        DRIFTLOCK_FIREBASE_EMULATOR="on",
        FIREBASE_AUTH_EMULATOR_HOST=emulator.host,
    )
    server.start()
    email = "ada@example.com"
    emulator.verify(email, emulator.sign_up(email))
    token = emulator.sign_in(email)
    key = ask(server, token, "POST", "/v1/auth/signup", {"name": "Engines"}).json()["api_key"]
    headers = {"X-Api-Key": key}
    assert httpx.get(server.rest + "/v1/streams", headers=headers).status_code == 200
    assert ask(server, token, "DELETE", "/v1/account", {"name": "Engines"}).status_code == 204
    began = time.monotonic()
    wait_for("the key to be dead", lambda: httpx.get(server.rest + "/v1/streams", headers=headers).status_code == 401, 8)
    assert time.monotonic() - began < 8
    assert ask(server, token, "GET", "/v1/auth/me").json()["memberships"] == []
