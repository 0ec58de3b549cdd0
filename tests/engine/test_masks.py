"""The language of masks: what is written is what is looked for, and what makes no sense is refused where it stands."""

import re
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbad_cy.codec import Codec
from cbad_cy.tokenize import MaskPattern, Masks, Run, mask_line, slots
from driftlock.engine.detector import Detector
from driftlock.engine.limits import Limits
from driftlock.engine.masks import (
    CLASSES,
    ELEMENTS_MAX,
    MASKS_MAX,
    NAME_BYTES_MAX,
    PATTERN_BYTES_MAX,
    RUN_BYTES_MAX,
    TAKEN_NAMES,
    BadMask,
    compiled,
    parse_mask,
    wrong_masks,
)
from driftlock.engine.profile import PROFILES, custom
from driftlock.engine.state import restore_stream, stream_state
from driftlock.engine.verdict import Calibration
from tests.engine.streams import FAR_NS, KEY, batch

PAGE = Path(__file__).parents[2] / "docs" / "masks.md"


@pytest.mark.parametrize(
    ("mask", "line", "masked", "values"),
    [
        ("order-{digits}{as:ORDER}", "paid order-4711 in 31 ms", "paid <ORDER> in # ms", ["4711", "31"]),
        ("user={word}", "login user=ann_b ok", "login <M> ok", ["ann_b"]),
        ("user={word+.@-}{as:USER}", "user=ann.lee@shop-7 ok", "<USER> ok", ["ann.lee@shop-7"]),
        ("session:{hex:8-}", "session:00f1aa93 or session:7x", "<M> or session:#x", ["00f1aa93", "7"]),
        ("sku_{alnum:4-12}", "sku_ab12 sku_ab1 sku_abcdefghijklm", "<M> sku_ab# sku_abcdefghijklm", ["ab12", "1"]),
        ("[{until:]}]", "a [job 7, step b] done", "a <M> done", ["job 7, step b"]),
        ('"{until:"}"', '{"name": Ann, "Lee"}', "{<M>: Ann, <M>}", ["name", "Lee"]),
        ("q={until:&; }", "GET /s?q=blue+shoe&page=b q=red", "GET /s?<M>&page=b <M>", ["blue+shoe", "red"]),
        ("{upper:2}-{digits:3-4}", "AB-123 ABC-123 AB-12345", "<M> ABC-# AB-#", ["AB-123", "123", "12345"]),
        ("{within}Id{digits:2-}{within}{as:ID}", "userId42x Id7", "user<ID>x Id#", ["42", "7"]),
        ("{digits:4}{upper:1}", "2024K 2024KK", "<M> #KK", ["2024K", "2024"]),
        (r"\{{nonspace+ :3-}{as:IN}", "say {a bc", "say <IN>", ["a bc"]),
        (r"{word+\:\}\+:3-}!", "x a:b}+c! y", "x <M> y", ["a:b}+c"]),
        ("größe={letters}", "größe=süß ok", "<M> ok", ["süß"]),
    ],
    ids=range(14),
)
def test_what_masks_do(mask: str, line: str, masked: str, values: list[str]) -> None:
    masks = compiled([mask])
    assert mask_line(line.encode(), masks=masks) == masked.encode()
    assert slots(line.encode(), masks=masks) == [value.encode() for value in values]


def read(text: str) -> MaskPattern | BadMask:
    try:
        return parse_mask(text)
    except BadMask as error:
        return error


def test_no_masks_compile_to_none() -> None:
    assert compiled([]) is None


PLAIN = st.characters(min_codepoint=0x21, max_codepoint=0x2FF, exclude_characters="{}\\", exclude_categories=["Cc", "Zs"])
LITERAL = (PLAIN.map(lambda text: (text, text))) | st.sampled_from([("\\{", "{"), ("\\}", "}"), ("\\\\", "\\"), ("\\:", ":")])
LENGTH = st.one_of(
    st.just(("", ())),
    st.integers(3, RUN_BYTES_MAX).map(lambda n: (f":{n}", (n, n))),
    st.integers(3, RUN_BYTES_MAX).map(lambda n: (f":{n}-", (n,))),
    st.tuples(st.integers(1, 50), st.integers(0, 50)).map(lambda n: (f":{n[0]}-{sum(n)}", (n[0], sum(n)))),
)


@st.composite
def classes(draw: st.DrawFn) -> tuple[str, Run]:
    length, bounds = draw(LENGTH)
    if draw(st.booleans()):
        name = draw(st.sampled_from(sorted(CLASSES)))
        added = draw(st.text("._-@=", max_size=3))
        text = f"{{{name}{'+' if added else ''}{added}{length}}}"
        return text, Run(bytes(sorted({*CLASSES[name], *added.encode()})) if added else CLASSES[name], *bounds)
    stops = " " + draw(st.text(".,&;:+", max_size=4))
    return f"{{until:{stops}}}", Run(bytes(byte for byte in range(256) if byte not in stops.encode()))


