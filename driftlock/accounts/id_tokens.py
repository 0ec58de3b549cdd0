"""Firebase ID tokens before anybody is asked about them: what can not be a good one is refused without a key or a signature.

A token is a JWT (RFC 7519) in the compact form of a JWS (RFC 7515): header, claims and signature, with dots between them. What
its claims have to say is in the documentation of Firebase, "Verify ID tokens using a third-party JWT library"; the header
has to name RS256 and a key, and must not bring keys of its own (RFC 8725, sections 3.1 and 3.10). Whether the signature is good
is for others to say.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass

from driftlock.accounts.people import EMAIL_BYTES_MAX, NAME_BYTES_MAX, Identity
from driftlock.errors import Unauthenticated

ISSUER_PREFIX = "https://securetoken.google.com/"
TOKEN_CHARS_MAX = 8192
KID_CHARS_MAX = 256
SUBJECT_CHARS_MAX = 128
TIME_S_MAX = 2**53
ALGORITHM = "RS256"
UNSIGNED = "none"
# A header that says where a key is, or brings one, asks to be believed by itself; none of them is in a good token.
FOREIGN_KEYS = frozenset({"jku", "jwk", "x5u", "x5c", "crit"})
# One text for every reason: it must not say what is wrong with a forged token.
REFUSED = "no valid sign-in: send a current ID token of this server's Firebase project as `authorization: Bearer <token>`"


@dataclass(frozen=True, slots=True)
class Project:
    """The Firebase project that people sign in with. `emulated`: its tokens are the emulator's, which does not sign them."""

    project_id: str
    emulated: bool = False

    @property
    def issuer(self) -> str:
        """Who its tokens are from."""
        return ISSUER_PREFIX + self.project_id


def looks_like_token(text: str) -> bool:
    """Whether a credential is meant to be a JWT and not an API key, in which there are no dots.

    >>> looks_like_token("e30.e30."), looks_like_token("dl_live_aaaaaaaaaaaaaaaa")
    (True, False)
    """
    return text.count(".") == 2


def screen(token: str, project: Project, now_s: int) -> str:
    """The id of the key that would have signed `token` ("" where tokens are not signed), for a token that may be good.

    Raises `Unauthenticated`, with one text, for everything that no key could make good at `now_s` (Unix seconds).
    """
    if len(token) > TOKEN_CHARS_MAX or not token.isascii() or not looks_like_token(token):
        raise Unauthenticated(REFUSED)
    first, second, third = token.split(".")
    header, claims = _object(first), _object(second)
    _check_claims(claims, project, now_s)
    if project.emulated:
        if header.get("alg") != UNSIGNED:
            raise Unauthenticated(REFUSED)
        return ""
    kid = header.get("kid")
    if header.get("alg") != ALGORITHM or not third or not FOREIGN_KEYS.isdisjoint(header):
        raise Unauthenticated(REFUSED)
    if not isinstance(kid, str) or not 1 <= len(kid) <= KID_CHARS_MAX:
        raise Unauthenticated(REFUSED)
    return kid


def identity_of(claims: Mapping[str, object], issuer: str) -> Identity:
    """Who the claims of a verified token are about. An address that is none, or not verified, proves nothing."""
    email, name = claims.get("email"), claims.get("name")
    known = isinstance(email, str) and 3 <= len(_bytes(email)) <= EMAIL_BYTES_MAX and email.isprintable()
    auth_time = claims["auth_time"]
    assert isinstance(auth_time, int)  # noqa: S101  # screened
    return Identity(
        issuer=issuer,
        subject=str(claims["sub"]),
        email=str(email) if known else "",
        email_verified=known and claims.get("email_verified") is True,
        name=_bytes(name)[:NAME_BYTES_MAX].decode("utf-8", "ignore") if isinstance(name, str) and name.isprintable() else "",
        signed_in_s=auth_time,
    )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _check_claims(claims: Mapping[str, object], project: Project, now_s: int) -> None:
    subject, firebase = claims.get("sub"), claims.get("firebase")
    times = [claims.get(name) for name in ("auth_time", "iat", "exp")]
    if not all(type(time) is int and 0 <= time <= TIME_S_MAX for time in times):
        raise Unauthenticated(REFUSED)
    signed_in_s, issued_s, expires_s = times
    good = (
        claims.get("aud") == project.project_id
        and claims.get("iss") == project.issuer
        and isinstance(subject, str)
        and 1 <= len(subject) <= SUBJECT_CHARS_MAX
        and subject.isprintable()
        and signed_in_s <= now_s  # type: ignore[operator]  # whole numbers, as seen above
        and issued_s <= now_s < expires_s  # type: ignore[operator]
        # Subjects of the tenants of one project are not one namespace: only the project's own users are known here.
        and not (isinstance(firebase, Mapping) and firebase.get("tenant"))
    )
    if not good:
        raise Unauthenticated(REFUSED)


def _object(part: str) -> Mapping[str, object]:
    """A JSON object in base64url without padding (RFC 7515, section 2)."""
    try:
        if "=" in part:
            raise Unauthenticated(REFUSED)
        value = json.loads(base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        raise Unauthenticated(REFUSED) from None
    if not isinstance(value, dict):
        raise Unauthenticated(REFUSED)
    return value
