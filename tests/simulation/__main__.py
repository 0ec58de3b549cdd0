"""`python -m tests.simulation`: many seeds with their rate, or one with everything that happened in it."""

import argparse
import gc
import logging
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.simulation.simulator import Simulator

BLOCK = 250


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one and print its trace")
    parser.add_argument("--first", type=int, default=0, help="the first seed of many")
    parser.add_argument("--seeds", type=int, default=10_000, help="how many")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time")
    parser.add_argument("--people", action="store_true", help="let people teach streams in every one, not only in some")
    given = parser.parse_args()
    quiet()
    if given.seed is not None:
        return one(given.seed, people=given.people)
    return many(given.first, given.seeds, given.jobs, people=given.people)


def quiet() -> None:
    """What goes wrong on purpose need not be logged."""
    logging.getLogger("driftlock").setLevel(logging.CRITICAL)


def one(seed: int, *, people: bool) -> int:
    simulator = Simulator()
    world = simulator.world(seed, tracing=True, people=people)
    say(str(world.plan))
    wrong = simulator.failures(world)
    say("\n".join(world.facts.trace))
    say("\n".join(f"WRONG: {what}" for what in wrong) or "nothing is wrong")
    return bool(wrong)


def many(first: int, seeds: int, jobs: int, *, people: bool) -> int:
    began = time.perf_counter()
    failed = 0
    with ProcessPoolExecutor(jobs, initializer=quiet) as pool:
        for lines in pool.map(partial(block, first + seeds, people=people), range(first, first + seeds, BLOCK)):
            failed += len(lines)
            for line in lines:
                say(line)
    took_s = time.perf_counter() - began
    say(f"{seeds} seeds, {failed} failed, {seeds / took_s:.0f} seeds/s in {jobs} processes")
    return bool(failed)


def block(end: int, first: int, *, people: bool = False) -> list[str]:
    """A line for each seed that fails, of those from `first` on."""
    simulator = Simulator()
    gc.disable()
    try:
        return simulator.play(range(first, min(end, first + BLOCK)), people=people)
    finally:
        gc.enable()
        gc.collect()


if __name__ == "__main__":
    sys.exit(main())
