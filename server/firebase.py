"""People's ID tokens, verified through firebase-admin, with the certificates of Google's signing keys kept by ourselves.

The library fetches certificates for every token that it can not verify from its cache, however often that fails. So it gets
them from `Certificates` instead: fetched when they are first needed, when they have expired, and at most once a minute for a
token of an unknown key; always by one task for all who wait.
"""

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import httpx

from driftlock.accounts.id_tokens import REFUSED, Project, identity_of, screen
from driftlock.accounts.people import Identity, check_fresh
from driftlock.errors import Unauthenticated, Unavailable

CERTIFICATES_URL = "https://www.googleapis.com/robot/v1/metadata/x509/securetoken@system.gserviceaccount.com"
"""The only place that keys come from (Firebase documentation, "Verify ID tokens using a third-party JWT library")."""
MAX_AGE = re.compile(r"(?:^|[,\s])max-age\s*=\s*\"?(\d{1,9})", re.IGNORECASE)
PEM = re.compile(r"-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class FirebaseLimits:
    """Of signing in. Times in seconds, but for those whose names say otherwise.

    Certificates are kept for the max-age of their response, within `certificates_age_s_min` and `certificates_age_s_max`;
    without one they are kept for `certificates_age_s_default`. `verifying_max` bounds the tokens that wait for a thread.
    """

    certificates_age_s_min: int = 60
    certificates_age_s_default: int = 300
    certificates_age_s_max: int = 86_400
    certificates_bytes_max: int = 256 * 1024
    certificates_max: int = 32
    unknown_key_pause_s: int = 60
    failure_pause_s: int = 5
    fetch_timeout_ms: int = 5_000
    asking_timeout_ms: int = 10_000
    verifying_max: int = 64
    fresh_age_s_max: int = 3_600


class Certificates:
    """Certificates by the id of their key. Event loop only; `monotonic_s` is a clock that never goes back."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        monotonic_s: Callable[[], float],
        *,
        url: str = CERTIFICATES_URL,
        limits: FirebaseLimits | None = None,
    ) -> None:
        """`client` follows no redirects. Nothing is fetched before it is needed."""
        self._client = client
        self._monotonic_s = monotonic_s
        self._url = url
        self._limits = limits or FirebaseLimits()
        self._known: dict[str, tuple[str, float]] = {}  # the certificate, and until when it holds
        self._fresh_until_s = float("-inf")
        self._asked_s = float("-inf")
        self._failed_s = float("-inf")
        self._fetching: asyncio.Task[None] | None = None
        self.fetches = 0

    async def get(self, kid: str) -> str | None:
        """The certificate of a key; None for one that is not Google's. Raises `Unavailable` while it can not be told."""
        now_s = self._monotonic_s()
        found = self._good(kid, now_s)
        if found is not None:
            return found
        if now_s >= self._fresh_until_s:  # without fresh certificates nothing can be said of a key
            if self._fetching is None and now_s - self._failed_s < self._limits.failure_pause_s:
                raise self._away()
            await self._fetch()
        elif self._fetching is not None or now_s - self._asked_s >= self._limits.unknown_key_pause_s:
            await self._fetch_quietly()
        return self._good(kid, self._monotonic_s())

    @property
    def held(self) -> Mapping[str, str]:
        """All that are known, by the ids of their keys."""
        return {kid: certificate for kid, (certificate, _) in self._known.items()}

    def _good(self, kid: str, now_s: float) -> str | None:
        certificate, until_s = self._known.get(kid, ("", float("-inf")))
        return certificate if now_s < until_s else None

    async def _fetch_quietly(self) -> None:
        """Look whether there are new keys; those that are known hold in any case."""
        try:
            await self._fetch()
        except Unavailable:
            return

    async def _fetch(self) -> None:
        """Fetch, or wait for who is fetching already; raise `Unavailable` when it fails."""
        if self._fetching is None:
            self._asked_s = self._monotonic_s()
            self._fetching = asyncio.ensure_future(self._ask())
            self._fetching.add_done_callback(self._fetched)
        await asyncio.shield(self._fetching)

    def _fetched(self, done: "asyncio.Task[None]") -> None:
        self._fetching = None
        if not done.cancelled():
            done.exception()  # mark it as seen, for callers that have left

    async def _ask(self) -> None:
        self.fetches += 1
        try:
            async with asyncio.timeout(self._limits.fetch_timeout_ms / 1000):
                found, age_s = await self._response()
        except (httpx.HTTPError, TimeoutError, ValueError) as error:
            self._failed_s = self._monotonic_s()
            raise self._away() from error
        now_s = self._monotonic_s()
        self._fresh_until_s = now_s + age_s
        # A key that Google no longer names goes on until what was said of it expires: its tokens are still on their way.
        kept = {kid: held for kid, held in self._known.items() if now_s < held[1]}
        fresh = {kid: (certificate, self._fresh_until_s) for kid, certificate in found.items()}
        merged = {**fresh, **{kid: held for kid, held in kept.items() if kid not in fresh}}
        self._known = dict(list(merged.items())[: self._limits.certificates_max])

    async def _response(self) -> tuple[Mapping[str, str], float]:
        """The certificates, and for how many seconds they hold. Raises ValueError for anything else."""
        raw = b""
        async with self._client.stream("GET", self._url, headers={"Accept": "application/json"}) as response:
            if response.status_code != httpx.codes.OK:
                raise ValueError(f"status {response.status_code}")
            async for part in response.aiter_bytes():
                raw += part
                if len(raw) > self._limits.certificates_bytes_max:
                    raise ValueError("more than certificates_bytes_max")
        found = json.loads(raw)
        if not isinstance(found, dict) or not found or len(found) > self._limits.certificates_max:
            raise ValueError("no certificates by the ids of their keys")
        if not all(isinstance(certificate, str) and PEM.fullmatch(certificate) for certificate in found.values()):
            raise ValueError("not all of them are certificates")
        match = MAX_AGE.search(response.headers.get("Cache-Control", ""))
        age_s = int(match[1]) if match else self._limits.certificates_age_s_default
        return found, float(min(max(age_s, self._limits.certificates_age_s_min), self._limits.certificates_age_s_max))

    def _away(self) -> Unavailable:
        text = "the certificates of the sign-in provider can not be had at the moment; retry"
        return Unavailable(text, retry_after_ms=self._limits.failure_pause_s * 1000)


class TokenLibrary(Protocol):
    """What firebase-admin does for us; called in threads."""

    def verify(self, token: str, *, check_revoked: bool) -> Mapping[str, object]:
        """The claims of a token with a good signature. Raises `Unauthenticated`, `Unavailable`."""
        ...


class FirebaseSignIns:
    """Implements `api.people.SignIns`. `asking` are threads to ask the sign-in provider in whether a sign-in still stands.

    None: it can not be asked; then what takes a fresh login takes one of the last `fresh_age_s_max`.
    """

    def __init__(
        self,
        project: Project,
        certificates: Certificates,
        library: TokenLibrary,
        verifying: Executor,
        asking: Executor | None,
        limits: FirebaseLimits | None = None,
    ) -> None:
        """The threads of `verifying` are shared with nothing else, so that nobody waits for the provider's answers."""
        self._project = project
        self._certificates = certificates
        self._library = library
        self._verifying = verifying
        self._asking = asking
        self._limits = limits or FirebaseLimits()
        self._under_way = 0

    async def verify(self, token: str, *, now_s: int, fresh: bool) -> Identity:
        """See `api.people.SignIns`."""
        kid = screen(token, self._project, now_s)
        if not self._project.emulated and await self._certificates.get(kid) is None:
            raise Unauthenticated(REFUSED)
        asking = self._asking if fresh else None
        identity = identity_of(await self._claims(token, asking), self._project.issuer)
        if fresh and asking is None:
            check_fresh(identity, now_s, self._limits.fresh_age_s_max)
        return identity

    async def _claims(self, token: str, asking: Executor | None) -> Mapping[str, object]:
        if self._under_way >= self._limits.verifying_max:
            text = f"{self._limits.verifying_max} sign-ins are being verified already (verifying_max); retry"
            raise Unavailable(text, retry_after_ms=1000)
        asked, threads = asking is not None, asking or self._verifying
        self._under_way += 1
        try:
            async with asyncio.timeout(self._limits.asking_timeout_ms / 1000 if asked else None):
                work = partial(self._library.verify, token, check_revoked=asked)
                return await asyncio.get_running_loop().run_in_executor(threads, work)
        except TimeoutError:
            raise Unavailable("the sign-in provider takes too long to answer; retry", retry_after_ms=1000) from None
        finally:
            self._under_way -= 1
