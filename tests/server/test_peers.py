"""Connections of one listener: how many in all, of one peer, and refused ones."""

from ipaddress import ip_network
from typing import Any

import pytest

from server.peers import Peers, Refusal


def peers(**limits: Any) -> Peers:
    return Peers(
        **{"connections_max": 100, "connections_per_peer_max": 2, "connections_refused_max": 100, "unlimited": ()} | limits
    )


def test_each_peer_has_its_own_number() -> None:
    of = peers()
    places = [of.enter(host).refusal for host in ("192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2")]
    assert places == [None, None, Refusal.ANSWERED, None]


@pytest.mark.parametrize(
    ("first", "second", "one_peer"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("unix-socket", "unix-socket", True),
    ],
)
def test_who_is_one_peer(first: str, second: str, one_peer: bool) -> None:
    of = peers(connections_per_peer_max=1)
    assert of.enter(first).refusal is None
    assert (of.enter(second).refusal is Refusal.ANSWERED) is one_peer


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "10.1.2.3"])
def test_loopback_and_listed_networks_are_not_limited_but_count_in_all(host: str) -> None:
    of = peers(connections_max=10, unlimited=(ip_network("10.0.0.0/8"),))
    assert [of.enter(host).refusal for _ in range(10)] == [None] * 10
    assert of.enter(host).refusal is Refusal.ANSWERED
    assert of.enter("192.0.2.1").refusal is Refusal.ANSWERED


def test_who_leaves_makes_room_once() -> None:
    of = peers(connections_per_peer_max=1)
    place = of.enter("192.0.2.1")
    refused = of.enter("192.0.2.1")
    refused.leave()
    assert of.enter("192.0.2.1").refusal is Refusal.ANSWERED
    place.leave()
    place.leave()
    assert of.enter("192.0.2.1").refusal is None
    assert of.enter("192.0.2.1").refusal is Refusal.ANSWERED


def test_too_many_refused_connections_are_cut_off() -> None:
    of = peers(connections_max=1, connections_refused_max=2)
    of.enter("192.0.2.1")
    refused = [of.enter("192.0.2.2") for _ in range(3)]
    assert [place.refusal for place in refused] == [Refusal.ANSWERED, Refusal.ANSWERED, Refusal.CUT_OFF]
    for place in refused[1:]:
        place.leave()
    assert of.enter("192.0.2.2").refusal is Refusal.ANSWERED


def test_nothing_is_kept_of_peers_that_left() -> None:
    of = peers()
    for number in range(1000):
        of.enter(f"192.0.2.{number % 250}").leave()
    assert not of._of_peer
