import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.engine.canonical import CanonicalLimits
from driftlock.engine.limits import Limits
from driftlock.engine.offline import Offline
from driftlock.engine.verdict import Finding
from server.offline.batches import record_batch, stream_of
from server.offline.events import Event, EventReader
from server.offline.scorer import Scorer
from tests.server.offline_runs import FIRST_S, SMALL, texts

COUNT = 900
READER = EventReader(CanonicalLimits())


def event(index: int, text: str, stream: str = "shop", **members: object) -> Event:
    line = {"time": FIRST_S + index, "text": text, "stream": stream, **members}
    return READER.event(json.dumps(line).encode())


SHOP = [event(index, text) for index, text in enumerate(texts(COUNT))]
MIXED = [
    event(index, text, ("shop", "mail", "shop", "shop", "stock")[index % 5], key=f"k{index}")
    for index, text in enumerate(texts(COUNT, seed=8))
]


def score(given: list[Event], **options: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in raw(given, [], **options).splitlines()]


def raw(given: list[Event], sizes: list[int], **options: Any) -> str:
    """What is told about events that are taken in portions of these sizes, and the rest in one."""
    scorer = Scorer(SMALL, **{"seed": 0, "events": True, **options})
    told, at = [], 0
    for size in [*sizes, len(given)]:
        told.append(scorer.take(given[at : at + size]))
        at += size
    return "".join([*told, scorer.finish()])


WHOLE = score(SHOP)


def of(kind: str, told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [item for item in told if item["type"] == kind]


def test_every_event_is_told_once_in_order_with_its_time() -> None:
    told = of("event", WHOLE)
    assert [item["event"] for item in told] == list(range(COUNT))
    assert set(told[0]) == {"type", "event", "stream", "time", "bits"}
    assert (told[0]["stream"], told[0]["time"], told[60]["time"]) == ("shop", "2023-11-14T22:13:20Z", "2023-11-14T22:14:20Z")
    assert all(isinstance(item["bits"], float | int) and item["bits"] >= 0 for item in told)


def test_strange_events_cost_more_bits() -> None:
    told = of("event", WHOLE)
    odd = [item["bits"] for item in told if not SHOP[item["event"]].text.startswith((b"GET", b"cache"))]
    usual = [item["bits"] for item in told[50:] if SHOP[item["event"]].text.startswith((b"GET", b"cache"))]
    assert min(odd) > max(usual)


def test_windows_are_those_of_the_profile_and_come_after_their_events() -> None:
    windows = of("window", WHOLE)
    first = SMALL.baseline_size
    assert [(item["window"], item["first_event"], item["last_event"]) for item in windows] == [
        (number, first + 3 * number, first + 3 * number + 7) for number in range((COUNT - first - 8) // 3 + 1)
    ]
    last_event = -1
    for item in WHOLE:
        if item["type"] == "event":
            last_event = item["event"]
        elif item["type"] == "window":
            assert item["last_event"] == last_event
    assert set(windows[0]) == {
        *("type", "window", "stream", "first_event", "last_event", "start", "end", "bits", "ncd", "p_value", "confidence"),
        *("flagged", "calibration", "question", "surprise"),
    }


def test_a_finding_follows_its_window_and_is_the_engines() -> None:
    engine = Offline(SMALL, seed=0, limits=Limits())
    batch = record_batch((item.text for item in SHOP), (item.time_ns for item in SHOP))
    expected = engine.take(stream_of("shop"), batch)
    found = of("finding", WHOLE)
    assert len(found) == len(expected) > 3
    for item, (number, finding) in zip(found, expected, strict=True):
        before = WHOLE[WHOLE.index(item) - 1]
        assert (before["type"], before["window"], before["finding"]) == ("window", item["window"], item["id"])
        assert item["id"] == str(number)
        assert Finding.from_json(json.dumps(item["verdict"]).encode()) == finding
    flagged = [item["window"] for item in of("window", WHOLE) if item["flagged"]]
    assert flagged == [item["window"] for item in found]
    assert all(("finding" in item) == item["flagged"] for item in of("window", WHOLE))


def test_an_incident_is_told_when_it_is_over_or_the_input_is() -> None:
    incidents = of("incident", WHOLE)
    assert len(incidents) > 1
    assert {item["state"] for item in incidents[:-1]} == {"closed"}
    assert sum(item["findings"] for item in incidents) == len(of("finding", WHOLE))
    for item in incidents[:-1]:
        assert [before["window"] for before in WHOLE[: WHOLE.index(item)] if before["type"] == "window"][-1] == (
            item["last_window"] + Limits().incident_gap_windows + 1
        )
    members = {found["incident"] for found in of("finding", WHOLE)}
    assert members == {item["id"] for item in incidents}


def test_an_incident_that_the_input_cuts_off_is_open() -> None:
    last = of("finding", WHOLE)[-1]
    cut = score(SHOP[: last["verdict"]["last_event"] + 1])
    assert cut[-1]["type"] == "incident"
    assert cut[-1]["state"] == "open"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 60), max_size=40))
