from dataclasses import replace
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from driftlock.engine.correlation.correlator import Correlator, Flag, Progress, latest
from driftlock.engine.limits import Limits
from driftlock.engine.offline import RECEIVED_NS, TENANT_ID
from driftlock.engine.ports import IncidentRow
from driftlock.engine.verdict import Finding, Incident
from server.offline.incidents import Joining, StreamFindings, StreamIncident, strangeness
from tests.storage.helpers import finding as sample

GAP = Limits().incident_gap_windows
STREAM_ID = UUID(int=1)


SAMPLE = sample(0)


def finding(window: int, ncd: float, p_value: float, start: int, surprise: float = 0.0) -> Finding:
    first = 10 * window
    return replace(
        SAMPLE,
        window=window,
        ncd=ncd,
        p_value=p_value,
        surprise=surprise,
        first_event=first,
        last_event=first + 49,
        start_ns=start,
        end_ns=start + 5,
        explanation=f"window {window}",
    )


FINDINGS = st.lists(
    st.tuples(
        st.integers(1, 9),
        st.sampled_from([0.4, 0.5, 1.0]),
        st.sampled_from([0.01, 0.02]),
        st.integers(1, 10**12),
        st.sampled_from([0.0, 3.5]),
    ),
    max_size=30,
)


def findings(steps: list[tuple[int, float, float, int, float]]) -> list[tuple[UUID, Finding]]:
    window, found = 0, []
    for step, ncd, p_value, start, surprise in steps:
        window += step
        found.append((UUID(int=window), finding(window, ncd, p_value, start, surprise)))
    return found


def joined(found: list[tuple[UUID, Finding]]) -> list[StreamIncident]:
    joining, ended = Joining(GAP), []
    for number, item in found:
        ended.append(joining.passed(item.window))
        joining.join(number, item)
    ended.append(joining.end())
    assert joining.open is None
    return [incident for incident in ended if incident is not None]


def correlated(found: list[tuple[UUID, Finding]]) -> list[IncidentRow]:
    """The incidents that the engine's fold of a tenant makes of one stream's findings."""
    correlator = Correlator(TENANT_ID, Limits())
    rows: list[IncidentRow] = []
    for seq, (number, item) in enumerate(found):
        flag = Flag(
            STREAM_ID,
            "x",
            seq,
            item.window,
            item.start_ns,
            item.end_ns,
            item.ncd,
            item.p_value,
            number,
            item.explanation,
            historical=True,
            surprise=item.surprise,
        )
        rows += correlator.derived(STREAM_ID, Progress(item.end_ns, item.window + 1, 1, historical=True), [flag])
    return latest([*rows, *correlator.clock(RECEIVED_NS)])


def extremes(incident: StreamIncident | Incident) -> tuple[float, float, float]:
    return incident.ncd_max, incident.p_value_min, incident.surprise_max


@given(FINDINGS)
def test_incidents_are_those_of_the_engine(steps: list[tuple[int, float, float, int, float]]) -> None:
    found = findings(steps)
    told = [
        (
            item.incident_id,
            item.start_ns,
            item.end_ns,
            item.findings,
            item.ncd_max,
            item.p_value_min,
            item.surprise_max,
            item.title,
        )
        for item in joined(found)
    ]
    expected = [
        (row.incident_id, row.start_ns, row.end_ns, row.findings, *extremes(row), row.title)
        for row in (row.incident for row in correlated(found))
    ]
    assert told == expected


def test_an_incident_ends_after_so_many_windows_without_a_finding() -> None:
    joining = Joining(GAP)
    joining.join(UUID(int=1), finding(10, 0.5, 0.01, 1))
    assert joining.passed(10 + GAP) is None
    ended = joining.passed(10 + GAP + 1)
    assert ended is not None
    assert (ended.first_window, ended.last_window, ended.first_event, ended.last_event) == (10, 10, 100, 149)
    assert joining.end() is None


@given(FINDINGS, st.integers(1, 4))
def test_only_the_strangest_incidents_are_kept_and_all_are_counted(
    steps: list[tuple[int, float, float, int, float]], incidents_max: int
) -> None:
    found = findings(steps)
    kept = StreamFindings(GAP, incidents_max)
    for number, item in found:
        kept.add(number, item)
    kept.end()
    kept.end()
    everything = joined(found)
    assert (kept.incidents, kept.findings) == (len(everything), len(found))
    strangest = sorted(everything, key=lambda item: strangeness(item.strangest), reverse=True)
    assert kept.kept == sorted(strangest[:incidents_max], key=lambda item: item.first_window)
