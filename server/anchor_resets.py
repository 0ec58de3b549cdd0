"""Anchors that are frozen anew by themselves: whether an incident is open only a tenant knows, so it is asked from outside.

A stream's fold does not know of incidents, and what it does has to follow from its journal rows alone. So the decision is
taken here, from what is committed, and journaled as a control record that names the anchor which it is about: applied twice,
or after somebody else froze another anchor, or after the drift is over, it changes nothing.
"""

import asyncio

from structlog.typing import FilteringBoundLogger

from driftlock.accounts.actor import SYSTEM
from driftlock.engine.anchor import AnchorChange, Freeze
from driftlock.errors import Conflict, DriftlockError, NotFound
from driftlock.storage.anchors import Anchors
from driftlock.storage.drift import DueReset

RESET_PERIOD_S = 60.0


async def reset_drifted(
    anchors: Anchors,
    log: FilteringBoundLogger,
    period_s: float = RESET_PERIOD_S,
) -> None:
    """Freeze the baselines of streams that have drifted for long, where their settings say so. It never returns.

    Raises `Conflict` when the journal is another process's.
    """
    while True:
        await asyncio.sleep(period_s)
        try:
            for reset in await anchors.due():
                await _reset(anchors, reset)
        except Conflict:
            raise
        except DriftlockError as error:  # no reason to take no more records
            log.warning("anchors are not being reset", why=error.message)


async def _reset(anchors: Anchors, reset: DueReset) -> None:
    change = AnchorChange(freeze=Freeze(instead_of=reset.anchor_id))
    detail = {"source": "baseline", "instead_of": str(reset.anchor_id), "because": "drift"}
    try:
        await anchors.change(reset.tenant_id, reset.stream_id, change, actor=SYSTEM, action="anchor.reset", detail=detail)
    except NotFound:  # it was deleted meanwhile
        return
