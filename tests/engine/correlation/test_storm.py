"""Storms: thousands of services at once are bounded in time and in what an incident lists."""

from dataclasses import replace
from time import process_time
from uuid import UUID

import pytest

from driftlock.engine.correlation.correlator import Correlator, Flag, Progress
from driftlock.engine.correlation.mentions import Mentions
from driftlock.engine.correlation.story import INCIDENT_STREAMS_MAX, Story
from driftlock.engine.limits import Limits
from driftlock.engine.ports import IncidentRow
from driftlock.engine.verdict import content_id
from tests.engine.correlation.shop import LOGS, MINUTE_NS, PAY, SPANS, START_NS, TENANT, TEXTS, blame, flag
from tests.engine.streams import SECOND_NS

SERVICES = 2000
ONE, TWO = "a" * 32, "b" * 32


def shout(number: int, minute: int, traces: tuple[str, ...]) -> Flag:
    text, stream = f"logs:s{number}@prod", UUID(int=1000 + number)
    end_ns = START_NS + minute * MINUTE_NS + SECOND_NS
    return replace(
        flag(LOGS, 600, traces=traces),
        stream_id=stream,
        stream=text,
        service=text.partition(":")[2],
        window=minute,
        start_ns=end_ns - SECOND_NS,
        end_ns=end_ns,
        finding_id=content_id(f"{number} {minute}".encode()),
    )


@pytest.mark.parametrize("traces", [(), (ONE,)], ids=["apart", "together"])
def test_thousands_of_services_that_are_flagged_each_minute_cost_less_than_a_second_of_it(traces: tuple[str, ...]) -> None:
    fold, rows = Correlator(TENANT, Limits()), dict[UUID, IncidentRow]()
    minutes = 3
    began = process_time()
    for minute in range(minutes):
        now_ns = START_NS + (minute + 1) * MINUTE_NS
        fold.derived(SPANS, Progress(now_ns, minute, now_ns, stream=TEXTS[SPANS]), [])
        for number in range(SERVICES):
            it = shout(number, minute, traces)
            for row in fold.derived(it.stream_id, Progress(now_ns, minute, now_ns, stream=it.stream), [it]):
                rows[row.incident.incident_id] = row
        for row in fold.clock(now_ns + 6 * SECOND_NS):
            rows[row.incident.incident_id] = row
    assert process_time() - began < minutes
    assert sum(row.incident.findings for row in rows.values()) == SERVICES * minutes
    if traces:
        [row] = rows.values()
        assert len(row.incident.stream_ids) == INCIDENT_STREAMS_MAX
        assert row.incident.stream_ids[0] == UUID(int=1000)
    else:
        assert len(rows) == SERVICES


def test_an_incident_is_found_by_the_names_that_it_knows_by_now() -> None:
    mentions = Mentions()
    stories = []
    for it in (flag(PAY, 600, traces=(ONE,)), flag(LOGS, 600, traces=(ONE,))):
        story = Story.begun(TENANT, it, 10)
        story.take(it, 10)
        stories.append(story)
        mentions.put(story)
    first, second = (story.incident.incident_id for story in stories)
    assert mentions.of([ONE]) == [first, second]
    assert mentions.of([ONE, "shop/pay@prod"]) == [first, second]
    assert mentions.of(["shop/pay@prod"]) == [first]
    assert mentions.of([TWO]) == []
    stories[1].take(blame(610, "shop/pay@prod", traces=(TWO,)), 10)
    mentions.put(stories[1])
    assert mentions.of([TWO]) == [second]
    assert mentions.of(["shop/pay@prod"]) == [first, second]
    for number in range(100):
        stories[0].take(flag(PAY, 700, traces=(f"{number:032x}",)), 11)
        mentions.put(stories[0])
    mentions.remove(first)
    assert mentions.of([ONE, TWO, "shop/pay@prod", f"{99:032x}"]) == [second]
