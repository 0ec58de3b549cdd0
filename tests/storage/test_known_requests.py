"""Requests that come again, as the journal remembers them."""

from dataclasses import replace
from uuid import UUID

from driftlock.storage.journal import Journal
from driftlock.storage.known_requests import KnownRequest, KnownRequests
from driftlock.storage.pool import Database
from tests.storage.helpers import submission

HASH, CONTENT = b"h" * 16, b"c" * 16
WINDOW_NS = 1_000


async def test_a_request_is_known_to_its_tenant_within_its_window(database: Database, journal: Journal, tenant: UUID) -> None:
    sent = replace(submission(tenant, "a"), request_hash=HASH, content_hash=CONTENT, dedup_window_ns=WINDOW_NS)
    requests, end_ns = KnownRequests(database), sent.received_ns + WINDOW_NS
    assert await requests.known(tenant, HASH, sent.received_ns) is None
    await journal.submit(sent)
    assert await requests.known(tenant, HASH, end_ns - 1) == KnownRequest(CONTENT)
    assert await requests.known(tenant, HASH, end_ns) is None
    assert (await journal.submit(replace(sent, received_ns=end_ns))).duplicate is False  # the commit says the same
    assert await requests.known(tenant, b"o" * 16, sent.received_ns) is None
    assert await requests.known(UUID(int=5), HASH, sent.received_ns) is None


async def test_a_request_without_content_is_known_with_any(database: Database, journal: Journal, tenant: UUID) -> None:
    sent = replace(submission(tenant, "a"), request_hash=HASH)
    await journal.submit(sent)
    assert await KnownRequests(database).known(tenant, HASH, sent.received_ns) == KnownRequest(None)
    assert (await journal.submit(replace(sent, content_hash=CONTENT))).duplicate is True
