"""One warm beginning for all runs of a test session."""

import logging
from collections.abc import Iterator

import pytest

from tests.simulation.simulator import Simulator


@pytest.fixture(scope="session")
def simulator() -> Simulator:
    return Simulator()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What goes wrong on purpose need not be logged."""
    logger = logging.getLogger("driftlock")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)
