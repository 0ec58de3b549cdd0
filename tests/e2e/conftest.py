from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Server


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Makes servers that are stopped when the test ends; each has a private data folder of its own."""
    made: list[Server] = []

    def make(name: str = "data", **variables: str) -> Server:
        home = tmp_path / f"home-{name}"
        home.mkdir(mode=0o700)
        made.append(Server(home / name, **variables))
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server, shared by the tests of a module: each names its own services."""
    home = tmp_path_factory.mktemp("shared")
    home.chmod(0o700)
    running = Server(home / "data")
    running.start()
    yield running
    running.close()
