"""Tokens that can not be good are refused before any key is looked up, whatever signs them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.accounts.id_tokens import (
    KID_CHARS_MAX,
    SUBJECT_CHARS_MAX,
    TOKEN_CHARS_MAX,
    Project,
    identity_of,
    looks_like_token,
    screen,
)
from driftlock.accounts.people import EMAIL_BYTES_MAX, NAME_BYTES_MAX
from driftlock.errors import Unauthenticated
from tests.accounts.tokens import ISSUER, PROJECT, base64url, claims, parts, unsigned

NOW_S = 1_800_000_000
PLAIN = Project(PROJECT)
EMULATED = Project(PROJECT, emulated=True)
GOOD = {"alg": "RS256", "kid": "one", "typ": "JWT"}


def token(header: object = GOOD, signature: str = "c2ln", **changes: object) -> str:
    return f"{parts(header, claims(NOW_S, **changes))}.{signature}"


def test_a_token_that_may_be_good_names_its_key() -> None:
    assert screen(token(), PLAIN, NOW_S) == "one"
    assert screen(token(exp=NOW_S + 1, iat=NOW_S, auth_time=NOW_S), PLAIN, NOW_S) == "one"
    assert screen(token(sub="x" * SUBJECT_CHARS_MAX), PLAIN, NOW_S) == "one"
    assert screen(token(GOOD | {"kid": "k" * KID_CHARS_MAX}), PLAIN, NOW_S) == "k" * KID_CHARS_MAX


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "another-project"},
        {"aud": [PROJECT]},
        {"aud": None},
        {"iss": ISSUER + "x"},
        {"iss": "https://accounts.google.com"},
        {"iss": None},
        {"exp": NOW_S},
        {"exp": NOW_S - 1},
        {"exp": None},
        {"exp": str(NOW_S + 60)},
        {"exp": 1e12},
        {"exp": True},
        {"iat": NOW_S + 1},
        {"iat": None},
        {"iat": -1},
        {"auth_time": NOW_S + 1},
        {"auth_time": None},
        {"auth_time": 2**63},
        {"sub": ""},
        {"sub": None},
        {"sub": "x" * (SUBJECT_CHARS_MAX + 1)},
        {"sub": {"id": "ada"}},
        {"sub": 7},
        {"sub": "a\x00b"},
        {"firebase": {"tenant": "of-a-tenant"}},
    ],
    ids=str,
)
@pytest.mark.parametrize("project", [PLAIN, EMULATED], ids=["signed", "emulated"])
def test_claims_that_are_not_those_of_a_current_token_of_the_project(changes: dict[str, object], project: Project) -> None:
    text = unsigned(claims(NOW_S, **changes)) if project.emulated else token(**changes)
    with pytest.raises(Unauthenticated):
        screen(text, project, NOW_S)


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none", "kid": "one"},
        {"alg": "HS256", "kid": "one"},
        {"alg": "ES256", "kid": "one"},
        {"alg": "rs256", "kid": "one"},
        {"kid": "one"},
        {"alg": "RS256"},
        {"alg": "RS256", "kid": ""},
        {"alg": "RS256", "kid": 1},
        {"alg": "RS256", "kid": ["one"]},
        {"alg": "RS256", "kid": "k" * (KID_CHARS_MAX + 1)},
        GOOD | {"jku": "https://example.com/keys"},
        GOOD | {"x5u": "https://example.com/chain"},
        GOOD | {"jwk": {"kty": "RSA"}},
        GOOD | {"x5c": ["MIIB"]},
        GOOD | {"crit": ["b64"], "b64": False},
        [],
        "RS256",
        None,
    ],
    ids=str,
)
def test_headers_of_other_algorithms_or_with_keys_of_their_own(header: object) -> None:
    with pytest.raises(Unauthenticated):
        screen(token(header), PLAIN, NOW_S)


def test_what_is_no_token() -> None:
    good = token()
    deep = base64url(b"[" * 3000)
    wrong = [
        "",
        "..",
        good + ".x",
        good.rpartition(".")[0],
        good.rpartition(".")[0] + ".",
        good.replace(".", "=.", 1),
        f"{deep}.{deep}.x",
        f"{base64url(b'{')}.e30.x",
        "é" + good,
        " " + good,
        good.replace("e", "+", 1),
    ]
    for text in wrong:
        with pytest.raises(Unauthenticated):
            screen(text, PLAIN, NOW_S)


def test_the_limit_of_a_token() -> None:
    size = len(token(name="x"))
    padding = (TOKEN_CHARS_MAX - size) * 3 // 4
    assert screen(token(name="x" * padding), PLAIN, NOW_S) == "one"
    with pytest.raises(Unauthenticated):
        screen(token(name="x" * (padding + 5)), PLAIN, NOW_S)
    with pytest.raises(Unauthenticated):
        screen(token(name="x" * 2**20), PLAIN, NOW_S)


def test_unsigned_tokens_are_for_the_emulator_and_signed_ones_for_everybody_else() -> None:
    assert screen(unsigned(claims(NOW_S)), EMULATED, NOW_S) == ""
    with pytest.raises(Unauthenticated):
        screen(unsigned(claims(NOW_S)), PLAIN, NOW_S)
    with pytest.raises(Unauthenticated):
        screen(token(), EMULATED, NOW_S)


@given(st.text() | st.lists(st.binary(max_size=60), min_size=3, max_size=3).map(lambda raw: ".".join(map(base64url, raw))))
def test_nothing_but_a_refusal_comes_of_junk(text: str) -> None:
    with pytest.raises(Unauthenticated):
        screen(text, PLAIN, NOW_S)


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), lambda it: st.lists(it))


@given(st.sampled_from(sorted(claims(NOW_S))), JSON)
def test_whatever_stands_in_one_claim_a_token_is_screened_or_refused(name: str, value: object) -> None:
    text = f"{parts(GOOD, claims(NOW_S) | {name: value})}.c2ln"
    try:
        screen(text, PLAIN, NOW_S)
    except Unauthenticated:
        return
    identity = identity_of(json.loads(json.dumps(claims(NOW_S) | {name: value})), ISSUER)
    assert len(identity.email.encode()) <= EMAIL_BYTES_MAX
    assert len(identity.name.encode()) <= NAME_BYTES_MAX
    assert identity.email_verified in ((True, False) if identity.email else (False,))
    assert 1 <= len(identity.subject) <= SUBJECT_CHARS_MAX


@pytest.mark.parametrize("verified", [False, None, "true", 1])
def test_only_true_verifies_an_address(verified: object) -> None:
    assert not identity_of(claims(NOW_S, email_verified=verified), ISSUER).email_verified
    assert identity_of(claims(NOW_S), ISSUER).email_verified


def test_keys_are_not_taken_for_tokens() -> None:
    assert not looks_like_token("dl_live_aaaaaaaaaaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_b4b5b229")
    assert looks_like_token(token())
