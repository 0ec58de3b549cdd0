"""The keeper of evidence: makes it of findings soon after they are found, a little at a time, and hands it out.

Whatever it makes it judges again first, from what the bundle holds: what is signed reproduces its finding.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from uuid import UUID

from structlog.typing import FilteringBoundLogger

import driftlock
from driftlock.engine.era import versions
from driftlock.engine.evidence_bundle import BadBundle, Link, Material, content_of, digest_of, pack
from driftlock.engine.evidence_replay import Differs, absent_series, reproduce
from driftlock.engine.limits import Limits
from driftlock.engine.ports import Step
from driftlock.errors import DriftlockError, EvidenceExpired, NotFound, Unavailable
from driftlock.storage.evidence import EvidenceKey, EvidenceStatus, EvidenceStore, Signed, StoredBundle
from driftlock.storage.evidence_material import GONE, EvidenceMaterial, Gone, Versions
from driftlock.storage.pool import Database
from server.settings import Settings
from server.signing import Signer, open_signer

LOOK_PERIOD_S = 5.0
"""How soon what was left behind is looked at again."""
RETRY_PAUSE_S = 1.0
WAITING_READ_MAX = 20
REST_FACTOR = 4
"""After each bundle the keeper rests so many times as long as it took: it has a fifth of one core at most."""
TRIES_MAX = 5
"""So often is tried to read what a bundle takes, when other things can be read."""
NOTHING_NOTED = (
    "there is no evidence of this finding: it is one of many streams together, or older than evidence on this server"
)


class EvidenceKeeper:
    """Implements `api.ports.EvidenceSource`. `run` has to run for evidence to be made by itself."""

    def __init__(
        self,
        store: EvidenceStore,
        material: EvidenceMaterial,
        signer: Signer,
        *,
        bytes_max: int,
        log: FilteringBoundLogger,
        now_ns: Callable[[], int] = time.time_ns,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`bytes_max`: what the bundles of one tenant may take together."""
        self._store = store
        self._material = material
        self._signer = signer
        self._bytes_max = bytes_max
        self._log = log
        self._now_ns = now_ns
        self._monotonic_s = monotonic_s
        self._wake = asyncio.Event()
        self._making = asyncio.Lock()
        self._tries: dict[UUID, int] = {}  # of what could not be read
        self._known = False  # whether the key is noted

    def stepped(self, step: Step) -> None:
        """A step is committed: there may be something to do."""
        if step.findings:
            self._wake.set()

    async def run(self) -> None:
        """Make what waits, for ever."""
        while True:
            try:
                async with asyncio.timeout(LOOK_PERIOD_S):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await self._drain()
            except Unavailable as error:
                self._log.info("evidence waits for the database", why=error.message)
                await asyncio.sleep(RETRY_PAUSE_S)

    async def _drain(self) -> None:
        done: set[UUID] = set()
        while waiting := await self._material.waiting(WAITING_READ_MAX):
            if done.issuperset(known for _, known in waiting):
                return  # another process is at them, or they are about to go
            done = {known for _, known in waiting}
            self._tries = {known: tries for known, tries in self._tries.items() if known in {it for _, it in waiting}}
            for tenant_id, anomaly_id in waiting:
                began_s = self._monotonic_s()
                try:
                    await self._make(tenant_id, anomaly_id)
                except Unavailable as error:
                    await self._tried(anomaly_id, error)
                await asyncio.sleep(REST_FACTOR * (self._monotonic_s() - began_s))

    async def _tried(self, anomaly_id: UUID, error: Unavailable) -> None:
        """What can not be read again and again, while other things can, is damaged."""
        tries = self._tries[anomaly_id] = self._tries.get(anomaly_id, 0) + 1
        if tries < TRIES_MAX:
            raise error
        self._log.error("evidence given up", anomaly_id=str(anomaly_id), why=error.message)
        await self._store.expire(anomaly_id, "what it takes could not be read")

    async def _make(self, tenant_id: UUID, anomaly_id: UUID) -> None:
        """Make the evidence of one finding, or note why there will be none. Raises `Unavailable`."""
        async with self._making:
            try:
                await self._sealed(tenant_id, anomaly_id)
            except Gone as error:
                await self._store.expire(anomaly_id, error.message)
            except Unavailable:
                raise
            except (BadBundle, Differs) as error:
                self._log.error("a finding does not follow from its rows", anomaly_id=str(anomaly_id), why=error.message)
                await self._store.expire(anomaly_id, f"it could not be reproduced from what is left: {error.message}")
            except Exception as error:  # nothing that is wrong with one finding may keep others from theirs
                self._log.error("evidence given up", anomaly_id=str(anomaly_id), exc_info=error)
                await self._store.expire(anomaly_id, "it could not be made; the reason has been logged")

    async def _sealed(self, tenant_id: UUID, anomaly_id: UUID) -> None:
        material = await self._material.of(tenant_id, anomaly_id)
        if material is None:
            return
        material = await self._material.with_series(material, await asyncio.to_thread(absent_series, material))
        await asyncio.to_thread(reproduce, material)
        if not self._known:
            await self._store.add_key(self._signer.key_id, self._signer.public_key)
            self._known = True

        async def seal(link: Link) -> Signed:
            return await asyncio.to_thread(self._signed, material, link)

        await self._store.append(tenant_id, anomaly_id, self._now_ns(), seal, self._bytes_max)

    def _signed(self, material: Material, link: Link) -> Signed:
        content = content_of(material, link)
        file = pack(content, self._signer.public_key, self._signer.sign(content))
        return Signed(digest_of(content), self._signer.key_id, file)

    async def status(self, tenant_id: UUID, anomaly_id: UUID) -> EvidenceStatus | None:
        """Whether there is evidence of a finding; None when the tenant has no such finding. Raises `Unavailable`."""
        return await self._store.status(tenant_id, anomaly_id)

    async def bundle(self, tenant_id: UUID, anomaly_id: UUID) -> StoredBundle:
        """The evidence of a finding, made now if it waits.

        Raises `NotFound` when the tenant has no such finding, `EvidenceExpired` when there is none of it and never will be,
        `Unavailable`.
        """
        found = await self._store.bundle(tenant_id, anomaly_id)
        if found is None:
            status = await self._store.status(tenant_id, anomaly_id)
            if status is not None and status.state in ("waiting", "skipped"):
                await self._make(tenant_id, anomaly_id)
                found = await self._store.bundle(tenant_id, anomaly_id)
                status = await self._store.status(tenant_id, anomaly_id)
            if found is None:
                raise _missing(status)
        return found

    async def keys(self) -> Sequence[EvidenceKey]:
        """Every public key that has signed, the newest first. Raises `Unavailable`."""
        if not self._known:
            await self._store.add_key(self._signer.key_id, self._signer.public_key)
            self._known = True
        return await self._store.keys()


def open_evidence(settings: Settings, database: Database, limits: Limits, log: FilteringBoundLogger) -> EvidenceKeeper | None:
    """The keeper of a server with these settings; None where it has no key to sign with. Raises `StartupRefused`."""
    signer = open_signer(settings)
    if signer is None:
        log.info("evidence of findings is not made: set DRIFTLOCK_EVIDENCE_KEY_FILE, for the database is not ours")
        return None
    judging = Versions(settings.seed, limits, versions(), driftlock.__version__)
    material = EvidenceMaterial(database, judging)
    return EvidenceKeeper(EvidenceStore(database), material, signer, bytes_max=settings.evidence_bytes_max, log=log)


def _missing(status: EvidenceStatus | None) -> DriftlockError:
    if status is None:
        return NotFound("there is no anomaly with this id; GET /v1/anomalies lists yours")
    if status.state == "none":
        return EvidenceExpired(NOTHING_NOTED)
    return EvidenceExpired(f"there is no evidence of this finding any more: {status.reason or GONE}")
