"""The scanner of redaction rules: what each kind finds, how finds are joined, and that no line takes long."""

from __future__ import annotations

from array import array
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbad_cy.redact import ELEMENTS_MAX, RULES_MAX, Finder, Found, Kind, Sought, replaced

DIGITS = (b"0123456789", 1, 1 << 20)


def find(rules: list[Sought], *lines: str) -> list[tuple[int, str, int]]:
    """Line, text and rule of each place."""
    raw = [line.encode() for line in lines]
    text = b"".join(raw)
    found = Finder(rules).find(text, array("I", map(len, raw)))
    if found is None:
        return []
    return [
        (line, text[start:end].decode(), rule)
        for line, start, end, rule in zip(found.lines, found.starts, found.ends, found.rules, strict=True)
    ]


def texts(kind: Kind, line: str) -> list[str]:
    return [text for _, text, _ in find([Sought(kind)], line)]


@pytest.mark.parametrize(
    ("kind", "line", "expected"),
    [
        (Kind.EMAIL, "to bob.x+y@ex-a.com. (al@b) @ a@ @b", ["bob.x+y@ex-a.com", "al@b"]),
        (Kind.EMAIL, "größe@münchen.de,x", ["größe@münchen.de"]),
        (Kind.EMAIL, "user=bob@x.de", ["bob@x.de"]),
        (Kind.EMAIL, "a@b@c", ["a@b"]),
        (Kind.IP, "from 10.0.0.1:80 to 255.255.255.255.", ["10.0.0.1", "255.255.255.255"]),
        (Kind.IP, "v1.2.3.4 1.2.3.4.5 256.1.1.1 1.2.3", []),
        (Kind.IP, "::1 fe80::1%eth0 [2001:db8:0:0:0:0:0:1]:80 ::ffff:1.2.3.4",
         ["::1", "fe80::1", "2001:db8:0:0:0:0:0:1", "::ffff:1.2.3.4"]),
        (Kind.IP, "std::vector a::b 12:34:56 :: 1:2:3:4:5:6:7 1:2:3:4:5:6:7:8:9", []),
        (Kind.CREDIT_CARD, "4111 1111 1111 1111,4111111111111111;3782-822463-10005",
         ["4111 1111 1111 1111", "4111111111111111", "3782-822463-10005"]),
        (Kind.CREDIT_CARD, "4111111111111112 1700000000000 4111-1111 1111 1111 x4111111111111111", []),
        (Kind.CREDIT_CARD, "4111 1111 1111 1111 9, 6304 0000 0000 0000 00",
         ["4111 1111 1111 1111", "6304 0000 0000 0000 00"]),
        (Kind.JWT, "x eyJhbGci.eyJzdWIi.SflKx-_ eyJhbGci.eyJzdWIi. eyJ.a xeyJa.b.c",
         ["eyJhbGci.eyJzdWIi.SflKx-_", "eyJhbGci.eyJzdWIi."]),
        (Kind.BEARER, "Authorization: Bearer abcdefgh basic dXNlcjpw bearer short forbearer abcdefgh",
         ["abcdefgh", "dXNlcjpw"]),
        (Kind.AWS_KEY, "AKIAABCDEFGHIJKLMNOP ASIA0123456789ABCDEF AKIAABCDEFGHIJKLMNOPQ AKIAabcdefghijklmnop",
         ["AKIAABCDEFGHIJKLMNOP", "ASIA0123456789ABCDEF"]),
        (Kind.URL_PASSWORD, "postgres://u:p@ss@db/x http://h:80/a@b https://:x@h ://u:p@h", ["p@ss", "x"]),
    ],
    ids=lambda value: value.name if isinstance(value, Kind) else None,
)  # fmt: skip
def test_what_kinds_find(kind: Kind, line: str, expected: list[str]) -> None:
    assert texts(kind, line) == expected


def test_masks_match_as_those_of_profiles_do() -> None:
    order = Sought(Kind.MASK, elements=(b"order-", DIGITS))
    assert find([order], "order-12 xorder-3 order-4x order- (order-56)") == [(0, "order-12", 0), (0, "order-56", 0)]
    inside = order._replace(starts_within=True, ends_within=True)
    assert [text for _, text, _ in find([inside], "xorder-3 order-4x")] == ["order-3", "order-4"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("login user=bob zone=3", ["bob"]),
        ("user=a b c zone=3", ["a b c"]),
        ("login user=", []),
        ("login superuser=bob user.id=7", []),
        ("user=1 x user=2", ["1 x", "2"]),
        (r"cpu{host=a,user=b\,c,z=1}", [r"b\,c"]),
        ("x=[{user=bob},{user=eve}]", ["bob", "eve"]),
        ("user=ä=b (c=d) zone=3", ["ä=b (c=d)"]),  # what is no key ends no value
    ],
)
def test_values_of_attributes(line: str, expected: list[str]) -> None:
    assert [text for _, text, _ in find([Sought(Kind.WHOLE, b"user")], line)] == expected


