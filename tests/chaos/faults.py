"""What is done to a running site, one fault after the other: each returns how long nobody was acknowledged anything, in s."""

import time
from collections.abc import Callable

import grpc

from tests.chaos.clients import EXPORT
from tests.chaos.node import Node
from tests.chaos.scene import Site
from tests.chaos.workload import request

BETWEEN_ACKS = 16
"""Acknowledgements between one fault and the next, so that each finds the site at work."""
APPEND = b"journal_append("
LOSS_S, ZOMBIE_S = 30.0, 30.0


class Zombie(AssertionError):
    """A server that was taken over has gone on as if nothing had happened."""


def repeat(site: Site, times: int, fault: Callable[[Site], float], told: Callable[[int], None] = lambda _: None) -> list[float]:
    """A fault so many times, with work in between; the seconds until the first acknowledgement after each."""
    found = []
    for number in range(times):
        site.clients.wait_for_acks(BETWEEN_ACKS)
        time.sleep(site.rng.random() * 0.1)  # so that faults come at any moment of a commit
        found.append(fault(site))
        told(number + 1)
    return found


def kill(site: Site) -> float:
    """kill -9 of the server, which is started again at once."""
    began = time.monotonic()
    site.node.kill()
    site.node.start()
    site.clients.wait_for_acks()
    return time.monotonic() - began


def backend_kill(site: Site) -> float:
    """kill -9 of a backend of PostgreSQL, which thereupon ends all of them and recovers."""
    began = time.monotonic()
    assert site.cluster.kill_backend(site.rng), "the server has no connection to its database"
    site.clients.wait_for_acks(len(site.clients.acked) + 1)  # more than can have been on their way
    return time.monotonic() - began


def immediate_stop(site: Site) -> float:
    """PostgreSQL is stopped without a checkpoint, and started again at once."""
    began = time.monotonic()
    site.cluster.stop("immediate")
    site.cluster.start()
    site.clients.wait_for_acks()
    return time.monotonic() - began


def lost_answer(site: Site) -> float:
    """The connection breaks after a group is committed and before the server hears of it."""
    aim = site.link.lost_answers + 1
    site.link.lose_answer_to(APPEND)
    end = time.monotonic() + LOSS_S
    while site.link.lost_answers < aim:
        assert time.monotonic() < end, "no answer to an append has passed the link"
        time.sleep(0.001)
    began = time.monotonic()
    site.clients.wait_for_acks()
    return time.monotonic() - began


def zombie(site: Site) -> float:
    """The server is frozen, another takes over, then it goes on: it must acknowledge nothing any more, and end by itself."""
    old, new = site.node, site.other()
    began = time.monotonic()
    old.freeze()
    new.start()
    site.clients.ports = (new.grpc_port,)
    site.node = new
    site.clients.wait_for_acks()
    took = time.monotonic() - began
    old.thaw()
    said = _ask(old, site.key)
    if said:
        old.kill()
        raise Zombie(said)
    site.over.append(old)
    return took


def _ask(node: Node, key: str) -> str:
    """Send records to a server that is not the owner any more, until it ends; what it did wrong, if anything."""
    end = time.monotonic() + ZOMBIE_S
    number = 1
    with grpc.insecure_channel(f"127.0.0.1:{node.grpc_port}") as channel:
        export = channel.unary_unary(EXPORT, None, None)
        while node.alive:
            if time.monotonic() > end:
                return f"a server that was taken over still runs after {ZOMBIE_S} s"
            body = request("z0", number, 1, service="chaos-0", time_ns=time.time_ns())
            try:
                export(body, timeout=1, metadata=(("x-api-key", key),))
            except grpc.RpcError:
                number += 1
                time.sleep(0.01)
            else:
                return "a server that was taken over has acknowledged a request"
    code = node.running.returncode
    return "" if code in (0, 1) else f"a server that was taken over ended with {code}"