# A literal that begins with a space may follow every class that is drawn.
PARTS = st.tuples(st.lists(LITERAL, max_size=4), classes(), st.lists(LITERAL, max_size=3), st.booleans())


@given(
    st.lists(PARTS, min_size=1, max_size=4), st.booleans(), st.booleans(), st.none() | st.from_regex("[A-Z][A-Z0-9_]{,3}\\Z")
)
def test_what_is_written_is_what_is_looked_for(
    drawn: list[tuple[list[tuple[str, str]], tuple[str, Run], list[tuple[str, str]], bool]],
    starts: bool,
    ends: bool,
    name: str | None,
) -> None:
    parts: list[tuple[str, str | Run]] = [("name=", "name=")]
    for before, run, after, spaced in drawn:
        parts += [*before, run, *([(" ", " "), ("-", "-")] if spaced else []), *after]
    text = "".join(
        ["{within}" * starts, *(text for text, _ in parts), "{within}" * ends, "" if name is None else f"{{as:{name}}}"]
    )
    elements: list[bytes | Run] = []
    for literal, group in groupby((match for _, match in parts), key=lambda match: isinstance(match, str)):
        members = list(group)
        elements += ["".join(map(str, members)).encode()] if literal else [run for run in members if isinstance(run, Run)]
    found = read(text)
    if isinstance(found, MaskPattern):
        assert found == MaskPattern((name or "M").encode(), tuple(elements), starts, ends)


SNIPPETS = [*"{}\\:+-,a73 ", "as:", "until:", "digits"]
SNIPPETS += ["order-", "{digits}", "{hex:4-}", "{word+.:3-9}", "{until:,}", "{within}", "{as:X}"]


@given(st.text(max_size=60) | st.lists(st.sampled_from(SNIPPETS), max_size=9).map("".join))
def test_any_text_is_a_mask_that_the_tokenizer_takes_or_is_refused_where_it_is_wrong(text: str) -> None:
    found = read(text)
    if isinstance(found, BadMask):
        assert 1 <= found.position <= len(text) + 1
        assert str(found).startswith(f"character {found.position}: ")
        assert wrong_masks([text]) == f"mask 1, {found}"
    else:
        assert Masks([found]).patterns == (found,)
        assert wrong_masks([text]) == ""


