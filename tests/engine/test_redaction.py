"""Redaction rules: what they say, what they are refused for, and what they leave."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.engine import records
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.records import Damaged
from driftlock.engine.redaction import (
    GROWTH_BYTES_MAX,
    KINDS,
    RULES_MAX,
    Action,
    Redactor,
    Rule,
    TenantRules,
    wrong_rules,
)

KEY = bytes(range(32))


def kept(line: str, *rules: Rule) -> str:
    assert wrong_rules(rules) == []
    return Redactor(rules, KEY).text(line)


@pytest.mark.parametrize(
    ("rule", "line", "left"),
    [
        (Rule("mail", kind="email"), "to bob@x.de now", "to [mail] now"),
        (Rule("o", mask="order-{digits}"), "order-17 xorder-1", "[o] xorder-1"),
        (Rule("room", mask="x{digits}"), "x7 x42 ax1", "[room] [room] ax1"),
        (Rule("number", mask="{digits}"), "1 a2 33", "[number] a2 [number]"),
        (Rule("o", mask="{within}order-{digits}{within}"), "xorder-17y", "x[o]y"),
        (Rule("u", "attribute:user"), "hi user=bob lee z=1", "hi user=[u] z=1"),
        (Rule("u", "attribute:user", action="drop"), "hi user=bob lee z=1", "hi z=1"),
        (Rule("u", "attribute:user.*"), "user.id=7 user=8 z=1", "user.id=[u] user=8 z=1"),
        (Rule("all", "attribute:*"), "hi a=1 b=2", "hi a=[all] b=[all]"),
        (Rule("m", "attribute:user", mask="x-{digits}"), "x-1 user=x-2 y", "x-1 user=[m] y"),
        (Rule("m", "attribute:user", kind="ip", action="drop"), "a user=10.0.0.1", "a"),
        (Rule("m", "attribute:user", kind="ip", action="drop"), "a user=bob", "a user=bob"),
    ],
    ids=range(12),
)
def test_what_rules_leave(rule: Rule, line: str, left: str) -> None:
    assert kept(line, rule) == left


def test_the_outermost_find_says_what_stands_there() -> None:
    mail, user = Rule("mail", kind="email"), Rule("user", "attribute:user", action="drop")
    assert kept("hi user=bob@x.de z=1 eve@x.de", mail, user) == "hi z=1 [mail]"


def test_hashes_are_keyed_and_equal_for_equal_values() -> None:
    rule = Rule("mail", kind="email", action="hash")
    once, again, other = (kept(f"x {who}@x.de", rule) for who in ("bob", "bob", "eve"))
    assert once == again != other
    assert once.startswith("x [mail:")
    assert len(once) == len("x [mail:0123456789abcdef]")
    assert Redactor([rule], bytes(32)).text("x bob@x.de") != once


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_used_everywhere(kind: str) -> None:
    for action in Action:
        assert wrong_rules([Rule("a", "attribute:x", kind=kind, action=action)]) == []
    assert wrong_rules([Rule("a", kind=kind)]) == []


def test_what_rules_are_refused_for_is_told_by_rule_and_member() -> None:
    rules = [
        Rule("a", kind="email"),
        Rule("a", kind="ip"),
        Rule("b", "attr:x"),
        Rule("c", mask="{digits"),
        Rule("d", kind="email", mask="x{digits}"),
        Rule("e", "attribute:a*b", kind="email"),
        Rule("f", action="drop"),
    ]
    found = [(it.rule, it.member) for it in wrong_rules(rules)]
    assert found == [(1, "name"), (2, "where"), (3, "mask"), (4, "mask"), (5, "where"), (6, "kind"), (6, "action")]
    many = wrong_rules([Rule(f"r{n}", kind="ip") for n in range(RULES_MAX + 1)])
    assert [(it.rule, it.member) for it in many] == [(RULES_MAX, "")]
    assert "rules_max" in many[0].detail


def test_a_key_has_its_length() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Redactor([], b"short")


def test_a_record_grows_so_much_and_no_more() -> None:
    line = " ".join(f"k{n}=v" for n in range(1000))
    redactor = Redactor([Rule("n" * 32, "attribute:*")], KEY)
    lines = redactor.columns(line.encode(), array("I", [len(line)]))
    assert len(lines.text) == len(line) + GROWTH_BYTES_MAX
    assert (lines.records, lines.cut) == (1, 1)


def test_what_is_not_changed_is_not_copied() -> None:
    text, lengths = b"plain", array("I", [5])
    lines = Redactor([Rule("mail", kind="email")], KEY).columns(text, lengths)
    assert lines.text is text
    assert lines.lengths is lengths


def test_rules_of_a_tenant_hold_in_all_its_streams() -> None:
    mail, user, key = Rule("mail", kind="email"), Rule("user", "attribute:user"), StreamKey(Signal.LOGS, "a")
    both = TenantRules([mail], {key: [user, mail]}, KEY)
    here, elsewhere = both.of(key), both.of(StreamKey(Signal.LOGS, "b"))
    assert here is not None
    assert elsewhere is not None
    assert (here.rules, elsewhere.rules) == ((mail, user), (mail,))
    assert TenantRules([], {key: [user]}, KEY).of(StreamKey(Signal.LOGS, "b")) is None
    assert TenantRules([mail], {key: []}, KEY).of(key).rules == (mail,)  # type: ignore[union-attr]


PARTS = st.sampled_from(["a@b.de", "user=", " ", "x-1", "10.0.0.1", "ä", "z=", "{", ",", "[mail]", "\n"])
SOME = st.lists(
    st.sampled_from(
        [
            Rule("mail", kind="email"),
            Rule("ip", kind="ip", action="hash"),
            Rule("u", "attribute:user"),
            Rule("x", mask="x-{digits}"),
        ]
    ),
    unique=True,
)


@given(st.lists(st.lists(PARTS, max_size=8).map("".join), max_size=5), SOME)
def test_a_line_says_the_same_alone_and_among_others(lines: list[str], rules: list[Rule]) -> None:
    redactor = Redactor(rules, KEY)
    raw = [line.encode() for line in lines]
    together = redactor.columns(b"".join(raw), array("I", map(len, raw)))
    assert together.text.decode() == "".join(map(redactor.text, lines))
    assert list(together.lengths) == [len(redactor.text(line).encode()) for line in lines]
    assert together.records == sum(redactor.text(line) != line for line in lines)


def test_rules_are_journaled_as_they_are() -> None:
    rules = (Rule("mail", kind="email", action="hash"), Rule("u", "attribute:user.*", mask="x-{digits}", action="drop"))
    assert records.decode_redaction(records.encode_redaction(rules)) == rules
    assert records.decode_redaction(records.encode_redaction(())) == ()
    with pytest.raises(Damaged, match="redaction"):
        records.decode_redaction(records.encode_clock(1))
