"""Client certificates and their tenants."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.accounts.access import REFUSED
from driftlock.accounts.certificates import CLIENTS_MAX, NAME_CHARS_MAX, ClientTable, PeerNames, parse_clients
from driftlock.errors import Unauthenticated

ONE, TWO = UUID(int=1), UUID(int=2)


def entry(kind: str, name: str, tenant: object = ONE) -> str:
    return f'[[client]]\n{kind} = "{name}"\ntenant = "{tenant}"\n'


def test_each_kind_of_name_is_looked_up_whole() -> None:
    text = entry("common_name", "c1") + entry("dns", "A.Example", TWO) + entry("uri", "spiffe://x/A")
    table = parse_clients(text)
    assert (len(table), table.tenant_ids) == (3, {ONE, TWO})
    for names, tenant in (
        (PeerNames("c1"), ONE),
        (PeerNames("C1"), None),
        (PeerNames("", ("a.EXAMPLE",)), TWO),
        (PeerNames("a.example"), None),
        (PeerNames("", ("b.a.example",)), None),
        (PeerNames("", (), ("spiffe://x/A",)), ONE),
        (PeerNames("", (), ("spiffe://x/a",)), None),
        (PeerNames("c1", ("unknown",), ("spiffe://x/A",)), ONE),
        (PeerNames(), None),
    ):
        assert table.tenant(names) == tenant


def test_names_of_two_tenants_are_refused() -> None:
    table = parse_clients(entry("common_name", "c1") + entry("dns", "a", TWO))
    with pytest.raises(Unauthenticated, match=REFUSED[:10]):
        table.tenant(PeerNames("c1", ("a",)))


def test_an_empty_table_knows_nobody() -> None:
    assert parse_clients("").tenant(PeerNames("c1")) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[client]", "not TOML.*line 1"),
        ("x = " + "[" * 10_000, "nested too deeply|not TOML"),
        ("clients = 1", "'clients' is not known; write a table"),
        ("client = 1", r"write a table \[\[client\]\]"),
        ("client = [1]", r"write a table \[\[client\]\]"),
        (entry("cn", "x"), "client 1: 'cn' is not known"),
        (f'[[client]]\ntenant = "{ONE}"', "client 1: give exactly one"),
        (entry("dns", "a") + entry("dns", "b").replace("tenant", 'uri = "u"\ntenant'), "client 2: give exactly one"),
        (entry("dns", ""), "client 1: dns must be printable text"),
        (entry("uri", "a\\u0000b"), "client 1: uri must be printable text"),
        (entry("uri", "x" * (NAME_CHARS_MAX + 1)), "client 1: uri must be"),
        ("[[client]]\ndns = 1\ntenant = 1", "client 1: dns must be"),
        (entry("dns", "a", "acme"), "client 1: tenant must be a tenant's id"),
        ('[[client]]\ndns = "a"', "client 1: tenant must be"),
        ('[[client]]\ndns = "a"\ntenant = 7', "client 1: tenant must be"),
        (entry("dns", "a") + entry("dns", "A", TWO), "client 2: dns 'a' is listed twice"),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_clients(text)


def test_clients_max() -> None:
    text = "".join("[[client]]\n[[client]]\n" for _ in range(CLIENTS_MAX // 2))
    with pytest.raises(ValueError, match="give exactly one"):
        parse_clients(text)
    with pytest.raises(ValueError, match=f"at most {CLIENTS_MAX}"):
        parse_clients(text + "[[client]]\n")


NAMES = st.text("abc", min_size=1, max_size=2)


@given(
    st.dictionaries(st.tuples(st.sampled_from(["common_name", "dns", "uri"]), NAMES), st.sampled_from([ONE, TWO])),
    st.builds(PeerNames, NAMES, st.lists(NAMES).map(tuple), st.lists(NAMES).map(tuple)),
)
def test_a_tenant_is_only_named_when_all_listed_names_agree(table: dict[tuple[str, str], UUID], names: PeerNames) -> None:
    stand_for = {tenant for name, tenant in table.items() if name in set(names.names())}
    try:
        found = ClientTable(table).tenant(names)
    except Unauthenticated:
        assert stand_for == {ONE, TWO}
    else:
        assert stand_for == ({found} if found else set())
