from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.client_network import (
    FORWARDED_HOPS_MAX,
    TRUSTED_PROXIES_MAX,
    UNKNOWN_NETWORK,
    client_network,
    network_of,
    parse_networks,
)


def network(peer: str | None, *forwarded: str, trusted: str = "10.0.0.0/8, 2001:db8:ffff::/48") -> str:
    headers = [(b"x-forwarded-for", line.encode("latin-1")) for line in forwarded]
    client = None if peer is None else (peer, 40000)
    return client_network({"type": "http", "client": client, "headers": headers}, parse_networks(trusted))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("203.0.113.9", "203.0.113.0/24"),
        ("203.0.113.255", "203.0.113.0/24"),
        ("203.0.114.9", "203.0.114.0/24"),
        ("127.0.0.1", "127.0.0.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("2001:db8:1:ffff::3", "2001:db8:1::/48"),
        ("::1", "::/48"),
        ("::ffff:203.0.113.9", "203.0.113.0/24"),
        ("fe80::1%eth0", "fe80::/48"),
    ],
)
def test_a_peer_is_counted_in_its_network(address: str, expected: str) -> None:
    assert network(address) == expected


@pytest.mark.parametrize("peer", [None, "", "unix", "203.0.113"])
def test_peers_without_an_address_share_one_network(peer: str | None) -> None:
    assert network(peer, "203.0.113.9") == UNKNOWN_NETWORK


def test_a_stranger_can_not_claim_another_address() -> None:
    assert network("198.51.100.7", "203.0.113.9") == "198.51.100.0/24"
    assert network("198.51.100.7", "203.0.113.9", trusted="none") == "198.51.100.0/24"
    assert network("127.0.0.1", "203.0.113.9", trusted="none") == "127.0.0.0/24"


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        (["203.0.113.9"], "203.0.113.0/24"),
        (["198.51.100.7, 203.0.113.9"], "203.0.113.0/24"),
        (["198.51.100.7, 203.0.113.9, 10.1.1.1"], "203.0.113.0/24"),
        (["198.51.100.7", "203.0.113.9", "10.1.1.1,10.2.2.2"], "203.0.113.0/24"),
        (["203.0.113.9\t, 2001:db8:ffff::1"], "203.0.113.0/24"),
        (["203.0.113.9:8080"], "203.0.113.0/24"),
        (["2001:db8:1::7"], "2001:db8:1::/48"),
        (["[2001:db8:1::7]"], "2001:db8:1::/48"),
        (["[2001:db8:1::7]:443"], "2001:db8:1::/48"),
        (["::ffff:203.0.113.9"], "203.0.113.0/24"),
        (["::ffff:10.1.1.1"], "10.1.1.0/24"),
        (["10.3.3.3, 10.1.1.1"], "10.3.3.0/24"),
        (["garbage, 203.0.113.9"], "203.0.113.0/24"),
        (["<script>, , 203.0.113.9, 10.1.1.1"], "203.0.113.0/24"),
    ],
)
def test_behind_a_trusted_proxy_the_rightmost_address_that_is_not_trusted_counts(forwarded: list[str], expected: str) -> None:
    assert network("10.0.0.1", *forwarded) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "203.0.113.9,",
        "unknown",
        "_hidden",
        "203.0.113.9, garbage",
        "203.0.113.9, garbage, 10.1.1.1",
        "203.0.113",
        "203.0.113.009",
        "0xcb007109",
        "203.0.113.9:port",
        "203.0.113.9:",
        "203.0.113.9:123456",
        "203.0.113.9%x",
        "[203.0.113.9]",
        "[2001:db8:1::7",
        "[2001:db8:1::7]x",
        "[2001:db8:1::7]443",
        '"203.0.113.9"',
        "203.0.113.9 198.51.100.7",
        "\xb2\xb0\xb3.0.113.9",
    ],
)
def test_where_our_own_proxies_wrote_nonsense_the_peer_counts(text: str) -> None:
    assert network("10.0.0.1", text) == "10.0.0.0/24"


def test_without_the_header_a_trusted_proxy_is_a_client_too() -> None:
    assert network("10.0.0.1") == "10.0.0.0/24"


def test_two_hundred_hops_are_looked_through_from_the_end_only() -> None:
    spoofed = ", ".join(f"198.51.100.{number % 256}" for number in range(199))
    assert network("10.0.0.1", f"{spoofed}, 203.0.113.9") == "203.0.113.0/24"


def test_a_way_of_too_many_proxies_is_not_believed() -> None:
    proxies = ", ".join(["10.1.1.1"] * (FORWARDED_HOPS_MAX - 1))
    assert network("10.0.0.1", f"203.0.113.9, {proxies}") == "203.0.113.0/24"
    assert network("10.0.0.1", f"203.0.113.9, 10.1.1.1, {proxies}") == "10.0.0.0/24"


def test_a_long_header_costs_little() -> None:
    assert network("10.0.0.1", "," * 60_000) == "10.0.0.0/24"
    assert network("10.0.0.1", "1" * 60_000) == "10.0.0.0/24"


@given(st.text(st.characters(max_codepoint=255), max_size=60))
def test_any_header_gives_the_peer_or_an_address_that_stands_in_it(text: str) -> None:
    found = network("10.0.0.1", text)
    if found != "10.0.0.0/24":
        parts = [part.strip(" \t") for part in text.split(",")]
        assert any(found == network("10.0.0.1", part) for part in parts)


def test_a_6to4_address_is_its_ipv4_owner() -> None:
    assert network_of(ip_address("2002:c000:0204::1")) == network_of(ip_address("192.0.2.9")) == "192.0.2.0/24"


@given(st.ip_addresses())
def test_a_network_holds_its_address_and_is_its_own_network(address: object) -> None:
    text = network_of(ip_address(str(address)))
    [parsed] = parse_networks(text)
    assert (getattr(address, "sixtofour", None) or address) in parsed
    assert parsed.prefixlen == (24 if parsed.version == 4 else 48)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("10.0.0.1/8", "is no network"),
        ("10.0.0.0/33", "is no network"),
        ("10.0.0.0/8,", "is no network"),
        ("10.0.0.0/8 10.1.0.0/16", "separated by commas"),
        ("localhost", "is no network"),
        ("*", "is no network"),
        ("none, 10.0.0.0/8", "is no network"),
        ("0.0.0.0/0", "everybody"),
        ("10.0.0.0/8,::/0", "everybody"),
        (",".join(["10.0.0.1"] * (TRUSTED_PROXIES_MAX + 1)), f"at most {TRUSTED_PROXIES_MAX} networks"),
    ],
)
def test_wrong_networks_are_refused_with_what_to_write(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told.replace("*", r"\*")) as caught:
        parse_networks(text)
    assert "\n" not in str(caught.value)


def test_networks_are_read_with_or_without_spaces() -> None:
    assert [str(it) for it in parse_networks(" 10.0.0.0/8,192.0.2.1 , 2001:db8::/32 ")] == [
        "10.0.0.0/8",
        "192.0.2.1/32",
        "2001:db8::/32",
    ]
    assert parse_networks(" none ") == ()
    assert len(parse_networks(",".join(["10.0.0.1"] * TRUSTED_PROXIES_MAX))) == TRUSTED_PROXIES_MAX