def test_names_may_end_in_anything() -> None:
    rule = Sought(Kind.WHOLE, b"user.", prefix=True)
    assert [text for _, text, _ in find([rule], "user=0 user.=1 user.id=2 user.name=3")] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("login user=bob zone=3", "login zone=3"),
        ("user=bob zone=3", "zone=3"),
        ("user=bob", ""),
        ("login zone=3 user=a b", "login zone=3"),
        ("cpu{a=1,user=b,z=1}", "cpu{a=1,z=1}"),
        ("cpu{user=b,z=1}", "cpu{z=1}"),
        ("cpu{user=b}", "cpu{}"),
        ("user= zone=3", "zone=3"),
    ],
)
def test_dropped_attributes(line: str, left: str) -> None:
    raw = line.encode()
    found = Finder([Sought(Kind.WHOLE, b"user", drops=True)]).find(raw, array("I", [len(raw)]))
    assert found is not None
    assert replaced(raw, array("I", [len(raw)]), found, [b""] * len(found.rules), 0).text.decode() == left


def test_an_attribute_is_dropped_for_what_is_in_it() -> None:
    rule = Sought(Kind.EMAIL, b"user", drops=True)
    assert find([rule], "x@y user=bob z=1", "user=to a@b and c@d z=1") == [(1, "user=to a@b and c@d ", 0)]


def test_finds_that_overlap_are_one_and_the_outermost_decides() -> None:
    mail, user = Sought(Kind.EMAIL), Sought(Kind.WHOLE, b"user")
    assert find([mail, user], "user=bob@x.de x") == [(0, "bob@x.de x", 1)]
    assert find([user, mail], "user=bob@x.de") == [(0, "bob@x.de", 0)]
    assert find([mail, user], "user=bob@x.de") == [(0, "bob@x.de", 0)]
    first, second = (
        Sought(Kind.MASK, elements=(b"a", DIGITS, b"-")),
        Sought(Kind.MASK, elements=(DIGITS, b"-b"), starts_within=True),
    )
    assert find([second, first], "a12-b") == [(0, "a12-b", 1)]


def test_lines_do_not_mix() -> None:
    assert find([Sought(Kind.MASK, elements=(b"k", DIGITS))], "k1", "2 k", "3", "") == [(0, "k1", 0)]
    assert find([Sought(Kind.WHOLE, b"user")], "user=a", "b", "user=c") == [(0, "a", 0), (2, "c", 0)]


SPLIT = [
    "@",
    "a@",
    "://",
    "eyJ",
    "eyJ-",
    ".",
    ":",
    "1",
    "1.",
    "f:",
    "4111 ",
    "bearer ",
    "Basic=",
    "AKIA",
    "user=",
    "{user=",
    " user=",
    ",",
    "}",
    "k1-",
    "ä",
    " ",
]


@pytest.mark.parametrize("piece", SPLIT, ids=range(len(SPLIT)))
def test_a_megabyte_takes_linear_time(piece: str) -> None:
    """All rules at once look at each byte so many times, however often what they look for begins."""
    rules = [Sought(kind) for kind in Kind if kind not in (Kind.WHOLE, Kind.MASK)]
    rules += [
        Sought(Kind.WHOLE, b"user"),
        Sought(Kind.EMAIL, b"user", drops=True),
        Sought(Kind.MASK, b"us", True)._replace(elements=(b"k", DIGITS, b"-x")),
    ]
    rules += [
        Sought(Kind.MASK, elements=((b"k1-ae ", 1, 1 << 20), b"!")),
        Sought(Kind.MASK, elements=(DIGITS, (b"-k", 1, 9), DIGITS)),
    ]
    raw = (piece * (1 << 20))[: 1 << 20].encode()[: 1 << 20].decode(errors="ignore").encode()
    found = Finder(rules).find(raw, array("I", [len(raw)]))
    small = raw[: 1 << 12].decode(errors="ignore").encode()
    of_small = Finder(rules).find(small, array("I", [len(small)]))
    steps = 0 if found is None else found.steps
    assert steps <= 120 * len(raw)
    if of_small is not None:
        assert steps <= 1.2 * of_small.steps * len(raw) / len(small) + 4096


