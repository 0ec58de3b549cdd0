"""A tenant whose streams lie in several shards: the same incidents as in one, told once, however the shards take turns."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.engine.correlation.correlator import Flag
from driftlock.engine.verdict import IncidentState
from tests.engine.correlation.shards import Shards
from tests.engine.correlation.shop import LOGS, MAIL, METRICS, PAY, SPANS, START_NS
from tests.engine.correlation.test_across import BLAMES, LINES
from tests.engine.streams import SECOND_NS

CLOSED, OPEN = IncidentState.CLOSED, IncidentState.OPEN
STREAMS = LOGS, PAY, MAIL, METRICS, SPANS
ALONE = dict.fromkeys(STREAMS, 0)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.one_of(BLAMES, LINES), max_size=30, unique_by=lambda it: it.finding_id),
    st.lists(st.integers(0, 3), min_size=len(STREAMS), max_size=len(STREAMS)),
    st.integers(0, 10**6),
    st.booleans(),
)
async def test_incidents_do_not_depend_on_the_shards(flags: list[Flag], homes: list[int], seed: int, kills: bool) -> None:
    flags = sorted(flags, key=lambda it: (it.window, it.end_ns, it.finding_id))
    chance = random.Random(seed)

    async def run(shards: Shards, steps: int) -> object:
        for stream in STREAMS:
            await shards.moves(stream, 0)
        await shards.settle()
        queue = {stream: list(range(0, 3600, 3600 // steps)) for stream in STREAMS}
        while any(queue.values()):
            stream = chance.choice([stream for stream in STREAMS if queue[stream]])
            begin = START_NS + queue[stream].pop(0) * SECOND_NS
            end = begin + 3600 // steps * SECOND_NS
            part = [it for it in flags if it.stream_id == stream and begin < it.end_ns <= end]
            await shards.moves(stream, (end - START_NS) // SECOND_NS, *part)
        for seconds in (3 * 3600, 3 * 3600 + 1):
            for stream in STREAMS:
                await shards.moves(stream, seconds)
        await shards.settle()
        assert all(row.incident.state is CLOSED for row in shards.rows.values())
        assert shards.joined.keys() == {it.finding_id for it in flags}
        return shards.results

    whole = await run(Shards(ALONE), 1)
    assert await run(Shards(dict(zip(STREAMS, homes, strict=True)), chance, kills=kills), 12) == whole
