"""Whatever goes wrong: nothing acknowledged is lost, nothing is counted twice, verdicts are those of an undisturbed run.

A block that fails names its seeds, each with the command that plays it alone.
"""

import gc
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from driftlock.engine.anchor import AnchorEnd, AnchorStanding
from driftlock.engine.verdict import Question, StreamEventKind
from tests.simulation.ablations import ABLATIONS
from tests.simulation.database import Fault
from tests.simulation.loop import Hang
from tests.simulation.plan import STATEMENT_FAULTS, Plan, calm
from tests.simulation.simulator import Simulator
from tests.simulation.world import TWIN

BLOCKS, SEEDS = 40, 250
PEOPLE_SEEDS = 100
ABLATED_SEEDS_MAX = 400
FIXED = Plan(clients=2, requests=4, records=5, streams=2, operator=True, trouble_s=6.0)
FIXED_SEED = 4
ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("block", range(BLOCKS))
def test_every_seed_keeps_every_promise(simulator: Simulator, block: int) -> None:
    gc.collect()
    gc.disable()  # a run leaves some thousand objects in circles: once a block is often enough
    try:
        failed = simulator.play(range(block * SEEDS, (block + 1) * SEEDS))
    finally:
        gc.enable()
    assert not failed, "\n".join(failed)


def calls_of(simulator: Simulator) -> int:
    """Statements that the fixed scenario sends when nothing goes wrong."""
    world = simulator.world(FIXED_SEED, plan=FIXED)
    assert simulator.failures(world) == []
    return world.server.calls


@pytest.mark.parametrize("fault", STATEMENT_FAULTS, ids=lambda fault: fault.name.lower())
def test_any_one_statement_may_go_wrong(simulator: Simulator, fault: Fault) -> None:
    """The first, the second, and so on to the last of a fixed scenario; stops may cut off the drain."""
    last = calls_of(simulator)
    assert last > 100
    failed = {}
    for number in range(1, last + 1):
        plan = Plan(**{**FIXED.__dict__, "fault_at": (number, fault), "stop_s": 0.0 if number % 2 else 1.0})
        wrong = simulator.failures(simulator.world(FIXED_SEED, plan=plan))
        if wrong:
            failed[number] = wrong
    assert not failed


@pytest.mark.parametrize("name", ABLATIONS)
def test_a_promise_that_is_taken_out_is_missed(simulator: Simulator, name: str) -> None:
    ablation = ABLATIONS[name]
    for seed in range(ABLATED_SEEDS_MAX):
        world = simulator.world(seed, parts=ablation.parts, rewrite=ablation.rewrite, people=ablation.people)
        if simulator.failures(world):
            return
    pytest.fail(f"{ABLATED_SEEDS_MAX} seeds did not notice: {name}")


def test_when_nothing_goes_wrong_every_request_is_sent_once(simulator: Simulator) -> None:
    world = simulator.world(3, plan=calm(Plan(clients=3, requests=3)))
    assert simulator.failures(world) == []
    assert [receipt.duplicate for receipt in world.facts.acknowledged.values()] == [False] * 9
    assert len(world.nodes) == 1


def test_the_seeds_reach_what_they_are_for(simulator: Simulator) -> None:
    """Resends, take-overs, alerts, cleared partitions, full journals, folds from checkpoints: all of them happen."""
    seen = {"resend": 0, "take-over": 0, "finding": 0, "alert": 0, "cleared": 0, "second life": 0}
    seen |= {"twin": 0, "key reused": 0, "rejected": 0, "journaled again": 0}
    for seed in range(120):
        world = simulator.world(seed)
        assert simulator.failures(world) == []
        steps = world.facts.steps
        seen["resend"] += any(receipt.duplicate for receipt in world.facts.acknowledged.values())
        seen["take-over"] += any(node.process.frozen or node.fenced for node in world.nodes)
        seen["finding"] += any(step.findings for step in steps)
        seen["alert"] += any(row.told for step in steps for row in step.incidents)
        seen["cleared"] += world.tables.shard.truncated_seq > world.base.tables.applied_seq
        seen["second life"] += len(world.nodes) > 1
        seen["twin"] += any(request.tenant_id == TWIN for request in world.sent)
        seen["key reused"] += world.facts.reused > 0
        seen["rejected"] += any(request.rejected for request in world.sent)
        rows = [(row.tenant_id, row.body) for row in world.facts.history if row.kind == 0]
        seen["journaled again"] += len(rows) > len(set(rows))  # after the time for which requests are remembered
    assert all(count >= 3 for count in seen.values()), seen


def test_people_reach_what_they_are_for(simulator: Simulator) -> None:
    """Findings are silenced, anchors end in each way, streams drift and come back, rules are set."""
    seen: Counter[str] = Counter()
    for seed in range(PEOPLE_SEEDS):
        world = simulator.world(seed, people=True)
        assert simulator.failures(world) == []
        tables, steps = world.tables, world.facts.steps
        seen["withdrawn"] += any(action == "feedback.withdrawn" for _, action, _ in tables.audit.values())
        seen["silenced"] += any(row.silenced_by is not None for step in steps for row in step.findings)
        seen["rules"] += bool(tables.rules)
        seen["drift"] += any(row.finding.question is Question.DRIFT for step in steps for row in step.findings)
        seen["drift ended"] += any(row.event.kind is StreamEventKind.DRIFT_ENDED for step in steps for row in step.events)
        for ended in AnchorEnd:
            seen[ended] += any(row[18] == ended for row in tables.anchors.values())
        seen["refused"] += any(row[4] == AnchorStanding.REFUSED for row in tables.anchors.values())
    missed = {what for what, count in seen.items() if not count}
    assert missed <= {AnchorEnd.LOST, AnchorEnd.DRIFT}, seen  # no state is damaged here, and few drifts are noticed in time


def test_a_run_that_gets_nowhere_is_a_failure(simulator: Simulator) -> None:
    world = simulator.world(1, plan=FIXED)
    world.server.start = lambda: None  # type: ignore[method-assign]
    world.server.up = False
    with pytest.raises(Hang):
        world.run()


def test_a_seed_is_the_same_run_in_every_process() -> None:
    """Also where strings hash differently."""
    runs = [
        subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seed", "8"],
            cwd=ROOT,
            env={"PYTHONHASHSEED": str(hash_seed)},
            capture_output=True,
            check=True,
        ).stdout
        for hash_seed in (1, 2)
    ]
    assert runs[0] == runs[1]
    assert runs[0].count(b"\n") > 100
