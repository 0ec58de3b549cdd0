"""The books of a real server: beside it, after it was killed, and from the outside of its process."""

import signal
from collections.abc import Callable

import httpx

from driftlock.engine.event import Signal
from tests.e2e.harness import Server

EVENTS = [f"order {number} placed" for number in range(5)]


def send(server: Server, events: list[str], key: str) -> int:
    headers = {"Idempotency-Key": key}
    return httpx.post(f"{server.rest}/v1/detect", json={"events": events}, headers=headers, timeout=20).status_code


def books(server: Server) -> list[str]:
    """The only row of `driftlock doctor --ledger`, which must find nothing wrong."""
    done = server.run("doctor", "--ledger")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every record is accounted for" in done.stdout
    (row,) = [line.split() for line in done.stdout.splitlines() if line.startswith("local")]
    return row[1:]


def test_the_ledger_beside_a_server_and_after_a_kill(make_server: Callable[..., Server]) -> None:
    server = make_server()
    server.start()
    assert [send(server, EVENTS, "one"), send(server, EVENTS, "one"), send(server, EVENTS[:3], "one")] == [200, 200, 422]
    beside = books(server)
    # What was refused is written every few seconds; all else is there as soon as it is answered.
    assert beside[:6] in (["logs", "10", "5", "0", "0", "5"], ["logs", "13", "5", "0", "3", "5"])
    assert server.metric(f'driftlock_refused_records_total{{reason="key_reused",signal="{Signal.LOGS}"}}') == 3
    server.kill()
    killed = books(server)
    assert killed[2] == killed[6] == killed[7] == "5"
    server.start()
    assert send(server, EVENTS, "one") == 200
    server.signal(signal.SIGTERM)
    assert books(server)[2] == "5"
