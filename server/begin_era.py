"""What a start finds when it takes the journal over: other versions than before, or another database; it says so."""

import time

from structlog.typing import FilteringBoundLogger

from driftlock.engine.era import versions
from driftlock.storage.eras import EraJournal
from server.telemetry import Telemetry


async def begin_era(journal: EraJournal, telemetry: Telemetry, log: FilteringBoundLogger) -> None:
    """Note what judges from here on, before anything new comes in. Raises `Conflict`, `Unavailable`."""
    era = await journal.open(versions(), time.time_ns())
    if era is not None:
        telemetry.era_began(era)
        if era.changes:
            log.warning(
                "other versions judge from here on: streams that they touch learn anew, each with an event `new_era`",
                since_position=era.since_seq,
                changes=", ".join(change.text for change in era.changes),
            )
        if era.database:
            log.warning(
                "this is not the database that was served before: what was acknowledged after the copy or the backup was made "
                "is not in it; findings go on from where it stands",
                why=era.database,
                scored_position=era.since_seq,
            )
