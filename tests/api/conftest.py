import dataclasses
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import httpx
import pytest
from structlog.testing import CapturingLogger

from api.app import ApiDeps, CodecInfo, DetectorInfo, VersionInfo, create_app
from driftlock.accounts.keys import ALL_SCOPES, Scope
from driftlock.engine.profile import PROFILES
from driftlock.storage.readback import Readback
from tests.accounts.counting import CountingMeter
from tests.api.anchor_fakes import FakeAnchors, FakeDrift
from tests.api.fakes import (
    NOW_NS,
    OTHER_TENANT,
    TENANT,
    FakeAnomalies,
    FakeBudgets,
    FakeDirectory,
    FakeHouse,
    FakeIncidents,
    FakeServiceGraphs,
    FakeStreamEvents,
    FakeStreams,
    Randomness,
    RecordingAccess,
    key,
)
from tests.api.journal_fakes import FakeExcerpts, InlineExecutor
from tests.api.key_fakes import FakeIdempotency, FakeKeys
from tests.api.lesson_fakes import FakeFeedback, FakeTuning
from tests.api.people_fakes import FakeAccounts, FakeAudit
from tests.api.redaction_fakes import FakeRedaction, FakeStreamSettings
from tests.api.view_fakes import make_views

CODECS = (CodecInfo("lz4", 1, 12, 1, "1.9.4"), CodecInfo("zstd", -5, 19, 3, "1.5.4"))


@dataclass
class Service:
    """The application over fakes, and a client of it that has a good key."""

    house: FakeHouse
    directory: FakeDirectory
    access: RecordingAccess
    anomalies: FakeAnomalies
    deps: ApiDeps
    client: httpx.AsyncClient


def make_deps(house: FakeHouse, access: RecordingAccess) -> ApiDeps:
    return ApiDeps(
        intake=house,
        meter=CountingMeter(),
        configurator=house,
        requests=house,
        streams=FakeStreams(house),
        anomalies=FakeAnomalies(house),
        incidents=FakeIncidents(house),
        stream_events=FakeStreamEvents(house),
        service_graphs=FakeServiceGraphs(house),
        budgets=FakeBudgets(house),
        views=make_views(house),
        feedback=FakeFeedback(house),
        tuning=FakeTuning(house),
        readback=Readback(FakeExcerpts(), FakeAnomalies(house), InlineExecutor()),
        anchors=(anchors := FakeAnchors(house)),
        drift=FakeDrift(anchors),
        redaction=FakeRedaction(house),
        stream_settings=FakeStreamSettings(house),
        accounts=FakeAccounts(),
        audit=FakeAudit(),
        access=access,
        keys=FakeKeys(access.directory),
        idempotency=FakeIdempotency(),
        scored=house.scored,
        readiness={},
        metrics=lambda: b"driftlock_build_info 1.0\n",
        detector=DetectorInfo(PROFILES["balanced"], "zstd", 3, "1.5.4", CODECS),
        version=VersionInfo("0.1.0", 1),
        now_ns=lambda: NOW_NS,
        randomness=Randomness(),
        cursor_key=bytes(range(32)),
        log=CapturingLogger(),
    )


def client_of(deps: ApiDeps, name: str | None = "good") -> httpx.AsyncClient:
    headers = {} if name is None else {"X-Api-Key": key(name)}
    transport = httpx.ASGITransport(app=create_app(deps), raise_app_exceptions=False, client=("127.0.0.1", 40000))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080", headers=headers)


@pytest.fixture
def directory() -> FakeDirectory:
    keys = FakeDirectory()
    keys.add("good", TENANT, ALL_SCOPES)
    keys.add("reader", TENANT, {Scope.READ})
    keys.add("writer", TENANT, {Scope.INGEST})
    keys.add("other", OTHER_TENANT, ALL_SCOPES)
    return keys


@pytest.fixture
async def service(directory: FakeDirectory) -> AsyncIterator[Service]:
    house = FakeHouse()
    access = RecordingAccess(directory)
    deps = make_deps(house, access)
    async with client_of(deps) as client:
        yield Service(house, directory, access, deps.anomalies, deps, client)  # type: ignore[arg-type]


@pytest.fixture
def with_deps(service: Service) -> Callable[..., httpx.AsyncClient]:
    """A client of the same rooms with other limits or parts: `with_deps(limits=...)`, `with_deps(name=None)`."""

    def make(*, name: str | None = "good", **changes: object) -> httpx.AsyncClient:
        return client_of(dataclasses.replace(service.deps, **changes), name)  # type: ignore[arg-type]

    return make
