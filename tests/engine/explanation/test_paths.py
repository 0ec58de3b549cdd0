"""Where in a record a byte stands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.engine.canonical import CanonicalLimits, Cuts, log_text
from driftlock.engine.explanation.paths import BODY, JSON_DEPTH_MAX, KEY_BYTES_MAX, KEYS_MAX, PATH_CHARS_MAX, SEVERITY, Paths


def path(line: str, part: str) -> str:
    raw = line.encode()
    return Paths(raw).of(raw.index(part.encode()))


@pytest.mark.parametrize(
    ("line", "part", "expected"),
    [
        ("ERROR payment failed http.route=/pay user.kind=guest account", "ERROR", SEVERITY),
        ("ERROR payment failed http.route=/pay user.kind=guest account", "payment", BODY),
        ("ERROR payment failed http.route=/pay user.kind=guest account", "/pay", "http.route"),
        ("ERROR payment failed http.route=/pay user.kind=guest account", "http", "http.route"),
        ("ERROR payment failed http.route=/pay user.kind=guest account", "account", "user.kind"),
        ("WARN2 slow", "WARN2", SEVERITY),
        ("ERRORS found", "ERRORS", BODY),
        ("error payment", "error", BODY),
        ("took z=1 ms then a=2 b=3", "ms", BODY),
        ("took z=1 ms then a=2 b=3", "1", "z"),
        ("GET /x?a=1&b=2 done", "b=2", BODY),
        ("x=a=b", "b", "x"),
        ("FATAL", "FATAL", SEVERITY),
    ],
)
def test_severity_attributes_and_body(line: str, part: str, expected: str) -> None:
    assert path(line, part) == expected


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("7001", "user.id"),
        ("deep", "user.tags[1].name"),
        ("tail", "msg"),
        ("not=a", "msg"),
        ("{ brace", "odd.key"),
        ("INFO", SEVERITY),
        ("west", "zone"),
    ],
)
def test_members_of_json(part: str, expected: str) -> None:
    line = (
        r'INFO {"user": {"id": 7001, "tags": [1, {"name": "deep"}]}, "msg": "not=a \"tail\"", "odd.key": "{ brace"} zone=west'
    )
    assert path(line, part) == expected


def test_json_behind_a_key_and_after_words() -> None:
    assert path('2024-05-01 worker payload={"a": {"b": "odd"}} rest', "odd") == "payload.a.b"
    assert path('worker sent {"a": {"b": "odd"}}', "worker") == BODY


def test_what_is_no_json_is_body() -> None:
    assert path('say {"hello world', "world") == BODY
    assert path('{"a": 1, "b": "cut off', "cut") == BODY
    assert path('{"a": 1, "b": {"c": "cut off', "a") == "a"


def test_names_are_bounded() -> None:
    line = "{" + '"k":{' * (JSON_DEPTH_MAX + 5) + '"x": "odd"'
    assert path(line, "odd") == ".".join(["k"] * JSON_DEPTH_MAX)
    long = f'{{"{"n" * 200}": {{"{"m" * 200}": "odd"}}}}'
    assert len(path(long, "odd")) == PATH_CHARS_MAX
    assert path(f"a {'k' * (KEY_BYTES_MAX + 1)}=odd", "odd") == BODY
    many = " ".join(f"k{number}=v{number}" for number in range(KEYS_MAX + 1))
    assert path(many, "v0 ") == BODY
    assert path(many, f"v{KEYS_MAX}") == f"k{KEYS_MAX}"


def test_nothing_behind_the_last_byte_of_interest_is_read() -> None:
    line = b'{"a": "odd", "b": 1}'
    assert Paths(line, until=12).of(8) == "a"
    assert Paths(line, until=12).of(18) == BODY


@given(
    st.sampled_from(["", "ERROR", "INFO2"]),
    st.text("abc ", max_size=12),
    st.dictionaries(st.text("abcxyz._", min_size=1, max_size=8), st.text("pq r", max_size=6), max_size=6),
)
def test_attributes_of_canonical_text_are_found(severity: str, body: str, attributes: dict[str, str]) -> None:
    attributes = {key: value for key, value in attributes.items() if not key.startswith(".")}
    line = log_text(body, severity=severity, attributes=attributes, limits=CanonicalLimits(), cuts=Cuts()).encode()
    paths = Paths(line)
    if severity:
        assert paths.of(0) == SEVERITY
    at = len(line)
    for key, value in sorted(attributes.items(), reverse=True):
        at -= len(key) + len(value) + 1
        assert {paths.of(at), paths.of(at + len(key)), paths.of(at + len(key) + len(value))} == {key}
        at -= 1


@given(st.one_of(st.binary(max_size=200), st.text('{}[]",: =\\ab', max_size=200).map(str.encode)))
def test_any_bytes_have_a_path(line: bytes) -> None:
    paths = Paths(line)
    assert all(len(paths.of(at)) <= PATH_CHARS_MAX and paths.of(at) for at in range(len(line) + 1))
