"""How people sign in, as settings say it: put together, and refused where it would be dangerous."""

import time
from pathlib import Path

import pytest

from api.people import PublicFirebase
from driftlock.accounts.actor import SYSTEM
from driftlock.accounts.keys import KeyKind, mint
from driftlock.accounts.people import NOBODY
from driftlock.errors import Unauthenticated
from driftlock.storage.pool import Database
from driftlock.storage.startup import StartupRefused
from server.people import open_people, public_firebase
from server.settings import SettingError, parse_settings
from tests.accounts.tokens import PROJECT, claims, signing_key, unsigned
from tests.server.certificate_server import serve_certificates

NAMES = ("PROJECT_ID", "WEB_API_KEY", "AUTH_DOMAIN", "CREDENTIALS_FILE", "EMULATOR")
ID, WEB_KEY, DOMAIN, CREDENTIALS, EMULATOR = (f"DRIFTLOCK_FIREBASE_{name}" for name in NAMES)
HOST = "FIREBASE_AUTH_EMULATOR_HOST"
EMULATED = {ID: PROJECT, EMULATOR: "on", HOST: "127.0.0.1:9099"}


@pytest.fixture(autouse=True)
def no_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(HOST, raising=False)


async def test_a_token_of_the_project_leads_to_an_account(database: Database) -> None:
    settings, key, now_s = parse_settings({ID: PROJECT}), signing_key("one"), int(time.time())
    async with serve_certificates(key) as google, open_people(settings, database, google.url) as people:
        assert people is not None
        identity = await people.sign_ins.verify(key.token(claims(now_s)), now_s=now_s, fresh=True)
        assert (identity.subject, identity.email, identity.email_verified) == ("ada", "ada@example.com", True)
        found = await people.users.sign_up(identity, "Engines", mint(KeyKind.LIVE, bytes(30)), SYSTEM)
        assert (
            await people.users.sign_up(identity, "Engines", mint(KeyKind.LIVE, bytes(30)), SYSTEM)
        ).membership == found.membership
        with pytest.raises(Unauthenticated):
            await people.sign_ins.verify(unsigned(claims(now_s)), now_s=now_s, fresh=False)


async def test_the_tokens_of_the_emulator_are_believed_where_that_is_said(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HOST, EMULATED[HOST])
    now_s = int(time.time())
    async with open_people(parse_settings(EMULATED), database) as people:
        assert people is not None
        identity = await people.sign_ins.verify(unsigned(claims(now_s)), now_s=now_s, fresh=False)
        assert identity.subject == "ada"
        with pytest.raises(Unauthenticated):
            await people.sign_ins.verify(unsigned(claims(now_s, exp=now_s)), now_s=now_s, fresh=False)


async def test_an_environment_that_settings_did_not_see_is_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOST, EMULATED[HOST])
    with pytest.raises(StartupRefused, match=HOST):
        async with open_people(parse_settings({ID: PROJECT}), database):
            pass


async def test_without_a_project_there_are_no_people(database: Database) -> None:
    async with open_people(parse_settings({}), database) as people:
        assert people is None
    assert public_firebase(parse_settings({})) is None


def test_what_a_web_page_is_told() -> None:
    assert public_firebase(parse_settings({ID: PROJECT})) == PublicFirebase(PROJECT, "", f"{PROJECT}.firebaseapp.com")
    given = parse_settings({ID: PROJECT, WEB_KEY: "AIza-x", DOMAIN: "login.example.com"})
    assert public_firebase(given) == PublicFirebase(PROJECT, "AIza-x", "login.example.com")


@pytest.mark.parametrize("name", [WEB_KEY, DOMAIN, CREDENTIALS])
def test_what_belongs_to_a_project_needs_one(name: str) -> None:
    with pytest.raises(SettingError, match=f"{name} is set but {ID} is not"):
        parse_settings({name: "x"})
    assert parse_settings({ID: PROJECT, CREDENTIALS: "/x"}).firebase_credentials_file == Path("/x")


@pytest.mark.parametrize("text", ["short", "Upper-case", "a" * 31, "1project", "project-", "my project", "../../etc"])
def test_what_is_no_id_of_a_project(text: str) -> None:
    with pytest.raises(SettingError, match=ID):
        parse_settings({ID: text})


@pytest.mark.parametrize("text", ["9099", "http://127.0.0.1:9099", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:99999", ":9099"])
def test_what_is_no_address_of_an_emulator(text: str) -> None:
    with pytest.raises(SettingError, match=HOST):
        parse_settings(EMULATED | {HOST: text})


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({ID: PROJECT, HOST: "127.0.0.1:9099"}, "sign in as anybody: unset it"),
        ({ID: PROJECT, EMULATOR: "on"}, HOST),
        ({EMULATOR: "on", HOST: "127.0.0.1:9099"}, ID),
        (EMULATED | {"DRIFTLOCK_HTTP_ADDR": "0.0.0.0:8080"}, "not on loopback"),
        (EMULATED | {"DRIFTLOCK_OTLP_GRPC_ADDR": "192.0.2.1:4317"}, "not on loopback"),
        (EMULATED | {"DRIFTLOCK_OTLP_HTTP_ADDR": "[::]:4318"}, "not on loopback"),
        (EMULATED | {"PORT": "8080"}, "not on loopback"),
    ],
    ids=["not allowed", "no host", "no project", "REST", "OTLP/gRPC", "OTLP/HTTP", "PORT"],
)
def test_the_emulator_is_for_loopback_and_for_who_asks_for_it(given: dict[str, str], told: str) -> None:
    with pytest.raises(SettingError, match=told):
        parse_settings(given)


def test_the_emulator_where_it_does_no_harm() -> None:
    assert parse_settings(EMULATED).firebase_emulator
    assert parse_settings({HOST: "127.0.0.1:9099"}).firebase_project_id is None  # somebody else's, and nobody signs in here


async def test_who_never_signed_up_is_nobody(database: Database) -> None:
    settings, key, now_s = parse_settings({ID: PROJECT}), signing_key("one"), int(time.time())
    async with serve_certificates(key) as google, open_people(settings, database, google.url) as people:
        assert people is not None
        identity = await people.sign_ins.verify(key.token(claims(now_s)), now_s=now_s, fresh=False)
        assert (await people.users.find(identity.key)) == NOBODY  # type: ignore[attr-defined]