PIECES = st.sampled_from(
    ["bob@x.de", "10.0.0.1", "4111111111111111", "k1", " user=", "{user=", ",", "}", " z=", "ä", "@", ":", "k", "7", " ", "\\"]
)
LINES = st.lists(st.lists(PIECES, max_size=12).map("".join), min_size=1, max_size=4)
RULES = [
    Sought(Kind.EMAIL),
    Sought(Kind.IP),
    Sought(Kind.CREDIT_CARD),
    Sought(Kind.WHOLE, b"user"),
    Sought(Kind.EMAIL, b"user", drops=True),
    Sought(Kind.WHOLE, b"z", drops=True),
    Sought(Kind.MASK, elements=(b"k", DIGITS)),
    Sought(Kind.MASK, elements=((b"k7@", 2, 9),), starts_within=True, ends_within=True),
]  # fmt: skip


def places(rules: list[Sought], text: bytes, lengths: array[int]) -> list[set[int]]:
    """Bytes that go, rule by rule on its own."""
    each = [Finder([rule]).find(text, lengths) for rule in rules]
    return [set() if it is None else bytes_of(it) for it in each]


def bytes_of(found: Found) -> set[int]:
    return {at for start, end in zip(found.starts, found.ends, strict=True) for at in range(start, end)}


@given(LINES, st.lists(st.sampled_from(RULES), max_size=5, unique=True))
def test_together_rules_take_what_each_of_them_takes(lines: list[str], rules: list[Sought]) -> None:
    """So one more rule never lets more through, and what goes does not depend on their order."""
    raw = [line.encode() for line in lines]
    text, lengths = b"".join(raw), array("I", map(len, raw))
    found = Finder(rules).find(text, lengths)
    assert (set() if found is None else bytes_of(found)) == set().union(*places(rules, text, lengths))
    if found is None:
        return
    out = replaced(text, lengths, found, [b"[x]"] * len(found.rules), 1 << 20)
    out.text.decode()  # no character is torn
    assert sum(out.lengths) == len(out.text)
    assert out.records == len(set(found.lines))
    spans = list(zip(found.starts, found.ends, strict=True))
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    kept = bytes(byte for at, byte in enumerate(text) if at not in bytes_of(found))
    assert out.text.replace(b"[x]", b"") == kept


def test_a_line_that_grows_too_much_is_cut_between_characters() -> None:
    raw = "ää@x bb@x".encode()
    lengths = array("I", [len(raw)])
    found = Finder([Sought(Kind.EMAIL)]).find(raw, lengths)
    out = replaced(raw, lengths, found, ["üüüü".encode()] * 2, 3)
    assert (out.text.decode(), out.cut, out.records) == ("üüüü üü", 1, 1)


def test_limits_and_wrong_arguments() -> None:
    Finder([Sought(Kind.EMAIL)] * RULES_MAX)
    with pytest.raises(ValueError, match="RULES_MAX"):
        Finder([Sought(Kind.EMAIL)] * (RULES_MAX + 1))
    with pytest.raises(ValueError, match="elements"):
        Finder([Sought(Kind.MASK, elements=(b"a",) * (ELEMENTS_MAX + 1))])
    with pytest.raises(ValueError, match="256 bytes"):
        Finder([Sought(Kind.WHOLE, b"a" * 257)])
    with pytest.raises(ValueError, match="whole lines"):
        Finder([Sought(Kind.WHOLE)])
    with pytest.raises(ValueError, match="empty"):
        Finder([Sought(Kind.MASK, elements=(b"",))])
    with pytest.raises(ValueError, match="members"):
        Finder([Sought(Kind.MASK, elements=((b"", 1, 2),))])
    with pytest.raises(ValueError, match="add up"):
        Finder([Sought(Kind.EMAIL)]).find(b"abc", array("I", [2]))
    assert Finder([]).find(b"a@b", array("I", [3])) is None
    assert "EMAIL" in repr(Finder([Sought(Kind.EMAIL)]))
    raw, lengths = b"a@b c@d", array("I", [7])
    found = Finder([Sought(Kind.EMAIL)]).find(raw, lengths)
    assert found is not None
    with pytest.raises(ValueError, match="one mark"):
        replaced(raw, lengths, found, [b""], 0)
    with pytest.raises(ValueError, match="outside"):
        replaced(raw, lengths, found._replace(ends=array("I", [3, 99])), [b"", b""], 0)
    with pytest.raises(ValueError, match="overlap"):
        replaced(raw, lengths, found._replace(starts=array("I", [0, 1])), [b"", b""], 0)
