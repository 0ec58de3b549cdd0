"""Anchors in memory for the API's tests: changes take hold when their position is waited for."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid5

from api.anchor_ports import AnchorView, StoredAnchor
from driftlock.accounts.actor import Actor
from driftlock.engine.anchor import (
    AnchorCause,
    AnchorChange,
    AnchorEnd,
    AnchorNote,
    AnchorSettings,
    AnchorSource,
    AnchorStanding,
)
from driftlock.engine.drift import DriftHour
from driftlock.errors import NotFound, PreconditionFailed
from tests.api.fakes import EPOCH, NAMESPACE, FakeHouse


@dataclass
class Noted:
    """What somebody did, as the audit log says it."""

    actor: Actor
    action: str
    detail: Mapping[str, object]


@dataclass
class FakeAnchors:
    """Settings, anchors and hours of all streams. `lines` is what every baseline holds."""

    house: FakeHouse
    lines: int = 400
    settings: dict[UUID, tuple[int, AnchorSettings]] = field(default_factory=dict)
    changes: list[tuple[int, UUID, AnchorChange]] = field(default_factory=list)
    anchors: dict[UUID, list[AnchorNote]] = field(default_factory=dict)
    hours: dict[UUID, list[DriftHour]] = field(default_factory=dict)
    noted: list[Noted] = field(default_factory=list)

    async def get(self, tenant_id: UUID, stream_id: UUID) -> AnchorView:
        self._apply()
        seq, settings = self._settings(tenant_id, stream_id)
        notes = self.anchors.get(stream_id, []) if self._owned(tenant_id, stream_id) else []
        found = [note for note in notes if note.standing is AnchorStanding.IN_FORCE]
        hours = [hour for hour in self.hours.get(stream_id, []) if found and hour.anchor_id == found[-1].anchor_id]
        applied = all(known != stream_id for _, known, _ in self.changes)
        newest = max(hours, key=lambda hour: hour.hour_ns) if hours else None
        return AnchorView(settings, seq, applied, StoredAnchor(found[-1], EPOCH) if found else None, newest)

    async def of_row(self, tenant_id: UUID, stream_id: UUID, seq: int) -> StoredAnchor | None:
        self._apply()
        notes = self.anchors.get(stream_id, []) if self._owned(tenant_id, stream_id) else []
        return next((StoredAnchor(note, EPOCH) for note in notes if note.seq == seq), None)

    async def list(self, tenant_id: UUID, stream_id: UUID, *, limit: int, after: int | None) -> list[StoredAnchor]:
        notes = self.anchors.get(stream_id, []) if self._owned(tenant_id, stream_id) else []
        return [StoredAnchor(note, EPOCH) for note in notes[::-1] if after is None or note.seq < after][:limit]

    async def change(
        self,
        tenant_id: UUID,
        stream_id: UUID,
        change: AnchorChange,
        *,
        actor: Actor,
        action: str,
        detail: Mapping[str, object],
        expected_seq: int | None,
    ) -> int:
        if not self._owned(tenant_id, stream_id):
            raise NotFound("there is no such stream")
        before, settings = self._settings(tenant_id, stream_id)
        if expected_seq not in (None, before):
            raise PreconditionFailed("the anchor was changed since you read it: get it again and repeat your change")
        seq = 1 + max([0, *(known for known, _ in self.settings.values())])
        self.settings[stream_id] = seq, change.settings or settings
        self.changes.append((seq, stream_id, change))
        self.noted.append(Noted(actor, action, detail))
        return seq

    def _owned(self, tenant_id: UUID, stream_id: UUID) -> bool:
        return stream_id in self.house.stream_rows[tenant_id]

    def _settings(self, tenant_id: UUID, stream_id: UUID) -> tuple[int, AnchorSettings]:
        known = self.settings.get(stream_id) if self._owned(tenant_id, stream_id) else None
        return known or (0, AnchorSettings())

    def _apply(self) -> None:
        """Let changes take hold whose positions have been waited for to the end."""
        if self.house.gate is not None and not self.house.gate.is_set():
            return
        for seq, stream_id, change in self.changes:
            notes = self.anchors.setdefault(stream_id, [])
            refused = change.freeze is not None and self.lines < 50 and change.freeze.text is None
            if change.drop or (change.freeze is not None and not refused):
                because = AnchorEnd.DROPPED if change.drop else AnchorEnd.RESET
                self.anchors[stream_id] = notes = [_ended(note, seq, because) for note in notes]
            if change.freeze is not None:
                notes.append(self._frozen(seq, stream_id, change, refused=refused))
        self.changes.clear()

    def _frozen(self, seq: int, stream_id: UUID, change: AnchorChange, *, refused: bool) -> AnchorNote:
        assert change.freeze is not None
        given = change.freeze.text is not None
        return AnchorNote(
            anchor_id=uuid5(NAMESPACE, f"{stream_id} anchor {seq}"),
            seq=seq,
            standing=AnchorStanding.REFUSED if refused else AnchorStanding.IN_FORCE,
            source=AnchorSource.EVENTS if given else AnchorSource.BASELINE,
            cause=AnchorCause.REQUEST,
            frozen_ns=1_213_455_361_000_000_000,
            event=450,
            codec=change.freeze.codec,
            codec_level=1,
            codec_version="1",
            window=50,
            lines=len(change.freeze.lengths) if given else self.lines,
            size_bytes=1000,
            ratio_normal=0.25,
            reason=f"{self.lines} lines could be frozen; a window of this stream alone has 50" if refused else "",
        )


def _ended(note: AnchorNote, seq: int, because: AnchorEnd) -> AnchorNote:
    if note.standing is not AnchorStanding.IN_FORCE:
        return note
    return replace(
        note, standing=AnchorStanding.ENDED, ended_seq=seq, ended_ns=note.frozen_ns + 1, ended_because=because, reason="so"
    )


class FakeDrift:
    """The hours that `anchors` holds."""

    def __init__(self, anchors: FakeAnchors) -> None:
        self.anchors = anchors

    async def list(
        self,
        tenant_id: UUID,
        stream_id: UUID,
        *,
        limit: int,
        since_ns: int | None,
        until_ns: int | None,
        anchor_id: UUID | None,
        after: tuple[int, UUID] | None,
    ) -> list[DriftHour]:
        hours = self.anchors.hours.get(stream_id, []) if self.anchors._owned(tenant_id, stream_id) else []
        found = [
            hour
            for hour in sorted(hours, key=lambda it: (it.hour_ns, it.anchor_id), reverse=True)
            if (since_ns is None or hour.hour_ns >= since_ns)
            and (until_ns is None or hour.hour_ns < until_ns)
            and anchor_id in (None, hour.anchor_id)
            and (after is None or (hour.hour_ns, hour.anchor_id) < after)
        ]
        return found[:limit]
