"""What has to hold of every run, whatever happened in it."""

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from uuid import UUID

from driftlock.engine.scores import MinuteScore
from driftlock.storage.incidents import _stored
from driftlock.storage.ledger import LedgerRow
from tests.simulation.facts import different
from tests.simulation.reference import refold
from tests.simulation.said_judge import said
from tests.simulation.tables import JRow, Tables
from tests.simulation.world import World


def judge(world: World) -> list[str]:
    """All that is wrong with a run that has ended; empty when nothing is."""
    found = list(world.facts.wrong)
    found += _delivered(world)
    found += _once(world)
    found += _ledger(world.tables)
    found += _as_uninterrupted(world)
    return found


def _delivered(world: World) -> list[str]:
    """What was acknowledged, and everything was in the end, is journaled once."""
    rows: dict[tuple[UUID | None, bytes], list[JRow]] = {}
    for row in world.facts.history:
        if row.kind == 0:
            rows.setdefault((row.tenant_id, row.body), []).append(row)
    found = []
    for request in world.sent:
        for body in request.bodies:
            copies = rows.get((request.tenant_id, body), [])
            if not copies:
                found.append(f"{request.name} is not journaled")
            if any(not _forgotten(world, one, two) for one, two in pairwise(copies)):
                found.append(f"{request.name} is journaled {len(copies)} times")
        if request.name not in world.facts.acknowledged:
            found.append(f"{request.name} was never acknowledged")
    if world.tables.applied_seq != len(world.facts.history):
        found.append(f"applied are {world.tables.applied_seq} of {len(world.facts.history)} rows")
    return found


def _forgotten(world: World, one: JRow, two: JRow) -> bool:
    """Was the time over for which a request is remembered, when it was journaled again? Requests are forgotten by the clock."""
    until_ns = one.received_ns + world.plan.journal.dedup_window_ms * 1_000_000
    return two.received_ns >= until_ns or any(seq < two.seq and now_ns > until_ns for seq, now_ns in world.facts.forgot)


def _once(world: World) -> list[str]:
    """No finding is committed by two steps, and no incident tells its alert twice; steps follow one another."""
    steps = world.facts.steps
    findings = Counter(row.finding_id for step in steps for row in step.findings)
    told = Counter(row.incident.incident_id for step in steps for row in step.incidents if row.told)
    found = [f"finding {known} is in {times} steps" for known, times in findings.items() if times > 1]
    found += [f"incident {known} alerts {times} times" for known, times in told.items() if times > 1]
    at = world.base.tables.applied_seq
    for step in steps:
        if step.from_seq != at:
            found.append(f"a step from {step.from_seq} is committed at {at}")
        at = step.to_seq
    return found


def _ledger(tables: Tables) -> list[str]:
    """received = journaled + rejected + refused + deduplicated; metered = journaled = held + removed."""
    keys = {(tenant, signal) for tenant, _, signal in tables.ledger} | {(tenant, signal) for tenant, _, signal in tables.meter}
    found = []
    for tenant_id, signal in sorted(keys | tables.removed.keys(), key=str):
        entries = [value for key, value in tables.ledger.items() if (key[0], key[2]) == (tenant_id, signal)]
        entry = [sum(part) for part in zip(*entries, strict=True)]
        metered = sum(value[0] for key, value in tables.meter.items() if (key[0], key[2]) == (tenant_id, signal))
        held = sum(
            row.records
            for row in tables.journal.values()
            if row.tenant_id == tenant_id and row.stream_id is not None and tables.streams[row.stream_id].key.signal == signal
        )
        removed = tables.removed.get((tenant_id, signal), 0)
        row = LedgerRow(tenant_id, "t", signal, *(entry or [0] * 5), metered, held, removed)  # type: ignore[call-arg]
        found += [f"the ledger of {signal} is off by {by} records ({law})" for law, by in row.differences.items()]
    return found


def _as_uninterrupted(world: World) -> list[str]:
    """Findings, incidents, alerts and states are those of one fold of the same journal that nothing interrupted."""
    tables, base = world.tables, world.base
    reference = refold(world.plan, base, tables, world.facts.history, world.now_ns())
    memory = reference.journal
    found = []
    before = base.tables.anomalies.keys()
    mine = {known: (row["body"], row["silenced_by"]) for known, row in tables.anomalies.items() if known not in before}
    theirs = {known: (row.finding.to_json(), row.silenced_by) for known, row in memory.findings.items() if known not in before}
    found += different("finding", mine, theirs)
    expected = {known: _stored(row) for known, row in memory.incidents.items()}
    past = base.tables.incidents
    changed = {known: row for known, row in tables.incidents.items() if past.get(known) != row or known in expected}
    found += different("incident", changed, expected)
    told = {row.incident.incident_id for step in world.facts.steps for row in step.incidents if row.told}
    if told != reference.told.keys():
        found.append(f"alerts differ: {sorted(map(str, told ^ reference.told.keys()))}")
    found += different("minute", _minutes(tables), _with_more(_minutes(base.tables), memory.scores))
    found += _told_once(world)
    found += said(world, memory)
    for known, saved in tables.stream_checkpoints.items():
        theirs_saved = memory.stream_checkpoints.get(known)
        if theirs_saved is None or (max(saved), saved[max(saved)][1]) != (theirs_saved.seq, theirs_saved.state):
            found.append(f"the state of stream {known} at {max(saved)} is not that of the reference")
    for known, saved in tables.tenant_checkpoints.items():
        if saved[max(saved)][1] != memory.tenant_checkpoints[known].state:
            found.append(f"the state of tenant {known} is not that of the reference")
    return found


def _minutes(tables: Tables) -> dict[tuple[UUID, int], MinuteScore]:
    return {key: MinuteScore(key[1], *row[1:]) for key, row in tables.scores.items()}


def _with_more(
    known: dict[tuple[UUID, int], MinuteScore], more: Mapping[tuple[UUID, int], MinuteScore]
) -> dict[tuple[UUID, int], MinuteScore]:
    return known | {key: known[key].with_more(score) if key in known else score for key, score in more.items()}


def _told_once(world: World) -> list[str]:
    """The feed has every finding of the run once, and its events are numbered without gaps."""
    tables = world.tables
    told = Counter(anomaly for _, anomaly, _ in tables.live.values() if anomaly is not None)
    found = [f"finding {known} is told {times} times" for known, times in told.items() if times > 1]
    committed = {row.finding_id for step in world.facts.steps for row in step.findings if row.silenced_by is None}
    found += [f"finding {known} is not told" for known in committed - told.keys()]
    numbers: dict[UUID, list[int]] = {}
    for tenant_id, seq in tables.live:
        numbers.setdefault(tenant_id, []).append(seq)
    for tenant_id, head in tables.heads.items():
        if sorted(numbers.get(tenant_id, [])) != list(range(1, head + 1)):
            found.append(f"events of tenant {tenant_id} are not numbered 1 to {head}")
    return found
