"""The scenarios as parts of `make chaos`; where one goes on for a time, its count is seconds."""

from collections.abc import Callable
from pathlib import Path

from tests.chaos.parts import Order, Part
from tests.chaos.scenarios.answers import database_answers
from tests.chaos.scenarios.away import database_away
from tests.chaos.scenarios.bit_flips import damaged_both_checkpoints, damaged_newest_checkpoint, damaged_row
from tests.chaos.scenarios.descriptors import no_descriptors
from tests.chaos.scenarios.disk_full import disk_full
from tests.chaos.scenarios.memory import large_messages
from tests.chaos.scenarios.report import Report
from tests.chaos.scenarios.slow import database_slow
from tests.chaos.scenarios.stopping import stop_under_load


def _once(scenario: Callable[[Path], Report]) -> Callable[[Order], Report]:
    return lambda order: scenario(order.folder)


SCENARIOS: tuple[Part, ...] = (
    Part("database away", 600, 20, 1.0, lambda order: database_away(order.folder, seconds=float(order.count))),
    Part("database slow", 120, 20, 1.0, lambda order: database_slow(order.folder, seconds=float(order.count))),
    Part("answers of PostgreSQL", 30, 5, 3.0, lambda order: database_answers(order.folder, seconds=float(order.count))),
    Part("disk full", 60, 10, 1.0, lambda order: disk_full(order.folder, seconds=float(order.count))),
    Part("bit flip in the journal", 1, 1, 15.0, _once(damaged_row)),
    Part("bit flip in the newest checkpoint", 1, 1, 15.0, _once(damaged_newest_checkpoint)),
    Part("bit flip in both checkpoints", 1, 1, 15.0, _once(damaged_both_checkpoints)),
    Part("no file descriptors", 60, 10, 1.0, lambda order: no_descriptors(order.folder, seconds=float(order.count))),
    Part("SIGTERM under load", 50, 10, 4.0, lambda order: stop_under_load(order.folder, times=order.count)),
    Part("large messages", 120, 20, 1.0, lambda order: large_messages(order.folder, seconds=float(order.count))),
)
