"""What the API is given: everything that it does not do itself, and its limits."""

from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, fields
from uuid import UUID

from structlog.typing import FilteringBoundLogger

from api.account_ports import AccountRepository, AuditRepository
from api.anchor_ports import AnchorRepository, DriftRepository
from api.client_network import Network
from api.headers import KEY_CHARS_MAX
from api.idempotency import IdempotencyStore
from api.people import PeopleDeps
from api.ports import (
    AnomalyRepository,
    Authenticator,
    BudgetRepository,
    EvidenceSource,
    IncidentRepository,
    KeyRepository,
    RequestRepository,
    ServiceGraphRepository,
    StreamEventRepository,
    StreamRepository,
)
from api.redaction_ports import RedactionRepository, StreamSettingsRepository
from api.strict_json import JsonLimits
from api.traffic import RateRules
from api.tuning_ports import FeedbackRepository, TuningRepository
from api.view_deps import ViewDeps
from driftlock.accounts.metering import IngestMeter
from driftlock.engine.canonical import CanonicalLimits
from driftlock.engine.ports import Configurator, Intake
from driftlock.engine.profile import Profile
from driftlock.storage.readback import Readback


@dataclass(frozen=True, slots=True)
class ApiLimits:
    """Limits of requests; bodies are counted as they arrive."""

    request_bytes_max: int = 5 * 1024 * 1024
    url_bytes_max: int = 8 * 1024
    body_ms_max: int = 10_000
    bodies_in_flight_max: int = 32
    events_max: int = 10_000
    stream_id_bytes_max: int = 256
    idempotency_key_chars_max: int = KEY_CHARS_MAX
    detect_wait_ms_max: int = 10_000
    detect_anomalies_max: int = 100
    operation_wait_ms_max: int = 2_000
    export_rows_max: int = 10_000
    score_findings_max: int = 200
    page_items_default: int = 50
    page_items_max: int = 200
    incident_anomalies_max: int = 50
    readiness_ms_max: int = 1_000
    demo_request_bytes_max: int = 256 * 1024
    demo_events_max: int = 200
    demo_anomalies_max: int = 20
    demo_requests_in_flight_max: int = 4
    demo_networks_max: int = 10_000
    demo_ms_max: int = 5_000

    def __post_init__(self) -> None:
        """Refuse limits that limit nothing."""
        for limit in fields(self):
            if getattr(self, limit.name) < 1:
                raise ValueError(f"{limit.name} must be at least 1")


@dataclass(frozen=True, slots=True)
class CodecInfo:
    """A codec that streams may choose: its levels and the version of its library."""

    name: str
    level_min: int
    level_max: int
    level_default: int
    version: str


@dataclass(frozen=True, slots=True)
class DetectorInfo:
    """The detector as clients see it: the profile of a stream without one of its own, and what it may choose from.

    `codec`, `codec_level` and `codec_version` are those of `profile`.
    """

    profile: Profile
    codec: str
    codec_level: int
    codec_version: str
    codecs: tuple[CodecInfo, ...]


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """Versions of the code and of the database's schema."""

    version: str
    schema_version: int


@dataclass(frozen=True, slots=True)
class DemoRules:
    """How often the demo may be called, whose X-Forwarded-For is believed, and the threads it detects in.

    `monotonic_ns` is a clock that never goes back. The `executor` is not shared with anything that tenants wait for.
    """

    requests_per_minute: int
    global_requests_per_minute: int
    trusted_proxies: tuple[Network, ...]
    monotonic_ns: Callable[[], int]
    executor: Executor = field(repr=False)


@dataclass(frozen=True, slots=True)
class ApiDeps:
    """Everything that the endpoints call. `meter` counts the records that come in.

    `scored(stream, seq)` returns once the journal of the stream is applied up to position `seq`. A readiness check raises what
    is wrong; the text of a `DriftlockError` is shown. `metrics` renders the Prometheus text format. `now_ns` is the wall clock,
    `randomness(n)` n unpredictable bytes. `trusted_proxies`: whose X-Forwarded-For is believed. `cursor_key` signs cursors: at
    least 32 bytes, shared by the processes behind one address. Without `demo` there is no demo; without `people` nobody
    signs in, and keys alone are known; without `rates` nobody is limited; without
    `evidence` none is signed. `idempotency` keeps answers for Idempotency-Keys.
    Scripts of web pages of `cors_origins` may read answers.
    """

    intake: Intake
    meter: IngestMeter
    configurator: Configurator
    requests: RequestRepository
    streams: StreamRepository
    anomalies: AnomalyRepository
    incidents: IncidentRepository
    stream_events: StreamEventRepository
    service_graphs: ServiceGraphRepository
    budgets: BudgetRepository
    feedback: FeedbackRepository
    tuning: TuningRepository
    readback: Readback
    anchors: AnchorRepository
    drift: DriftRepository
    redaction: RedactionRepository
    stream_settings: StreamSettingsRepository
    accounts: AccountRepository
    audit: AuditRepository
    views: ViewDeps
    access: Authenticator
    keys: KeyRepository
    scored: Callable[[UUID, int], Awaitable[None]]
    readiness: Mapping[str, Callable[[], Awaitable[None]]]
    metrics: Callable[[], bytes]
    detector: DetectorInfo
    version: VersionInfo
    now_ns: Callable[[], int]
    randomness: Callable[[int], bytes]
    cursor_key: bytes = field(repr=False)
    log: FilteringBoundLogger
    trusted_proxies: tuple[Network, ...] = ()
    demo: DemoRules | None = None
    evidence: EvidenceSource | None = None
    people: PeopleDeps | None = None
    idempotency: IdempotencyStore | None = None
    rates: RateRules | None = None
    cors_origins: tuple[str, ...] = ()
    limits: ApiLimits = field(default_factory=ApiLimits)
    json_limits: JsonLimits = field(default_factory=JsonLimits)
    record_limits: CanonicalLimits = field(default_factory=CanonicalLimits)
