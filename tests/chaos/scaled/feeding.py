"""Who sends to a gateway, and who asks an api process, without a pause for faults: each keeps count of what was answered."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from uuid import UUID

import httpx

from tests.chaos.workload import is_odd, line
from tests.collector.otlp_requests import log, logs

FIRST_NS = 1_700_000_000_000_000_000
RECORDS = 40
TIMEOUT_S = 15.0
HEADERS = {"Content-Type": "application/x-protobuf"}


@dataclass(frozen=True, slots=True)
class Customer:
    """A tenant with a key, and the service that it has."""

    number: int
    tenant_id: UUID
    key: str

    @property
    def service(self) -> str:
        """The name of its stream."""
        return f"shop-{self.number}"


def request(customer: Customer, first: int, seed: int) -> bytes:
    """The records `first` and following of a customer, a second apart, each with an id of its own."""
    source = random.Random(f"{seed} {customer.number} {first}")
    made = []
    for number in range(first, first + RECORDS):
        text = f"{line(source, odd=is_odd(number))} id=c{customer.number}-{number};"
        made.append(log(text, FIRST_NS + number * 10**9))
    return logs(*made, resource={"service.name": customer.service, "driftlock.historical": True}).SerializeToString()


class _Thread:
    """Runs `_run` while entered; an error in it is raised on leaving."""

    def __init__(self, name: str) -> None:
        self.statuses: Counter[str] = Counter()
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._guarded, name=name)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Return when what is under way was answered. Raises what has gone wrong."""
        self._stopping.set()
        self._thread.join()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _guarded(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self._error = error

    def _run(self) -> None:
        raise NotImplementedError


class Feeder(_Thread):
    """Sends a customer's records in order, each request until it is acknowledged: `acked` is the last record that was."""

    def __init__(self, customer: Customer, port: int, *, seed: int, rest_s: float) -> None:
        super().__init__(customer.service)
        self.customer, self.acked = customer, 0
        self._url = f"http://127.0.0.1:{port}/v1/logs"
        self._seed, self._rest_s = seed, rest_s

    def _run(self) -> None:
        with httpx.Client(headers={**HEADERS, "x-api-key": self.customer.key}, timeout=TIMEOUT_S) as client:
            while not self._stopping.is_set():
                body = request(self.customer, self.acked + 1, self._seed)
                while not self._sent(client, body):
                    time.sleep(self._rest_s)
                self.acked += RECORDS
                time.sleep(self._rest_s)

    def _sent(self, client: httpx.Client, body: bytes) -> bool:
        try:
            answer = client.post(self._url, content=body)
        except httpx.HTTPError as error:
            self.statuses[type(error).__name__] += 1
            return False
        self.statuses[str(answer.status_code)] += 1
        if answer.status_code not in {200, 429, 502, 503, 504}:
            raise AssertionError(f"an answer that lets senders drop data: {answer.status_code} {answer.text}")
        return answer.status_code == 200


class Asker(_Thread):
    """Asks an api process for lists all the time. `wrong` are answers that no process may give."""

    def __init__(self, customer: Customer, port: Callable[[], int], *, rest_s: float = 0.1) -> None:
        super().__init__("asker")
        self.wrong: list[str] = []
        self._customer, self._port, self._rest_s = customer, port, rest_s
        self._seen: set[str] = set()

    def _run(self) -> None:
        with httpx.Client(headers={"x-api-key": self._customer.key}, timeout=TIMEOUT_S) as client:
            while not self._stopping.is_set():
                for path in ("/v1/streams", "/v1/anomalies?limit=200", "/v1/incidents"):
                    self._ask(client, path)
                    time.sleep(self._rest_s)

    def _ask(self, client: httpx.Client, path: str) -> None:
        try:
            answer = client.get(f"http://127.0.0.1:{self._port()}{path}")
        except httpx.HTTPError as error:  # the process was killed, or is not there again yet
            self.statuses[type(error).__name__] += 1
            return
        self.statuses[str(answer.status_code)] += 1
        if answer.status_code == 503:
            if "retry-after" not in answer.headers:
                self.wrong.append(f"{path}: 503 without Retry-After")
            return
        if answer.status_code != 200:
            self.wrong.append(f"{path}: {answer.status_code} {answer.text[:200]}")
            return
        found = answer.json()
        if path == "/v1/streams":
            others = [it["slug"] for it in found["streams"] if it["slug"] != self._customer.service]
            self.wrong += [f"{path}: a stream of somebody else: {slug}" for slug in others]
        elif path.startswith("/v1/anomalies") and found.get("next_cursor") is None:  # all of them
            ids = {it["id"] for it in found["anomalies"]}
            self.wrong += [f"{path}: {finding} is gone" for finding in sorted(self._seen - ids)]
            self._seen |= ids
