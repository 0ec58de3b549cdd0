"""A server that is started beside another takes over from it: nothing is lost, nothing twice, and senders hardly notice."""

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.chaos.node import Node
from tests.chaos.scene import Site, open_site

pytestmark = pytest.mark.e2e
PATIENCE_S = 30.0  # a request that a busy machine is slow to answer is no request without an answer
REUSE = {"DRIFTLOCK_REUSE_PORT": "on"}


@contextmanager
def longest_silence_s(site: Site) -> Iterator[Callable[[], float]]:
    """How long no client was acknowledged anything, at most, since this was entered."""
    stop, longest = threading.Event(), [0.0]

    def watch() -> None:
        last, count = time.monotonic(), site.clients.acknowledgements
        while not stop.wait(0.002):
            now = time.monotonic()
            if site.clients.acknowledgements != count:
                last, count = now, site.clients.acknowledgements
            longest[0] = max(longest[0], now - last)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: longest[0]
    finally:
        stop.set()
        thread.join()


def successor(site: Site, **variables: str) -> Node:
    """A node on the ports of the one that serves."""
    node = site.spare()
    old = site.node
    node.grpc_port, node.otlp_http_port, node.http_port = old.grpc_port, old.otlp_http_port, old.http_port
    for name in ("DRIFTLOCK_OTLP_GRPC_ADDR", "DRIFTLOCK_OTLP_HTTP_ADDR", "DRIFTLOCK_HTTP_ADDR"):
        node.environment[name] = old.environment[name]
    node.environment.update(variables)
    return node


def hand_over(site: Site) -> Node:
    """Start a successor, and wait for the end of the one before; the latter."""
    old, new = site.node, successor(site)
    new.start(wait=False)
    while old.alive:
        assert new.alive, new.tail()
        time.sleep(0.01)
    assert old.wait_end() == 0, old.tail()
    site.node = new
    new.wait_ready()
    return old


def test_servers_follow_each_other_on_the_same_ports(tmp_path: Path) -> None:
    with open_site(tmp_path, **REUSE) as site:
        silences = []
        for _ in range(3):
            with longest_silence_s(site) as longest:
                old = hand_over(site)
                site.clients.wait_for_acks(50)
                silences.append(longest())
            assert "handed over" in old.tail()
            assert "Traceback" not in old.tail()
        judgement = site.judge()
    assert judgement.clean, judgement.line
    assert judgement.verdict.records == judgement.acknowledged


def test_a_server_with_nothing_to_do_notices_too(tmp_path: Path) -> None:
    with open_site(tmp_path, clients=1, **REUSE) as site:
        site.clients.pause()
        hand_over(site)
        site.clients.resume()
        assert site.judge().clean


def test_a_second_server_on_a_port_is_a_mistake_that_harms_nobody(tmp_path: Path) -> None:
    with open_site(tmp_path) as site:
        second = successor(site)
        second.start(wait=False)
        assert second.wait_end() == 1
        assert "cannot listen on" in second.tail()
        site.clients.wait_for_acks(50)
        assert site.node.alive
        assert site.judge().clean


def test_sigterm_under_load_answers_everything_and_loses_nothing(tmp_path: Path) -> None:
    with open_site(tmp_path, deadline_s=PATIENCE_S) as site:
        stop, answers = threading.Event(), set[int]()

        def detect() -> None:
            while not stop.wait(0.01):
                with suppress(OSError, http.client.HTTPException):  # nobody is there, or not any more
                    body = {"stream_id": "by-hand", "events": ["one more"]}
                    answers.add(site.node.request("POST", "/v1/detect", body, key=site.key)[0])

        thread = threading.Thread(target=detect)
        thread.start()
        try:
            for _ in range(3):
                assert site.node.stop() == 0, site.node.tail()  # by itself, before STOP_MAX_S
                site.node.start()
                site.clients.wait_for_acks(50)
        finally:
            stop.set()
            thread.join()
        assert site.judge().clean
        assert set(site.clients.statuses) <= {"OK", "UNAVAILABLE", "CANCELLED"}
    assert answers <= {200, 202, 503}
