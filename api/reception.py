"""The records of one REST request on their way in: counted as received, and then as exactly one of what becomes of them."""

import asyncio
from http import HTTPStatus
from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from driftlock.accounts.metering import IngestMeter, Refusal, refusal_of
from driftlock.engine.canonical import Cuts
from driftlock.engine.event import Signal
from driftlock.engine.ports import Receipt


class Reception:
    """What is known of a request by now. `tenant_id` and `request_bytes` are set as soon as they are."""

    def __init__(self, meter: IngestMeter, signal: Signal) -> None:
        self._meter = meter
        self._signal = signal
        self._records = 0  # decoded, and nothing has become of them yet
        self.tenant_id: UUID | None = None
        self.request_bytes = 0

    def received(self, tenant_id: UUID, records: int) -> None:
        """The request is decoded and holds so many records."""
        self._meter.received(tenant_id, self._signal, records)
        self._records = records

    def journaled(self, receipt: Receipt, cuts: Cuts, redacted: int = 0) -> None:
        """They are durable, by this request or by the one that it repeats; of `redacted` a rule took something away."""
        records, self._records = self._records, 0
        if receipt.duplicate:
            self._meter.duplicate(self._signal, records)
            return
        self._meter.accepted(self._signal, records, self.request_bytes)
        for what, count in (
            ("truncated", cuts.truncated),
            ("attributes_dropped", cuts.attributes_dropped),
            ("replaced", cuts.replaced),
            ("overflowed", receipt.overflowed),
            ("redacted", redacted),
        ):
            if count:
                self._meter.altered(self._signal, what, count)

    def refused(self, error: BaseException) -> None:
        """The request ends with `error`; records that are journaled by then stay so."""
        records, self._records = self._records, 0
        self._meter.refused(self.tenant_id, self._signal, reason_of(error), records)


def reason_of(error: BaseException) -> Refusal:
    """Why a request was refused that ended with `error`, which may be one of the framework's."""
    if isinstance(error, asyncio.CancelledError):
        return Refusal.DRAINING
    if isinstance(error, ClientDisconnect):
        return Refusal.DISCONNECTED
    if isinstance(error, HTTPException):
        return Refusal.TOO_SLOW if error.status_code == HTTPStatus.REQUEST_TIMEOUT else Refusal.INVALID
    return refusal_of(error)