@pytest.mark.parametrize(
    ("mask", "position", "told"),
    [
        ("", 1, "names no class such as {digits}"),
        ("order", 1, "what never varies needs no mask"),
        ("order-{digit}", 7, "{digit} is unknown; choose of {digits}, {hex}"),
        ("order-{digits", 7, "{ is never closed; add a }"),
        ("order-digits}", 13, r"} closes nothing; write \}"),
        ("order-{{digits}}", 8, "{ can not stand in braces"),
        ("order-\\d", 7, r"write \\ for the character itself"),
        ("order-\\", 7, r"write \\ for the character itself"),
        ("order-{digits:}", 7, "'' is no length; write 4, 4-12 or 4-"),
        ("order-{digits:-4}", 7, "'-4' is no length"),
        ("order-{digits:٤}", 7, "is no length"),
        ("order-{digits:0}", 7, "length 0 is not possible; use 1 to 4096"),
        ("order-{digits:9-3}", 7, "the smaller number first"),
        (f"order-{{digits:{RUN_BYTES_MAX + 1}}}", 7, "up to 4096|use 1 to 4096"),
        ("order-{digits+}", 7, "+ adds no character; write {digits+.}"),
        ("order-{digits+é}", 7, "beyond ASCII; those are letters"),
        ("a={until:}", 3, "write {until:,} for all that comes before the next comma"),
        ("a={until}", 3, "names no character"),
        ("a{within}={word}", 2, "{within} takes nothing and stands first or last"),
        ("{as:A}a={word}", 1, "{as:NAME} comes last"),
        ("a={word}{as:A}{as:A}", 9, "{as:NAME} comes last, and once"),
        ("a={word}{as:a}", 9, "a name of A-Z, 0-9 and _"),
        ("a={word}{as:1}", 9, "that begins with a letter"),
        ("a={word}{as}", 9, "write {as:NAME}"),
        (f"a={{word}}{{as:{'A' * (NAME_BYTES_MAX + 1)}}}", 9, "a name of 17 bytes is over 16 (name_bytes_max); shorten it"),
        ("a={word}{as:IP}", 9, "<IP> is a mark of the built-in rules; choose another"),
        (" a={word}", 1, "begins with a space; leave it out"),
        ("{within} a={word}", 9, "begins with a space; leave it out"),
        ("{word}=a ", 7, "ends with a space; leave it out"),
        ("{word}a", 7, "never comes, because the class before it takes this, too; give that class one exact length"),
        ("{word:2-4}{digits}", 11, "never comes"),
        ("{digits}", 1, "(bytes: 1) leaves room for no mark"),
        ("a={word}{as:LONG}", 9, "leaves room for a name of 1 character, because masking must not make lines longer"),
        ("a\tb{digits}", 2, "U+0009 is a control character"),
        ("a={word}\ud800", 9, "U+D800"),
        ("a" * PATTERN_BYTES_MAX + "{digits}", PATTERN_BYTES_MAX + 1, "over 128 (pattern_bytes_max); cut it here"),
        ("é" * PATTERN_BYTES_MAX + "{digits}", PATTERN_BYTES_MAX // 2 + 1, "over 128 (pattern_bytes_max)"),
        ("{hex:3}" * (ELEMENTS_MAX + 1), 7 * ELEMENTS_MAX + 1, "element 17 of at most 16 (elements_max)"),
    ],
    ids=range(38),
)
def test_a_wrong_mask_says_where_and_what_to_do(mask: str, position: int, told: str) -> None:
    with pytest.raises(BadMask) as error:
        parse_mask(mask)
    assert error.value.position == position
    assert any(part in str(error.value) for part in told.split("|"))


def test_the_largest_masks_are_read() -> None:
    assert len(parse_mask("{hex:3}" * ELEMENTS_MAX).elements) == ELEMENTS_MAX
    longest = "a" * (PATTERN_BYTES_MAX - len("{digits}")) + "{digits}"
    assert len(longest.encode()) == PATTERN_BYTES_MAX
    assert parse_mask(longest).name == b"M"
    assert parse_mask(f"{'a' * 20}={{word:{RUN_BYTES_MAX}}}{{as:{'A' * NAME_BYTES_MAX}}}").name == b"A" * NAME_BYTES_MAX


@pytest.mark.parametrize("name", sorted(TAKEN_NAMES))
def test_marks_of_the_tokenizer_are_not_names(name: str) -> None:
    assert wrong_masks([f"name={{word}}{{as:{name}}}"]).endswith("choose another name")


@pytest.mark.parametrize("value", [None, "order-{digits}", [1], {"order-{digits}"}, [["a={word}"]]])
def test_masks_are_a_list_of_texts(value: object) -> None:
    assert wrong_masks(value).startswith("must be a list of masks")


def test_masks_are_bounded_in_number_and_differ() -> None:
    masks = [f"a{number}={{word}}" for number in range(MASKS_MAX)]
    assert wrong_masks(masks) == wrong_masks(tuple(masks)) == ""
    assert "has 17 masks, at most 16 are possible (masks_max)" in wrong_masks([*masks, "b={word}"])
    assert wrong_masks(["a={word}", "b", "a={word}"]) == (
        "mask 2, character 1: names no class such as {digits}; what never varies needs no mask; "
        "mask 3 is mask 1 again; remove one of them"
    )


def test_every_class_is_documented_as_it_is() -> None:
    rows = dict(re.findall(r"^\| `\{(\w+)\}` \| (.*) \|$", PAGE.read_text(), re.MULTILINE))
    assert rows.keys() == CLASSES.keys()


def test_every_limit_is_documented_as_it_is() -> None:
    limits = dict(re.findall(r"^\| `(\w+_max)` \| ([\d,]+) ", PAGE.read_text(), re.MULTILINE))
    assert limits == {
        "masks_max": f"{MASKS_MAX:,}",
        "pattern_bytes_max": f"{PATTERN_BYTES_MAX:,}",
        "elements_max": f"{ELEMENTS_MAX:,}",
        "name_bytes_max": f"{NAME_BYTES_MAX:,}",
        "run_bytes_max": f"{RUN_BYTES_MAX:,}",
    }


def test_the_documented_examples_are_true() -> None:
    rows = re.findall(r"^\| ``? ?(.+?) ?``? \| `([^`]+)` \| `([^`]+)` \|$", PAGE.read_text(), re.MULTILINE)
    assert len(rows) >= 8
    for mask, line, masked in rows:
        assert mask_line(line.encode(), masks=compiled([mask])) == masked.encode()


def test_masks_hold_from_their_record_on_and_after_a_restart() -> None:
    lines = [b"order of %s took %d ms" % (bytes([97 + number % 26]) * 6, number) for number in range(1000)]
    profile = custom(PROFILES["balanced"], {"masks": ["order of {lower}{as:BUYER}"]})
    codec = Codec(profile.codec, profile.level)
    detector = Detector(KEY, PROFILES["balanced"], 7, Limits())
    detector.fold(batch(lines[:500]), FAR_NS, codec)
    assert detector.recent[-1].masked == b"order of ffffff took # ms"
    detector.configure(profile)
    assert detector.calibration == Calibration.CALIBRATING
    assert (detector.events, len(detector.recent)) == (500, 0)
    detector.fold(batch(lines[500:]), FAR_NS, codec)
    again = restore_stream(stream_state(detector, codec), KEY, 7, Limits(), lambda _: codec)
    for one in (detector, again):
        assert {event.masked for event in one.recent} == {b"<BUYER> took # ms"}
        assert one.profile == profile
