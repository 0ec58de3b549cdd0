"""How people sign in, joined: Firebase, their accounts, and what a web page is told of it."""

import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager

import httpx

from api.people import PeopleDeps, PublicFirebase
from api.ratelimit import RateLimiter
from driftlock.accounts.id_tokens import Project
from driftlock.storage.invitations import Invitations
from driftlock.storage.members import Members
from driftlock.storage.pool import Database, Lane
from driftlock.storage.users import CachedPeople, Users
from server.firebase import CERTIFICATES_URL, Certificates, FirebaseSignIns
from server.firebase_library import FirebaseLibrary
from server.settings import Settings

VERIFYING_THREADS = 2
ASKING_THREADS = 2
SIGN_UPS_PER_MINUTE = 5
GLOBAL_SIGN_UPS_PER_MINUTE = 60
SIGN_UP_NETWORKS_MAX = 10_000


def public_firebase(settings: Settings) -> PublicFirebase | None:
    """What a web page needs to let people sign in; None where nobody does."""
    if settings.firebase_project_id is None:
        return None
    return PublicFirebase(
        project_id=settings.firebase_project_id,
        web_api_key=settings.firebase_web_api_key or "",
        auth_domain=settings.firebase_auth_domain or f"{settings.firebase_project_id}.firebaseapp.com",
    )


@asynccontextmanager
async def open_people(
    settings: Settings, database: Database, certificates_url: str = CERTIFICATES_URL
) -> AsyncIterator[PeopleDeps | None]:
    """Everything about people; None where no project is named. Raises `StartupRefused`."""
    public = public_firebase(settings)
    if public is None:
        yield None
        return
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx.AsyncClient(follow_redirects=False))
        certificates = Certificates(client, time.monotonic, url=certificates_url)
        emulated, credentials = settings.firebase_emulator, settings.firebase_credentials_file
        library = FirebaseLibrary(public.project_id, lambda: certificates.held, credentials, emulated=emulated)
        asks = emulated or credentials is not None
        sign_ins = FirebaseSignIns(
            Project(public.project_id, emulated=emulated),
            certificates,
            library,
            _threads(stack, VERIFYING_THREADS, "sign-in"),
            _threads(stack, ASKING_THREADS, "revocation") if asks else None,
        )
        users = Users(database.reserved(Lane.KEYS))
        yield PeopleDeps(
            sign_ins=sign_ins,
            directory=CachedPeople(users),
            users=Users(database),
            members=Members(database),
            invitations=Invitations(database),
            public=public,
            sign_ups=RateLimiter(
                calls_per_minute=SIGN_UPS_PER_MINUTE,
                global_calls_per_minute=GLOBAL_SIGN_UPS_PER_MINUTE,
                networks_max=SIGN_UP_NETWORKS_MAX,
            ),
            monotonic_ns=time.monotonic_ns,
        )


def _threads(stack: AsyncExitStack, count: int, name: str) -> ThreadPoolExecutor:
    threads = ThreadPoolExecutor(count, thread_name_prefix=name)
    stack.callback(threads.shutdown, wait=False, cancel_futures=True)
    return threads
