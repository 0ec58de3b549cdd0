"""Which bytes of a record are its key."""

from __future__ import annotations

import re
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbad_cy.keyset import PATTERN_BYTES_MAX, attribute_spans, covered, token_spans, trace_spans
from driftlock.engine.canonical import CanonicalLimits, Cuts, log_text, utf8
from driftlock.engine.interaction_key import BadGroupBy, GroupBy, GroupKind
from driftlock.errors import InvalidArgument


def keys(group_by: str, *lines: bytes, traces: bytes = b"") -> list[bytes]:
    source, starts, sizes = GroupBy.parse(group_by).spans(b"".join(lines), array("I", map(len, lines)), traces)
    return [source[start : start + size] for start, size in zip(starts, sizes, strict=True)]


@pytest.mark.parametrize("text", ["trace_id", "attribute:session.id", "text:blk_", "text:[", "attribute:naïve", "text:a:b"])
def test_group_by_is_read_and_written(text: str) -> None:
    assert GroupBy.parse(text).text == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "choose"),
        ("trace", "choose"),
        ("trace_id:x", "choose"),
        ("Text:blk_", "choose"),
        ("text", "choose"),
        ("text:", "visible"),
        ("attribute:", "visible"),
        ("attribute:a b", "visible"),
        ("text:\n", "visible"),
        ("text:a\u0000", "visible"),
        ("text:" + "x" * (PATTERN_BYTES_MAX + 1), "at most 256"),
        ("x" * 10_000, "choose"),
    ],
)
def test_a_wrong_group_by_is_refused_with_what_to_do(text: str, says: str) -> None:
    with pytest.raises(BadGroupBy, match=says) as caught:
        GroupBy.parse(text)
    assert isinstance(caught.value, InvalidArgument)
    assert len(str(caught.value)) < 200


def test_a_token_begins_with_the_prefix() -> None:
    assert keys("text:blk_", b"Receiving block blk_-1608999687919862906 src: /10.1.2.3") == [b"blk_-1608999687919862906"]
    assert keys("text:blk_", b"blk_1") == [b"blk_1"]
    assert keys("text:blk_", b"(blk_12) blk_13", b"blk_1.", b"/x/blk_9/meta") == [b"blk_12", b"blk_1", b"blk_9"]
    assert keys("text:req-", b"[req-6f2a-11 admin]") == [b"req-6f2a-11"]
    assert keys("text:session=", b"login session=ab12; ok") == [b"session=ab12"]


def test_what_only_looks_like_a_token_is_none() -> None:
    assert keys("text:blk_", b"", b"blk_", b"blk_ 12", b"a blk", b"xblk_1", b"subblk_1 blk_", b"BLK_1") == [b""] * 7
    assert keys("text:blk_", b"subblk_1 blk_2", b"blk_ blk_3") == [b"blk_2", b"blk_3"]


def test_keys_stay_within_their_record() -> None:
    assert keys("text:blk_", b"ends with blk_", b"77 more") == [b"", b""]
    assert keys("attribute:id", b"ends with id=", b"77 more") == [b"", b""]
    assert keys("attribute:id", b"ends with id", b"=77 more") == [b"", b""]


def test_an_attribute_is_the_last_one_of_its_name() -> None:
    assert keys("attribute:id", b"order id=7 paid id=8", b"id=9", b"grid=1", b"a.id=1", b"id=", b"x id= y=2") == [
        b"8",
        b"9",
        b"",
        b"",
        b"",
        b"",
    ]
    assert keys("attribute:a=b", b"x a=b=c") == [b"c"]


def test_attributes_are_found_as_canonical_text_writes_them() -> None:
    def text(body: object, **attributes: object) -> bytes:
        said = log_text(body, severity="INFO", attributes=attributes, limits=CanonicalLimits(), cuts=Cuts())  # type: ignore[arg-type]
        return utf8(said, Cuts())

    lines = [
        text("paid", user="ann", zone=3),
        text("paid", zone=3),
        text({"user": "bob", "n": 1}),
        text("paid", user={"id": "carl"}),
        text("paid", user="zoë"),
    ]
    assert keys("attribute:user", *lines) == [b"ann", b"", b"bob", b"", "zoë".encode()]
    assert keys("attribute:user.id", *lines) == [b"", b"", b"", b"carl", b""]


