"""firebase-admin, as far as it is used here: signatures of ID tokens, and whether a sign-in was revoked.

It is an optional dependency, so it is imported when it is needed and nowhere else.
"""

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from driftlock.accounts.id_tokens import REFUSED
from driftlock.errors import Unauthenticated, Unavailable
from driftlock.storage.startup import StartupRefused

HTTP_TIMEOUT_S = 5
AWAY = "the sign-in provider can not be asked at the moment; retry"


class _Held:
    """An answer of the kind that the library expects of its HTTP client."""

    status = HTTPStatus.OK

    def __init__(self, certificates: Mapping[str, str]) -> None:
        self.data = json.dumps(certificates).encode()


class FirebaseLibrary:
    """Implements `server.firebase.TokenLibrary` for one project. `held` are the certificates to believe, by ids of keys."""

    def __init__(
        self, project_id: str, held: Callable[[], Mapping[str, str]], credentials_file: Path | None, *, emulated: bool
    ) -> None:
        """Raises `StartupRefused` where the library is not installed or the credentials are of no use."""
        if find_spec("firebase_admin") is None:
            raise StartupRefused(
                "DRIFTLOCK_FIREBASE_PROJECT_ID is set but firebase-admin is not installed: pip install 'driftlock[firebase]', "
                "or unset it"
            )
        import firebase_admin
        from firebase_admin import auth, credentials
        from google.auth.credentials import AnonymousCredentials

        try:
            nobody: Any = AnonymousCredentials  # it has no types
            who = nobody() if credentials_file is None else credentials.Certificate(str(credentials_file))
        except (OSError, ValueError) as error:
            raise StartupRefused(f"DRIFTLOCK_FIREBASE_CREDENTIALS_FILE is no key of a service account: {error}") from None
        app = firebase_admin.App("driftlock", who, {"projectId": project_id, "httpTimeout": HTTP_TIMEOUT_S})
        self._client = auth.Client(app)
        if self._client.emulated != emulated:  # it looks at the environment by itself, and would believe unsigned tokens
            raise StartupRefused("FIREBASE_AUTH_EMULATOR_HOST is not what DRIFTLOCK_FIREBASE_EMULATOR says: unset it")
        # The library would fetch certificates by itself, without a bound on how often. A release that holds them elsewhere
        # must not pass unnoticed.
        verifier = self._client._token_verifier  # noqa: SLF001
        if not hasattr(verifier, "request"):
            raise StartupRefused("this version of firebase-admin is not one that Driftlock knows: install driftlock[firebase]")
        verifier.request = lambda *_, **__: _Held(held())

    def verify(self, token: str, *, check_revoked: bool) -> Mapping[str, Any]:
        """The claims of a token with a good signature; `check_revoked` asks the provider whether the sign-in still stands.

        Raises `Unauthenticated` for a token that proves nothing, `Unavailable` when the provider can not be asked.
        """
        from firebase_admin import auth
        from firebase_admin.exceptions import FirebaseError
        from google.auth.exceptions import GoogleAuthError

        try:
            claims: dict[str, Any] = self._client.verify_id_token(token, check_revoked=check_revoked)
        except (auth.InvalidIdTokenError, auth.UserDisabledError, auth.UserNotFoundError, ValueError):
            raise Unauthenticated(REFUSED) from None
        except (FirebaseError, GoogleAuthError, OSError) as error:  # errors of its HTTP client are OSErrors
            raise Unavailable(AWAY, retry_after_ms=1000) from error
        return claims
