"""ID tokens through firebase-admin, with keys of our own; and how often the certificates of keys are fetched."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from driftlock.accounts.id_tokens import Project
from driftlock.errors import DriftlockError, SignInAgain, Unauthenticated, Unavailable
from driftlock.storage.startup import StartupRefused
from server import firebase_library
from server.firebase import CERTIFICATES_URL, Certificates, FirebaseLimits, FirebaseSignIns
from server.firebase_library import FirebaseLibrary
from tests.accounts.tokens import ISSUER, PROJECT, base64url, claims, signing_key, unsigned
from tests.server.certificate_server import CertificateServer, serve_certificates

ONE, TWO, EVIL = signing_key("one"), signing_key("two"), signing_key("one-as-forged")


@dataclass
class Clock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class SignIn:
    """Everything that verifies tokens, over a server of certificates, by a clock of its own."""

    google: CertificateServer
    clock: Clock
    certificates: Certificates
    admin_sdk: FirebaseLibrary
    threads: Executor
    limits: FirebaseLimits = field(default_factory=FirebaseLimits)

    async def verify(self, token: str, *, fresh: bool = False) -> str:
        sign_ins = FirebaseSignIns(Project(PROJECT), self.certificates, self.admin_sdk, self.threads, None, self.limits)
        return (await sign_ins.verify(token, now_s=now_s(), fresh=fresh)).subject


def now_s() -> int:
    return int(time.time())


def good(**changes: object) -> dict[str, object]:
    return claims(now_s(), **changes)


@pytest.fixture
async def sign_in(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SignIn]:
    monkeypatch.delenv("FIREBASE_AUTH_EMULATOR_HOST", raising=False)
    clock = Clock()
    async with serve_certificates(ONE) as google, httpx.AsyncClient(trust_env=False) as client:
        certificates = Certificates(client, clock, url=google.url)
        library = FirebaseLibrary(PROJECT, lambda: certificates.held, None, emulated=False)
        with ThreadPoolExecutor(1) as threads:
            yield SignIn(google, clock, certificates, library, threads)


async def refusal(sign_in: SignIn, token: str) -> type[DriftlockError] | None:
    try:
        await sign_in.verify(token)
    except DriftlockError as error:
        return type(error)
    return None


async def test_a_good_token_says_who_it_is(sign_in: SignIn) -> None:
    assert await sign_in.verify(ONE.token(good())) == "ada"
    assert await sign_in.verify(ONE.token(good(sub="bob"))) == "bob"
    assert sign_in.google.asked == 1


async def test_the_place_of_the_keys_is_the_one_that_the_library_knows() -> None:
    from firebase_admin import _token_gen

    assert CERTIFICATES_URL == _token_gen.ID_TOKEN_CERT_URI
    assert _token_gen.ID_TOKEN_ISSUER_PREFIX + PROJECT == Project(PROJECT).issuer == ISSUER


async def test_forged_tokens_are_refused_and_fetch_nothing_more(sign_in: SignIn) -> None:
    assert await sign_in.verify(ONE.token(good())) == "ada"
    cut, changed = ONE.token(good()), ONE.token(good())
    head, _, signature = changed.partition(".")
    _, _, signature = signature.partition(".")
    other = base64url(json.dumps(good(sub="eve")).encode())
    forged = {
        "none": unsigned(good()),
        "none with a key id": ONE.token(good(), alg="none"),
        "HS256 with the public key": ONE.confused(good()),
        "another algorithm": ONE.token(good(), alg="RS512"),
        "no kid": ONE.token(good(), kid=None),
        "unknown kid": ONE.token(good(), kid="three"),
        "kid of another key": EVIL.token(good(), kid="one"),
        "jku": ONE.token(good(), jku=sign_in.google.url),
        "x5u": ONE.token(good(), x5u=sign_in.google.url),
        "jwk": ONE.token(good(), jwk={"kty": "RSA", "n": "AQAB", "e": "AQAB"}),
        "aud": ONE.token(good(aud="another")),
        "aud list": ONE.token(good(aud=[PROJECT])),
        "iss": ONE.token(good(iss="https://securetoken.google.com/another")),
        "expired": ONE.token(good(exp=now_s() - 1)),
        "issued in the future": ONE.token(good(iat=now_s() + 30)),
        "signed in in the future": ONE.token(good(auth_time=now_s() + 30)),
        "no auth_time": ONE.token(good(auth_time=None)),
        "no exp": ONE.token(good(exp=None)),
        "exp text": ONE.token(good(exp="tomorrow")),
        "sub empty": ONE.token(good(sub="")),
        "sub long": ONE.token(good(sub="x" * 129)),
        "sub object": ONE.token(good(sub={"a": 1})),
        "no sub": ONE.token(good(sub=None)),
        "of a tenant of the project": ONE.token(good(firebase={"tenant": "t"})),
        "no object": ONE.token([1]),
        "signature cut": cut[:-2],
        "signature of something else": f"{head}.{other}.{signature}",
        "no signature": cut.rpartition(".")[0] + ".",
        "huge": ONE.token(good(padding="x" * 2**20)),
        "a key": "dl_live_aaaaaaaaaaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_b4b5b229",
    }
    assert len(forged) == 30
    assert {name: await refusal(sign_in, token) for name, token in forged.items()} == dict.fromkeys(forged, Unauthenticated)
    assert sign_in.google.asked == 1
    assert await sign_in.verify(changed) == "ada"


async def test_unknown_keys_are_looked_for_at_most_once_a_minute(sign_in: SignIn) -> None:
    assert await sign_in.verify(ONE.token(good())) == "ada"
    storm = [ONE.token(good(), kid=f"unknown-{number}") for number in range(50)]
    for token in storm:
        assert await refusal(sign_in, token) is Unauthenticated
    assert sign_in.google.asked == 1
    sign_in.clock.now_s += 60
    await asyncio.gather(*(refusal(sign_in, token) for token in storm))
    assert sign_in.google.asked == 2
    sign_in.clock.now_s += 59
    await asyncio.gather(*(refusal(sign_in, token) for token in storm))
    assert sign_in.google.asked == 2


async def test_a_new_key_is_found_and_the_old_one_goes_on(sign_in: SignIn) -> None:
    assert await sign_in.verify(ONE.token(good())) == "ada"
    sign_in.google.keys = (TWO,)
    sign_in.clock.now_s += 60
    assert await sign_in.verify(TWO.token(good(sub="bob"))) == "bob"
    assert await sign_in.verify(ONE.token(good())) == "ada"
    sign_in.clock.now_s += 19_999
    assert await refusal(sign_in, ONE.token(good())) is Unauthenticated  # what was said of it has expired
    assert await sign_in.verify(TWO.token(good())) == "ada"


async def test_one_fetch_serves_all_who_wait(sign_in: SignIn) -> None:
    sign_in.google.open.clear()
    waiting = [asyncio.ensure_future(sign_in.verify(ONE.token(good()))) for _ in range(20)]
    await sign_in.google.asking.wait()
    waiting[0].cancel()  # a client that hangs up takes nobody with it
    sign_in.google.open.set()
    assert await asyncio.gather(*waiting[1:]) == ["ada"] * 19
    assert sign_in.google.asked == 1


async def test_without_certificates_nothing_can_be_said(sign_in: SignIn) -> None:
    sign_in.google.status = "500 Internal Server Error"
    assert await refusal(sign_in, ONE.token(good())) is Unavailable
    assert await refusal(sign_in, ONE.token(good())) is Unavailable
    assert sign_in.google.asked == 1  # not again at once
    sign_in.google.status = "200 OK"
    sign_in.clock.now_s += 5
    assert await sign_in.verify(ONE.token(good())) == "ada"


async def test_known_keys_go_on_while_the_provider_is_away_until_they_expire(sign_in: SignIn) -> None:
    assert await sign_in.verify(ONE.token(good())) == "ada"
    sign_in.google.status = "503 Service Unavailable"
    sign_in.clock.now_s += 19_999
    assert await sign_in.verify(ONE.token(good())) == "ada"
    assert await refusal(sign_in, ONE.token(good(), kid="unknown")) is Unauthenticated
    sign_in.clock.now_s += 5
    assert await refusal(sign_in, ONE.token(good())) is Unavailable
    assert sign_in.google.asked == 3


@pytest.mark.parametrize(
    ("cache_control", "age_s"),
    [
        ("public, max-age=120", 120),
        ("MAX-AGE=120", 120),
        ("no-cache", 300),
        ("", 300),
        ("max-age=0", 60),
        ("max-age=999999999", 86_400),
        ("s-max-age=7", 300),
    ],
)
async def test_certificates_are_kept_as_long_as_the_answer_says(sign_in: SignIn, cache_control: str, age_s: int) -> None:
    sign_in.google.cache_control = cache_control
    assert await sign_in.certificates.get("one")
    sign_in.clock.now_s += age_s - 1
    assert await sign_in.certificates.get("one")
    assert sign_in.google.asked == 1
    sign_in.clock.now_s += 1
    assert await sign_in.certificates.get("one")
    assert sign_in.google.asked == 2


LIMITS = FirebaseLimits()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"one": 1}',
        b'{"one": "no certificate"}',
        b'{"keys": []}',
        b" " * (LIMITS.certificates_bytes_max + 1),
        json.dumps({f"k{n}": ONE.certificate for n in range(LIMITS.certificates_max + 1)}).encode(),
    ],
    ids=["empty", "array", "none", "number", "text", "jwks", "certificates_bytes_max", "certificates_max"],
)
async def test_an_answer_without_certificates_is_none(sign_in: SignIn, body: bytes) -> None:
    sign_in.google.body = body
    with pytest.raises(Unavailable):
        await sign_in.certificates.get("one")
    assert sign_in.certificates.held == {}


async def test_a_redirect_is_not_followed(sign_in: SignIn) -> None:
    sign_in.google.status, sign_in.google.extra = "302 Found", f"Location: {sign_in.google.url}\r\n"
    with pytest.raises(Unavailable):
        await sign_in.certificates.get("one")
    assert sign_in.google.asked == 1


async def test_fetch_timeout_ms(sign_in: SignIn) -> None:
    sign_in.google.open.clear()
    async with httpx.AsyncClient(trust_env=False) as client:
        slow = Certificates(client, sign_in.clock, url=sign_in.google.url, limits=FirebaseLimits(fetch_timeout_ms=20))
        with pytest.raises(Unavailable):
            await slow.get("one")


async def test_keys_that_are_kept_are_bounded(sign_in: SignIn) -> None:
    limits = FirebaseLimits(certificates_max=2)
    async with httpx.AsyncClient(trust_env=False) as client:
        certificates = Certificates(client, sign_in.clock, url=sign_in.google.url, limits=limits)
        for number in range(4):
            kid = f"k{number}"
            sign_in.google.body = json.dumps({kid: ONE.certificate}).encode()
            assert await certificates.get(kid)
            assert len(certificates.held) <= 2
            sign_in.clock.now_s += 60


async def test_what_is_dangerous_takes_a_recent_sign_in_where_nobody_can_be_asked(sign_in: SignIn) -> None:
    old = ONE.token(good(auth_time=now_s() - 3700))
    assert await sign_in.verify(old) == "ada"
    with pytest.raises(SignInAgain):
        await sign_in.verify(old, fresh=True)
    assert await sign_in.verify(ONE.token(good()), fresh=True) == "ada"


class Asked:
    """A library that is told who is revoked, and counts how often it was asked."""

    def __init__(self, answer: DriftlockError | None = None) -> None:
        self.answer = answer
        self.revocations = 0

    def verify(self, token: str, *, check_revoked: bool) -> Mapping[str, object]:  # noqa: ARG002
        self.revocations += check_revoked
        if self.answer is not None and check_revoked:
            raise self.answer
        return good(auth_time=1)


async def test_only_what_is_dangerous_asks_whether_a_sign_in_stands(sign_in: SignIn) -> None:
    library, token = Asked(), ONE.token(good(auth_time=1))
    sign_ins = FirebaseSignIns(Project(PROJECT), sign_in.certificates, library, sign_in.threads, sign_in.threads)
    assert (await sign_ins.verify(token, now_s=now_s(), fresh=False)).subject == "ada"
    assert library.revocations == 0
    assert (await sign_ins.verify(token, now_s=now_s(), fresh=True)).subject == "ada"  # however old
    assert library.revocations == 1
    library.answer = Unauthenticated("revoked")
    with pytest.raises(Unauthenticated):
        await sign_ins.verify(token, now_s=now_s(), fresh=True)


async def test_verifying_max_and_asking_timeout_ms(sign_in: SignIn) -> None:
    limits = FirebaseLimits(verifying_max=1, asking_timeout_ms=30)
    with ThreadPoolExecutor(1) as held:
        blocker = held.submit(time.sleep, 0.2)
        sign_ins = FirebaseSignIns(Project(PROJECT), sign_in.certificates, Asked(), sign_in.threads, held, limits)
        token = ONE.token(good())
        await sign_in.certificates.get("one")
        asking = asyncio.ensure_future(sign_ins.verify(token, now_s=now_s(), fresh=True))
        await asyncio.sleep(0.001)
        with pytest.raises(Unavailable, match="verifying_max"):
            await sign_ins.verify(token, now_s=now_s(), fresh=False)
        with pytest.raises(Unavailable, match="too long"):
            await asking
        assert (await sign_ins.verify(token, now_s=now_s(), fresh=False)).subject == "ada"
        blocker.cancel()


def test_a_start_without_the_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firebase_library, "find_spec", lambda _: None)
    with pytest.raises(StartupRefused, match=r"pip install 'driftlock\[firebase\]'"):
        FirebaseLibrary(PROJECT, dict, None, emulated=False)


@pytest.mark.parametrize("content", [None, "", "{}", '{"type": "authorized_user"}', '{"type": "service_account"}'])
def test_credentials_that_are_none_are_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "credentials.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(StartupRefused, match="DRIFTLOCK_FIREBASE_CREDENTIALS_FILE"):
        FirebaseLibrary(PROJECT, dict, path, emulated=False)


@pytest.mark.parametrize("host", ["127.0.0.1:9099", " "])
def test_a_library_that_would_believe_unsigned_tokens_is_refused(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("FIREBASE_AUTH_EMULATOR_HOST", host)
    with pytest.raises(StartupRefused, match="FIREBASE_AUTH_EMULATOR_HOST"):
        FirebaseLibrary(PROJECT, dict, None, emulated=False)
    monkeypatch.delenv("FIREBASE_AUTH_EMULATOR_HOST")
    with pytest.raises(StartupRefused, match="FIREBASE_AUTH_EMULATOR_HOST"):
        FirebaseLibrary(PROJECT, dict, None, emulated=True)