def test_where_the_input_is_cut_changes_no_byte(sizes: list[int]) -> None:
    assert raw(MIXED, sizes) == raw(MIXED, [])


def test_streams_do_not_see_each_other_and_keys_come_back() -> None:
    told = score(MIXED)
    for stream in ("shop", "mail", "stock"):
        alone = score([item for item in MIXED if item.stream == stream])
        assert [item for item in told if item["stream"] == stream] == alone
    keys = {item["key"] for item in of("event", told)}
    assert keys == {f"k{index}" for index in range(COUNT)}


def test_without_events_the_rest_is_the_same() -> None:
    assert score(MIXED, events=False) == [item for item in score(MIXED) if item["type"] != "event"]


def test_an_event_without_a_time_stands_where_its_stream_is() -> None:
    untimed = [item._replace(time_ns=0) if item.time_ns % 2 else item for item in SHOP]
    untimed[10] = untimed[10]._replace(time_ns=0)
    told = of("event", score(untimed))
    assert told[10]["time"] == told[9]["time"]


def test_a_budget_marks_incidents_of_a_day_and_changes_nothing_else() -> None:
    everything = score(SHOP, alerts_per_day=1)
    assert [item["over_budget"] for item in of("incident", everything)] == [False] + [True] * (len(of("incident", WHOLE)) - 1)
    assert [{name: kept for name, kept in item.items() if name != "over_budget"} for item in everything] == WHOLE
    day = 86_400 * 10**9
    late = COUNT // 2 + 40
    spread = [item._replace(time_ns=item.time_ns + (index >= late) * day) for index, item in enumerate(SHOP)]
    marks = [(item["start"][:10], item["over_budget"]) for item in of("incident", score(spread, alerts_per_day=1))]
    assert {start for start, over in marks if not over} == {"2023-11-14", "2023-11-15"}
    assert sum(not over for _, over in marks) == 2


def test_the_seed_is_in_the_findings_and_decides_nothing_but_draws() -> None:
    found, other = of("finding", WHOLE), of("finding", score(SHOP, seed=1))
    assert [item["window"] for item in other] == [item["window"] for item in found]
    assert {item["verdict"]["seed"] for item in other} != {item["verdict"]["seed"] for item in found}


def test_a_budget_is_spent_in_the_order_of_the_input_however_it_is_cut() -> None:
    other = [item._replace(stream="aaa", time_ns=item.time_ns + 10**9) for item in SHOP]
    both = [item for pair in zip(SHOP[60:], other, strict=False) for item in pair]  # incidents of shop end first
    whole = raw(both, [], alerts_per_day=1)
    assert raw(both, [7] * 100, alerts_per_day=1) == whole
    marks = [json.loads(line)["over_budget"] for line in whole.splitlines() if '"type":"incident"' in line]
    assert marks == [False] + [True] * (len(marks) - 1)
    assert len(marks) > 2