def test_traces_of_zeros_are_none() -> None:
    one = bytes(range(16))
    assert keys("trace_id", b"a", b"b", b"c", traces=one + bytes(16) + one) == [one, b"", one]
    assert keys("trace_id", b"a", b"b") == [b"", b""]
    with pytest.raises(ValueError, match="16 a record"):
        keys("trace_id", b"a", traces=one + one)
    with pytest.raises(ValueError, match="16 for each"):
        trace_spans(one[:15])


def test_keys_are_shown_as_people_write_them() -> None:
    assert GroupBy(GroupKind.TRACE).shown(bytes(range(16))) == "000102030405060708090a0b0c0d0e0f"
    assert GroupBy(GroupKind.TEXT, "b").shown(b"b\xff1") == "b\ufffd1"


def test_huge_keys_and_bytes_that_are_no_text_are_taken() -> None:
    huge = b"blk_" + b"9" * 1_000_000
    assert keys("text:blk_", huge, b"\xff\xfe blk_\xc3\xa9\xff x", b"\x00blk_1\x00") == [huge, b"blk_\xc3\xa9\xff", b"blk_1"]
    assert keys("attribute:id", b"x id=" + b"7" * 1_000_000, b"\xff id=\xff\x00 ") == [b"7" * 1_000_000, b"\xff\x00"]


def test_many_prefixes_cost_no_more_than_their_bytes() -> None:
    assert keys("text:aaaa", b"a" * 100_000 + b" " + b"aaa " * 100_000) == [b"a" * 100_000]
    assert keys("attribute:id", b"=" * 1_000_000) == [b""]


_LINE = st.text("ab_-= .é\n", max_size=30).map(str.encode)


@given(st.lists(_LINE, max_size=8), st.sampled_from(["a", "ab", "a_", "-", "=a", "b-"]))
def test_tokens_are_what_a_regular_expression_finds(lines: list[bytes], prefix: str) -> None:
    word = rb"[0-9A-Za-z_\-\x80-\xff]"
    before = rb"(?<!" + word + rb")" if re.match(word, prefix.encode()) else b""
    pattern = re.compile(before + re.escape(prefix.encode()) + word + b"+")
    expected = [found[0] if (found := pattern.search(line)) else b"" for line in lines]
    assert keys(f"text:{prefix}", *lines) == expected


@given(st.lists(_LINE, max_size=8), st.sampled_from(["a", "ab", "b-", "a.b"]))
def test_attributes_are_what_a_regular_expression_finds(lines: list[bytes], name: str) -> None:
    pattern = re.compile(rb"(?:(?<= )|\A)" + re.escape(name.encode()) + rb"=([^ \n]*)")
    expected = [found[-1] if (found := pattern.findall(line)) else b"" for line in lines]
    assert keys(f"attribute:{name}", *lines) == expected


def test_covered_keys_are_all_alike() -> None:
    text, lengths = b"by ann at 7by bob at 8", array("I", [11, 11])
    assert covered(text, *attribute_spans(text, lengths, b"none")) == text
    assert covered(text, array("I", [3, 14]), array("I", [3, 3])) == b"by 000 at 7by 000 at 8"
    assert covered(b"", array("I"), array("I")) == b""
    with pytest.raises(ValueError, match="not within"):
        covered(text, array("I", [20]), array("I", [3]))
    with pytest.raises(ValueError, match="one of each"):
        covered(text, array("I", [2]), array("I"))


def test_patterns_and_lengths_out_of_range_are_refused() -> None:
    for pattern in (b"", b"x" * (PATTERN_BYTES_MAX + 1)):
        with pytest.raises(ValueError, match="choose"):
            token_spans(b"ab", array("I", [2]), pattern)
    with pytest.raises(ValueError, match="add up"):
        token_spans(b"ab", array("I", [3]), b"a")
