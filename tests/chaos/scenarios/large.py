"""A sender of few and large records."""

import hashlib
import threading
import time
from collections import Counter
from typing import Any

import grpc

from tests.chaos.scenarios.probing import CHANNEL_OPTIONS, EXPORT, grpc_hint, log_request
from tests.chaos.scene import Site

REST_S = 0.2
DEADLINE_S = 30.0


class Large:
    """A sender of large messages, the same bytes again until they are acknowledged; its records are `<name>-<number>`."""

    def __init__(self, name: str, site: Site, *, message_bytes: int, record_bytes: int, service: str = "") -> None:
        self.name, self.acked = name, 0
        self._service = service or name
        self._records, self._record_bytes = max(1, message_bytes // record_bytes), record_bytes
        self.statuses: Counter[str] = Counter()
        self.unhinted = 0
        self._port, self._key = site.node.grpc_port, site.key
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Begin no further message; the one on its way is sent until it is acknowledged."""
        self._ended.set()

    def join(self, timeout_s: float = 60.0) -> bool:
        """Whether its last message is acknowledged."""
        self._thread.join(max(0.0, timeout_s))
        return not self._thread.is_alive()

    def _run(self) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{self._port}", options=CHANNEL_OPTIONS) as channel:
            export = channel.unary_unary(EXPORT, None, None)
            number = 0
            while not self._ended.is_set():
                message = log_request(self._service, *(self._line(number + 1 + place) for place in range(self._records)))
                while not self._send(export, message):
                    time.sleep(REST_S)
                number += self._records
                self.acked = number

    def _line(self, number: int) -> str:
        """Half of it is incompressible, so that the journal and its queue have work, too."""
        noise = hashlib.shake_256(f"{self.name} {number}".encode()).hexdigest(self._record_bytes // 4)
        return f"INFO upload id={self.name}-{number}; {noise} {'padding ' * (self._record_bytes // 16)}"

    def _send(self, export: "grpc.UnaryUnaryMultiCallable[Any, Any]", message: bytes) -> bool:
        try:
            export(message, timeout=DEADLINE_S, metadata=(("x-api-key", self._key),))
        except grpc.RpcError as error:
            self.statuses[error.code().name] += 1
            self.unhinted += error.code() is grpc.StatusCode.UNAVAILABLE and not grpc_hint(error)
            return False
        self.statuses["OK"] += 1
        return True
